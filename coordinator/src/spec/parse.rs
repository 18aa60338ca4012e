//! A sweep file from disk, with the command line's changes, to a checked [`SweepFile`].

use super::complaint::{Complaint, SpecError};
use super::file::{Pos, SweepFile};
use super::{expand, set, validate, yaml};
use espalier_proto::small_file::{self, MOST_WRITTEN};
use std::path::Path;

/// What the command line changes in a sweep file.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    /// `--set PATH=VALUE`, in order.
    pub set: Vec<String>,
    /// `--limit N`: windows or items of every task at most.
    pub limit: Option<u64>,
}

/// Reads and checks the file `path`.
pub fn load(path: &Path, changes: &Changes) -> Result<SweepFile, SpecError> {
    let text = small_file::read_text(path, MOST_WRITTEN).map_err(|error| {
        let message = format!("the sweep file cannot be read: {error}");
        SpecError::new(
            path,
            vec![Complaint { at: Pos { line: 1, column: 1 }, field: String::new(), message }],
        )
    })?;
    let path_from_root = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let folder = path_from_root.parent().unwrap_or(Path::new("/")).to_owned();
    parse(&text, path, &folder, changes)
}

/// Checks `text` as the file `path`, whose relative paths are meant from `folder`.
pub fn parse(text: &str, path: &Path, folder: &Path, changes: &Changes) -> Result<SweepFile, SpecError> {
    let mut root = yaml::parse(without_bom(text)).map_err(|complaints| SpecError::new(path, complaints))?;
    let wrong: Vec<Complaint> = changes.set.iter().filter_map(|c| set::apply(&mut root, c).err()).collect();
    if !wrong.is_empty() {
        return Err(SpecError::new(path, wrong));
    }
    let mut file = validate::sweep(&root, path, folder)?;
    if let Some(too_large) = expand::size::check(&file) {
        return Err(SpecError::new(path, vec![too_large]));
    }
    if let Some(limit) = changes.limit {
        for task in &mut file.tasks {
            task.limit = Some(task.limit.map_or(limit, |own| own.min(limit)));
        }
    }
    Ok(file)
}

/// The file's text as JSON: what a schema looks at.
pub fn as_json(text: &str) -> Result<serde_json::Value, Vec<Complaint>> {
    yaml::parse(without_bom(text)).map(|node| yaml::plain(&node))
}

/// Editors of Windows put a byte order mark in front.
fn without_bom(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}
