//! Text → tree: YAML 1.2 core schema with a position on everything.
//!
//! Anchors and aliases are followed. Refused, because each of them hides what a file says: duplicate keys, `<<` merges, tags,
//! more than one document, keys that are not plain words. Must never read the environment.

use super::complaint::Complaint;
use super::file::Pos;
use espalier_proto::shown;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;

/// Nodes that a file may have once aliases are followed: far above any sweep, far below trouble.
const MOST_NODES: usize = 200_000;
/// Bytes of their texts, likewise.
const MOST_BYTES: usize = 64 << 20;
/// Lists and mappings inside each other, likewise.
pub(super) const MOST_DEPTH: usize = 64;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Its first character.
    pub at: Pos,
    /// The value.
    pub value: Value,
}

/// A value of the core schema.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value {
    Null,
    Bool(bool),
    Integer(i64),
    /// With the text as written, for messages.
    Number(f64, String),
    Text(String),
    List(Vec<Node>),
    /// In the file's order; no key twice.
    Map(Vec<(Key, Node)>),
}

/// A key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    /// Its first character.
    pub at: Pos,
    /// The word.
    pub word: String,
}

impl Node {
    /// What is here, for messages.
    pub fn describe(&self) -> String {
        match &self.value {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => value.to_string(),
            Value::Integer(value) => value.to_string(),
            Value::Number(_, text) => text.clone(),
            Value::Text(text) if text.is_empty() => "an empty text".to_owned(),
            // A source may have been given a password.
            Value::Text(text) => shown::source(text),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    fn size(&self) -> Size {
        let mut size = Size { nodes: 1, bytes: 0, levels: 0 };
        match &self.value {
            Value::List(items) => items.iter().for_each(|node| size.hold(node.size())),
            Value::Map(entries) => entries.iter().for_each(|(key, node)| {
                size.bytes += key.word.len();
                size.hold(node.size());
            }),
            Value::Text(text) | Value::Number(_, text) => size.bytes = text.len(),
            Value::Null | Value::Bool(_) | Value::Integer(_) => {}
        }
        size
    }
}

/// Reads one document.
pub fn parse(text: &str) -> Result<Node, Vec<Complaint>> {
    let mut tree = Tree {
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        complaints: Vec::new(),
        size: Size::default(),
    };
    let root = tree.document().map_err(|complaint| vec![complaint])?;
    if tree.complaints.is_empty() { Ok(root) } else { Err(tree.complaints) }
}

/// The tree as JSON: what a schema looks at.
pub fn plain(node: &Node) -> serde_json::Value {
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Bool(value) => (*value).into(),
        Value::Integer(value) => (*value).into(),
        Value::Number(value, _) => (*value).into(),
        Value::Text(text) => text.clone().into(),
        Value::List(items) => items.iter().map(plain).collect(),
        Value::Map(entries) => entries.iter().map(|(key, node)| (key.word.clone(), plain(node))).collect(),
    }
}

/// How much a node and all below it are.
#[derive(Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    /// Below the node itself.
    levels: usize,
}

impl Size {
    fn hold(&mut self, inner: Self) {
        self.nodes += inner.nodes;
        self.bytes += inner.bytes;
        self.levels = self.levels.max(1 + inner.levels);
    }
}

struct Tree<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, (Node, Size)>,
    complaints: Vec<Complaint>,
    /// Of all nodes so far, those too that only an anchor keeps.
    size: Size,
}

impl<'t> Tree<'t> {
    fn next(&mut self) -> Result<(Event<'t>, Pos), Complaint> {
        match self.parser.next_event() {
            Some(Ok((event, span))) => Ok((event, start(span))),
            Some(Err(error)) => {
                let at = Pos { line: error.marker().line(), column: error.marker().col() + 1 };
                Err(Complaint { at, field: String::new(), message: format!("not YAML: {}", error.info()) })
            }
            None => Ok((Event::StreamEnd, Pos::default())),
        }
    }

    fn document(&mut self) -> Result<Node, Complaint> {
        let whole = |at, found| {
            Complaint::new(at, "", found, "one YAML document: a mapping with name, models, tasks")
        };
        loop {
            match self.next()? {
                (Event::StreamStart | Event::Nothing, _) => {}
                (Event::DocumentStart(_), _) => break,
                _ => return Err(whole(Pos { line: 1, column: 1 }, "an empty file")),
            }
        }
        let (event, at) = self.next()?;
        let root = self.node(event, at, 0)?;
        loop {
            match self.next()? {
                (Event::StreamEnd, _) => return Ok(root),
                (Event::DocumentStart(_), at) => return Err(whole(at, "a second document")),
                _ => {}
            }
        }
    }

    fn node(&mut self, event: Event<'t>, at: Pos, depth: usize) -> Result<Node, Complaint> {
        let (anchor, tagged) = match &event {
            Event::Scalar(_, _, anchor, tag) => (*anchor, tag.is_some()),
            Event::SequenceStart(anchor, tag) | Event::MappingStart(anchor, tag) => (*anchor, tag.is_some()),
            _ => (0, false),
        };
        if tagged {
            self.complaints.push(Complaint::new(at, "", "a tag", "a plain value: tags are not used here"));
        }
        self.take(at, depth, Size { nodes: 1, ..Size::default() })?;
        let value = match event {
            Event::Scalar(text, style, _, _) => {
                self.take(at, depth, Size { bytes: text.len(), ..Size::default() })?;
                scalar(&text, style)
            }
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(id) => {
                let Some((target, size)) = self.anchors.get(&id).map(|(node, size)| (node, *size)) else {
                    return Err(Complaint::new(
                        at,
                        "",
                        "an alias inside its own anchor",
                        "an anchor that ends before",
                    ));
                };
                let value = target.value.clone();
                self.take(at, depth, size)?;
                value
            }
            _ => return Err(Complaint::new(at, "", "an unfinished document", "a value")),
        };
        let node = Node { at, value };
        if anchor > 0 {
            let size = node.size();
            self.take(at, depth, size)?;
            self.anchors.insert(anchor, (node.clone(), size));
        }
        Ok(node)
    }

    /// Refuses a file that is small and unfolds to something large.
    fn take(&mut self, at: Pos, depth: usize, more: Size) -> Result<(), Complaint> {
        self.size.nodes += more.nodes;
        self.size.bytes += more.bytes;
        let Size { nodes, bytes, .. } = self.size;
        if depth + more.levels <= MOST_DEPTH && nodes <= MOST_NODES && bytes <= MOST_BYTES {
            return Ok(());
        }
        let most = format!(
            "at most {MOST_DEPTH} levels, {MOST_NODES} values and {} MiB of text, aliases followed",
            MOST_BYTES >> 20
        );
        Err(Complaint::new(at, "", "a file that unfolds without end", most))
    }

    fn list(&mut self, depth: usize) -> Result<Value, Complaint> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(Value::List(items)),
                (event, at) => items.push(self.node(event, at, depth + 1)?),
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Complaint> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut lines: BTreeMap<String, usize> = BTreeMap::new();
        loop {
            let (event, at) = self.next()?;
            let word = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(word, ..) => word.into_owned(),
                _ => return Err(Complaint::new(at, "", "a key that is not a word", "a word")),
            };
            self.take(at, depth, Size { bytes: word.len(), ..Size::default() })?;
            let (event, value_at) = self.next()?;
            let node = self.node(event, value_at, depth + 1)?;
            if word == "<<" {
                let how = "the keys written out: merges are not YAML 1.2";
                self.complaints.push(Complaint::new(at, "", "a merge key <<", how));
            } else if let Some(first) = lines.get(&word) {
                let message = format!("found twice, first at line {first}, expected once");
                self.complaints.push(Complaint { at, field: word, message });
            } else {
                lines.insert(word.clone(), at.line);
                entries.push((Key { at, word }, node));
            }
        }
    }
}

fn start(span: Span) -> Pos {
    Pos { line: span.start.line(), column: span.start.col() + 1 }
}

/// The core schema's reading of a scalar; whatever is quoted or in a block is text.
fn scalar(text: &str, style: ScalarStyle) -> Value {
    if style != ScalarStyle::Plain {
        return Value::Text(text.to_owned());
    }
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" => return Value::Bool(true),
        "false" | "False" | "FALSE" => return Value::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Value::Number(f64::NAN, text.to_owned()),
        _ => {}
    }
    let (sign, digits) = match text.as_bytes()[0] {
        b'-' => (-1.0, &text[1..]),
        b'+' => (1.0, &text[1..]),
        _ => (1.0, text),
    };
    if [".inf", ".Inf", ".INF"].contains(&digits) {
        return Value::Number(sign * f64::INFINITY, text.to_owned());
    }
    let radix = [("0o", 8), ("0x", 16)];
    for (prefix, base) in radix {
        if let Some(number) = text.strip_prefix(prefix).and_then(|d| i64::from_str_radix(d, base).ok()) {
            return Value::Integer(number);
        }
    }
    let only = |allowed: &str| digits.chars().all(|c| c.is_ascii_digit() || allowed.contains(c));
    let has_digit = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    if has_digit
        && only("")
        && let Ok(number) = text.parse()
    {
        return Value::Integer(number);
    }
    match text.parse::<f64>() {
        Ok(number) if has_digit && only(".eE+-") => Value::Number(number, text.to_owned()),
        _ => Value::Text(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        parse(text).unwrap().value
    }

    #[test]
    fn scalars_are_those_of_the_core_schema_not_of_yaml_1_1() {
        // YAML 1.2.2, chapter 10.3.2.
        assert_eq!(value("2:4"), Value::Text("2:4".into()));
        assert_eq!(value("no"), Value::Text("no".into()));
        assert_eq!(value("0o14"), Value::Integer(12));
        assert_eq!(value("014"), Value::Integer(14));
        assert_eq!(value("0x1F"), Value::Integer(31));
        assert_eq!(value("1_000"), Value::Text("1_000".into()));
        assert_eq!(value("1e3"), Value::Number(1000.0, "1e3".into()));
        assert_eq!(value(".5"), Value::Number(0.5, ".5".into()));
        assert_eq!(value("infinity"), Value::Text("infinity".into()));
        assert_eq!(value("'0.5'"), Value::Text("0.5".into()));
        assert_eq!(value("~"), Value::Null);
    }

    #[test]
    fn positions_count_characters_from_one() {
        let Value::Map(entries) = value("a: 1\nés:\n  - x\n  - yy: 2\n") else { panic!() };
        let Value::List(items) = &entries[1].1.value else { panic!() };
        let Value::Map(inner) = &items[1].value else { panic!() };
        assert_eq!((inner[0].0.at, inner[0].1.at), (Pos { line: 4, column: 5 }, Pos { line: 4, column: 9 }));
    }

    #[test]
    fn an_alias_is_its_anchors_value_where_it_is_used() {
        let Value::Map(entries) = value("a: &x [1, 2]\nb: *x\n") else { panic!() };
        assert_eq!(entries[0].1.value, entries[1].1.value);
        assert_eq!(entries[1].1.at.line, 2);
    }

    #[test]
    fn what_hides_a_files_meaning_is_refused_with_its_place() {
        let message = |text: &str| {
            let c = parse(text).unwrap_err().remove(0);
            format!("{}:{} {} {}", c.at.line, c.at.column, c.field, c.message)
        };
        assert_eq!(message("a: 1\nb: 2\na: 3\n"), "3:1 a found twice, first at line 1, expected once");
        assert!(message("a: &x {b: 1}\nc:\n  <<: *x\n").starts_with("3:3  found a merge key <<"));
        assert!(message("a: !!str 1\n").contains("tags are not used here"));
        assert!(message("a: 1\n---\nb: 2\n").contains("a second document"));
        assert!(message("").contains("an empty file"));
        assert!(message("a: [1, 2\nb: 3").contains("not YAML"));
        let bomb: String = (1..40).map(|i| format!("a{i}: &a{i} [*a{0}, *a{0}]\n", i - 1)).collect();
        assert!(message(&format!("a0: &a0 [1, 1]\n{bomb}")).contains("unfolds without end"));
    }

    #[test]
    fn a_long_text_or_a_deep_list_is_not_unfolded_by_aliases_without_end() {
        let message = |text: &str| parse(text).unwrap_err().remove(0).message;
        // A megabyte, a thousand times.
        let text = format!("a: &a {}\nb: [{}]\n", "x".repeat(1 << 20), "*a, ".repeat(1000));
        assert!(message(&text).contains("64 MiB of text"), "{}", message(&text));
        // Each list holds the one before, fifty levels down.
        let (open, close) = ("[".repeat(50), "]".repeat(50));
        let deep: String = (1..80).map(|i| format!("a{i}: &a{i} {open}*a{}{close}\n", i - 1)).collect();
        assert!(message(&format!("a0: &a0 1\n{deep}")).contains("64 levels"));
    }

    #[test]
    fn a_mapping_of_many_keys_is_read_in_time_that_grows_with_them() {
        let text: String = (0..100_000).map(|i| format!("k{i}: 1\n")).collect();
        let Value::Map(entries) = value(&text) else { panic!() };
        assert_eq!(entries.len(), 100_000);
    }
}
