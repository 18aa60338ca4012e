//! The only writer to stdout. A reader that has gone (`espalier … | head`) is no error; what cannot be written is one, told at
//! the command's end.

use crate::exit::Failure;
use serde::Serialize;
use std::io::{ErrorKind, Write};
use std::sync::OnceLock;

/// Why something could not be written, the first time.
static FAILED: OnceLock<std::io::Error> = OnceLock::new();

/// Prints text as it is.
pub fn text(text: &str) {
    note(std::io::stdout().lock().write_all(text.as_bytes()));
}

/// Everything that was printed has been written.
pub fn written() -> Result<(), Failure> {
    note(std::io::stdout().lock().flush());
    match FAILED.get() {
        Some(error) => {
            let source = std::io::Error::new(error.kind(), error.to_string());
            Err(Failure::Write { path: "the standard output".to_owned(), source })
        }
        None => Ok(()),
    }
}

fn note(written: std::io::Result<()>) {
    // A closed pipe means that nobody reads any more.
    if let Err(error) = written
        && error.kind() != ErrorKind::BrokenPipe
    {
        // The first one is told.
        let _ = FAILED.set(error);
    }
}

/// Prints JSON for programs.
pub fn json(value: &impl Serialize) {
    text(&String::from_utf8_lossy(&espalier_proto::bucket::json_bytes(value)));
}

/// Bytes for people.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{value:.1} TiB")
}

/// Columns set flush, two spaces apart, without trailing spaces; columns of numbers only are set to the right.
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let widths: Vec<usize> = (0..header.len())
        .map(|c| {
            rows.iter().map(|r| r[c].chars().count()).chain([header[c].chars().count()]).max().unwrap_or(0)
        })
        .collect();
    let numeric: Vec<bool> = (0..header.len())
        .map(|c| {
            !rows.is_empty()
                && rows.iter().all(|r| r[c].starts_with(|d: char| d.is_ascii_digit() || d == '-'))
        })
        .collect();
    let line = |cells: Vec<&str>| {
        let set: Vec<String> = cells
            .iter()
            .enumerate()
            .map(|(c, cell)| {
                let pad = " ".repeat(widths[c] - cell.chars().count());
                if numeric[c] { format!("{pad}{cell}") } else { format!("{cell}{pad}") }
            })
            .collect();
        format!("{}\n", set.join("  ").trim_end())
    };
    let mut out = line(header.to_vec());
    for row in rows {
        out += &line(row.iter().map(String::as_str).collect());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::{size, table};

    #[test]
    fn bytes_are_told_in_the_largest_unit_that_they_fill() {
        let told = [0, 1023, 1536, 5 << 20, 3 << 40].map(size);
        assert_eq!(told, ["0 B", "1023 B", "1.5 KiB", "5.0 MiB", "3.0 TiB"]);
    }

    #[test]
    fn numbers_stand_to_the_right_and_words_to_the_left() {
        let rows = vec![vec!["a".into(), "5".into()], vec!["longer".into(), "12".into()]];
        assert_eq!(table(&["name", "n"], &rows), "name     n\na        5\nlonger  12\n");
    }
}
