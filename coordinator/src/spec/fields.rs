//! Reads values out of the tree and keeps every complaint, so that one run shows all that is wrong.

use super::complaint::{Complaint, did_you_mean, one_of};
use super::file::Pos;
use super::yaml::{Key, Node, Value};
use std::fmt::Display;
use std::ops::RangeInclusive;

/// Keeps complaints while values are read.
#[derive(Debug, Default)]
pub struct Reader {
    /// So far.
    pub complaints: Vec<Complaint>,
}

/// A mapping with its place and path.
#[derive(Clone, Debug)]
pub struct Fields<'n> {
    /// Where it starts.
    pub at: Pos,
    /// Dotted path of the mapping itself.
    pub path: String,
    entries: &'n [(Key, Node)],
}

impl<'n> Fields<'n> {
    /// The value under `key`.
    pub fn get(&self, key: &str) -> Option<&'n Node> {
        self.entries.iter().find(|(k, _)| k.word == key).map(|(_, node)| node)
    }

    /// The path of `key` in this mapping.
    pub fn path_of(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Keys in the file's order, `x-…` left out.
    pub fn keys(&self) -> impl Iterator<Item = (&'n Key, &'n Node)> {
        self.entries.iter().filter(|(k, _)| !k.word.starts_with("x-")).map(|(k, n)| (k, n))
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

impl Reader {
    /// Keeps a complaint and stands for no value.
    pub fn complain<T>(&mut self, node: &Node, field: &str, expected: impl Display) -> Option<T> {
        self.complaints.push(Complaint::new(node.at, field, node.describe(), expected));
        None
    }

    /// A mapping with no other keys than `known` and `x-…`.
    pub fn fields<'n>(&mut self, node: &'n Node, path: &str, known: &[&str]) -> Option<Fields<'n>> {
        let Value::Map(entries) = &node.value else {
            return self.complain(node, path, format!("a mapping with {}", known.join(", ")));
        };
        let fields = Fields { at: node.at, path: path.to_owned(), entries };
        for (key, _) in fields.keys().filter(|(key, _)| !known.contains(&key.word.as_str())) {
            let expected = format!("{}{}", one_of(known), did_you_mean(&key.word, known));
            self.complaints.push(Complaint::new(key.at, path, format!("unknown key {}", key.word), expected));
        }
        Some(fields)
    }

    /// The value under `key`; complains if there is none.
    pub fn required<'n>(&mut self, fields: &Fields<'n>, key: &str, expected: &str) -> Option<&'n Node> {
        let found = fields.get(key);
        if found.is_none() {
            self.complaints.push(Complaint::new(fields.at, &fields.path_of(key), "nothing", expected));
        }
        found
    }

    /// A text; numbers and booleans are not.
    pub fn text<'n>(&mut self, node: &'n Node, field: &str, expected: &str) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) if !text.is_empty() => Some(text),
            _ => self.complain(node, field, expected),
        }
    }

    /// One word of a closed list.
    pub fn word<'n>(&mut self, node: &'n Node, field: &str, words: &[&str]) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) if words.contains(&text.as_str()) => Some(text),
            _ => {
                self.complaints.push(Complaint::word(node.at, field, &node.describe(), words));
                None
            }
        }
    }

    /// A whole number in a range.
    pub fn integer(&mut self, node: &Node, field: &str, range: RangeInclusive<u64>) -> Option<u64> {
        match node.value {
            Value::Integer(n) if u64::try_from(n).is_ok_and(|n| range.contains(&n)) => Some(n as u64),
            _ => {
                let (low, high) = (range.start(), range.end());
                let most = if *high == u64::MAX { String::new() } else { format!(" and at most {high}") };
                self.complain(node, field, format!("a whole number of at least {low}{most}"))
            }
        }
    }

    /// A whole number that fits a u32.
    pub fn small(&mut self, node: &Node, field: &str, low: u32) -> Option<u32> {
        self.up_to(node, field, low..=u32::MAX)
    }

    /// The same in a range.
    pub fn up_to(&mut self, node: &Node, field: &str, range: RangeInclusive<u32>) -> Option<u32> {
        let range = u64::from(*range.start())..=u64::from(*range.end());
        self.integer(node, field, range).map(|n| n as u32)
    }

    /// A list, at least one long.
    pub fn list<'n>(&mut self, node: &'n Node, field: &str, expected: &str) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(items) if !items.is_empty() => Some(items),
            Value::List(_) => {
                self.complaints.push(Complaint::new(node.at, field, "an empty list", expected));
                None
            }
            _ => self.complain(node, field, expected),
        }
    }

    /// An axis: one value or a list of them, each with its own path.
    pub fn axis<'n>(&mut self, node: &'n Node, field: &str, expected: &str) -> Vec<(&'n Node, String)> {
        match &node.value {
            Value::List(_) => {
                let items = self.list(node, field, expected).unwrap_or_default();
                items.iter().enumerate().map(|(i, item)| (item, format!("{field}[{i}]"))).collect()
            }
            _ => vec![(node, field.to_owned())],
        }
    }

    /// Texts of an axis.
    pub fn texts(&mut self, node: &Node, field: &str, expected: &str) -> Vec<String> {
        let items = self.axis(node, field, expected);
        items.into_iter().filter_map(|(n, path)| self.text(n, &path, expected).map(str::to_owned)).collect()
    }
}
