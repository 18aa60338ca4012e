//! Reads whole files that somebody else has made and that must be small: a larger one is refused before it is read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Most bytes of an index of shards, which names every tensor.
pub const MOST_INDEX: u64 = 128 << 20;
/// Most bytes of a tokenizer.json. The largest in use have some 40 MB.
pub const MOST_TOKENIZER: u64 = 512 << 20;
/// Most bytes of a file that people write, and of a config.json.
pub const MOST_WRITTEN: u64 = 16 << 20;

/// The bytes of a file of at most `most`; a longer one is an error that says both numbers.
pub fn read(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // It may grow meanwhile, and a device tells no size.
    let file = File::open(path)?;
    let size = file.metadata()?.len();
    file.take(most + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 <= most {
        return Ok(bytes);
    }
    let found = size.max(bytes.len() as u64);
    Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("found {found} bytes, expected at most {most}")))
}

/// The same as text.
pub fn read_text(path: &Path, most: u64) -> io::Result<String> {
    String::from_utf8(read(path, most)?)
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e.utf8_error()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_too_large_is_refused_with_its_size() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("f");
        std::fs::write(&file, "12345").unwrap();
        assert_eq!(read_text(&file, 5).unwrap(), "12345");
        assert_eq!(read(&file, 4).unwrap_err().to_string(), "found 5 bytes, expected at most 4");
        // It never ends.
        let error = read(Path::new("/dev/zero"), 1000).unwrap_err().to_string();
        assert_eq!(error, "found 1001 bytes, expected at most 1000");
    }
}
