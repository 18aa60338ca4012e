//! Text → tree: YAML 1.2 core schema with a position on everything.
//!
//! Anchors and aliases are followed. Refused, because each of them hides what a file says: duplicate keys, `<<` merges, tags,
//! more than one document, keys that are not plain words. Must never read the environment.

use super::complaint::Complaint;
use super::file::Pos;
use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::BTreeMap;

/// Nodes that a file may have once aliases are followed: far above any sweep, far below trouble.
const MOST_NODES: usize = 200_000;
/// Lists and mappings inside each other.
const MOST_DEPTH: usize = 64;

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
            Value::Text(text) => text.clone(),
            Value::List(_) => "a list".to_owned(),
            Value::Map(_) => "a mapping".to_owned(),
        }
    }

    fn count(&self) -> usize {
        1 + match &self.value {
            Value::List(items) => items.iter().map(Node::count).sum(),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.count()).sum(),
            _ => 0,
        }
    }
}

/// Reads one document.
pub fn parse(text: &str) -> Result<Node, Vec<Complaint>> {
    let mut tree = Tree {
        parser: Parser::new_from_str(text),
        anchors: BTreeMap::new(),
        complaints: Vec::new(),
        nodes: 0,
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

struct Tree<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    anchors: BTreeMap<usize, Node>,
    complaints: Vec<Complaint>,
    nodes: usize,
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
        if depth > MOST_DEPTH || self.nodes > MOST_NODES {
            let most = format!("at most {MOST_DEPTH} levels and {MOST_NODES} values, aliases followed");
            return Err(Complaint::new(at, "", "a file that unfolds without end", most));
        }
        self.nodes += 1;
        let value = match event {
            Event::Scalar(text, style, _, _) => scalar(&text, style),
            Event::SequenceStart(..) => self.list(depth)?,
            Event::MappingStart(..) => self.map(depth)?,
            Event::Alias(id) => {
                let Some(target) = self.anchors.get(&id) else {
                    return Err(Complaint::new(
                        at,
                        "",
                        "an alias inside its own anchor",
                        "an anchor that ends before",
                    ));
                };
                self.nodes += target.count();
                target.value.clone()
            }
            _ => return Err(Complaint::new(at, "", "an unfinished document", "a value")),
        };
        let node = Node { at, value };
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
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
        loop {
            let (event, at) = self.next()?;
            let word = match event {
                Event::MappingEnd => return Ok(Value::Map(entries)),
                Event::Scalar(word, ..) => word.into_owned(),
                _ => return Err(Complaint::new(at, "", "a key that is not a word", "a word")),
            };
            let (event, value_at) = self.next()?;
            let node = self.node(event, value_at, depth + 1)?;
            let first = entries.iter().find(|(key, _)| key.word == word).map(|(key, _)| key.at);
            if word == "<<" {
                let how = "the keys written out: merges are not YAML 1.2";
                self.complaints.push(Complaint::new(at, "", "a merge key <<", how));
            } else if let Some(first) = first {
                let message = format!("found twice, first at line {}, expected once", first.line);
                self.complaints.push(Complaint { at, field: word, message });
            } else {
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
}
