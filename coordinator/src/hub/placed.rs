//! Small files and links of a cache, each of which is there whole or not at all.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Something cannot be written.
#[derive(Debug)]
pub struct Unplaced {
    /// File or folder.
    pub path: PathBuf,
    /// Why.
    pub source: io::Error,
}

impl Unplaced {
    /// At this file or folder.
    pub fn at(path: &Path, source: io::Error) -> Self {
        Self { path: path.to_owned(), source }
    }
}

/// Makes `snapshots/<snapshot>/<file>` under `root` a relative link to `blobs/<blob>`.
pub fn link(root: &Path, snapshot: &str, file: &str, blob: &str) -> Result<(), Unplaced> {
    let link = root.join("snapshots").join(snapshot).join(file);
    let up = "../".repeat(file.split('/').count() + 1);
    let target = PathBuf::from(format!("{up}blobs/{blob}"));
    if std::fs::read_link(&link).is_ok_and(|known| known == target) {
        return Ok(());
    }
    put(&link, |new| std::os::unix::fs::symlink(&target, new))
}

/// Writes a text.
pub fn write(path: &Path, text: &str) -> Result<(), Unplaced> {
    put(path, |new| std::fs::write(new, text))
}

fn put(path: &Path, make: impl FnOnce(&Path) -> io::Result<()>) -> Result<(), Unplaced> {
    make_folder(path)?;
    let new = beside(path);
    let made = make(&new).and_then(|()| std::fs::rename(&new, path));
    made.map_err(|source| Unplaced::at(path, source))
}

/// Makes the folder of a file.
pub fn make_folder(file: &Path) -> Result<(), Unplaced> {
    let folder = file.parent().unwrap_or(file);
    std::fs::create_dir_all(folder).map_err(|source| Unplaced::at(folder, source))
}

/// A name beside a file that nobody else uses: no other process, and no other sweep that this one resolves.
fn beside(path: &Path) -> PathBuf {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let n = MADE.fetch_add(1, Ordering::Relaxed);
    path.with_file_name(format!(".{name}.{}-{n}", std::process::id()))
}
