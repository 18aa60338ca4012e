//! What is wrong with a sweep file: every complaint says where, which field, what was found and what was expected.

use super::file::Pos;
use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// Where; 0:0 for what came from the command line.
    pub at: Pos,
    /// Dotted path: `recipes[1].sparsity`; empty for the file as a whole.
    pub field: String,
    /// What was found, what was expected, and the nearest valid word where there is one.
    pub message: String,
}

impl Complaint {
    /// Says what was found and what was expected.
    pub fn new(at: Pos, field: &str, found: impl fmt::Display, expected: impl fmt::Display) -> Self {
        Self { at, field: field.to_owned(), message: format!("found {found}, expected {expected}") }
    }

    /// The same for one word of a closed list; names the nearest one.
    pub fn word(at: Pos, field: &str, found: &str, words: &[&str]) -> Self {
        let expected = format!("{}{}", one_of(words), did_you_mean(found, words));
        Self::new(at, field, found, expected)
    }
}

/// Everything that is wrong with one sweep file, in the file's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpecError {
    /// The file as the user named it.
    pub path: PathBuf,
    /// At least one.
    pub complaints: Vec<Complaint>,
}

impl SpecError {
    /// Complaints about `path`, put into the file's order.
    pub fn new(path: &Path, mut complaints: Vec<Complaint>) -> Self {
        complaints.sort_by_key(|c| (c.at.line, c.at.column));
        complaints.dedup();
        Self { path: path.to_owned(), complaints }
    }

    /// True if nothing is wrong with the file itself.
    pub fn is_of_the_command_line(&self) -> bool {
        self.complaints.iter().all(|c| c.at.line == 0)
    }
}

impl fmt::Display for SpecError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, complaint) in self.complaints.iter().enumerate() {
            let separator = if i == 0 { "" } else { "\n" };
            let Complaint { at, field, message } = complaint;
            match at.line {
                0 => write!(f, "{separator}command line: ")?,
                line => write!(f, "{separator}{}:{line}:{}: ", self.path.display(), at.column)?,
            }
            match field.as_str() {
                "" => write!(f, "{message}")?,
                field => write!(f, "{field}: {message}")?,
            }
        }
        Ok(())
    }
}

impl std::error::Error for SpecError {}

/// `a`, `a or b`, `one of a, b, c`.
pub fn one_of(words: &[&str]) -> String {
    match words {
        [] => "nothing".to_owned(),
        [only] => (*only).to_owned(),
        [a, b] => format!("{a} or {b}"),
        _ => format!("one of {}", words.join(", ")),
    }
}

/// ` (did you mean wanda?)` if a word is near enough, else nothing.
pub fn did_you_mean(found: &str, words: &[&str]) -> String {
    match nearest(found, words) {
        Some(word) => format!(" (did you mean {word}?)"),
        None => String::new(),
    }
}

/// The nearest word, if at most a third of the letters differ.
pub fn nearest<'a>(found: &str, words: &[&'a str]) -> Option<&'a str> {
    let plain = |s: &str| s.to_lowercase().replace('-', "_");
    words
        .iter()
        .map(|word| (strsim::damerau_levenshtein(&plain(found), &plain(word)), *word))
        .filter(|(distance, word)| *distance <= (found.len().max(word.len()) / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, word)| word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word_and_a_stranger_finds_none() {
        let words = ["wanda", "magnitude"];
        assert_eq!(nearest("wadna", &words), Some("wanda"));
        assert_eq!(nearest("Magnitud", &words), Some("magnitude"));
        assert_eq!(nearest("sparsegpt", &words), None);
    }
}
