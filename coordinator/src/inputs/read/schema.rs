//! A record in one of a dataset's native forms → the document that templates speak of: fields found by path, checked, put
//! under the names of the hub's export.

use super::records::{Record, kind_of};
use crate::inputs::error::InputsError;
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// What a field of a document holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Text; a number is written out.
    Text,
    /// A list of texts.
    Texts,
    /// A whole number.
    Integer,
}

impl Kind {
    fn expected(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Texts => "a list of texts",
            Self::Integer => "a whole number",
        }
    }
}

/// A field of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Dotted path in the document.
    pub path: String,
    /// What it holds.
    pub kind: Kind,
    /// May be missing or nothing.
    pub optional: bool,
}

/// How one native form is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reader {
    /// Its name: `released`, `exported`.
    pub name: String,
    /// Where a field of the document stands in the record, if elsewhere than in the document: `a.b`, `a[].b` for each of a list.
    pub from: BTreeMap<String, String>,
    /// The form is LogiQA's text blocks.
    pub blocks: bool,
}

impl Reader {
    fn source<'a>(&'a self, field: &'a Field) -> &'a str {
        self.from.get(&field.path).map_or(&field.path, String::as_str)
    }

    /// How many of the required fields this record has under this reader's paths, and whether that is all of them.
    pub fn fit(&self, record: &Record, fields: &[Field]) -> (usize, bool) {
        let required: Vec<_> = fields.iter().filter(|f| !f.optional).collect();
        let has = required.iter().filter(|f| find(&record.fields, self.source(f)).is_some()).count();
        (has, has == required.len())
    }

    /// The document of a record.
    pub fn document(&self, record: &Record, fields: &[Field]) -> Result<Map<String, Value>, InputsError> {
        let mut document = Map::new();
        for field in fields {
            let source = self.source(field);
            let found = find(&record.fields, source).filter(|v| !v.is_null());
            match found {
                None if field.optional => {}
                None => {
                    let found = match record.fields.get(source.split(['.', '[']).next().unwrap_or(source)) {
                        Some(_) => "nothing there".to_owned(),
                        None => format!("columns {}", record.columns()),
                    };
                    return Err(record.bad(source, found, field.kind.expected()));
                }
                Some(value) => put(&mut document, &field.path, checked(record, source, field.kind, value)?),
            }
        }
        Ok(document)
    }
}

/// The value at a path; `None` if a part of it is missing.
fn find(fields: &Map<String, Value>, path: &str) -> Option<Value> {
    let (head, rest) = match path.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (path, None),
    };
    if let Some(list) = head.strip_suffix("[]") {
        let Value::Array(items) = fields.get(list)? else {
            return None;
        };
        let each = items.iter().map(|item| match (item, rest) {
            (Value::Object(inner), Some(rest)) => find(inner, rest),
            (other, None) => Some(other.clone()),
            _ => None,
        });
        return each.collect::<Option<Vec<_>>>().map(Value::Array);
    }
    match (fields.get(head)?, rest) {
        (value, None) => Some(value.clone()),
        (Value::Object(inner), Some(rest)) => find(inner, rest),
        _ => None,
    }
}

fn put(document: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            document.insert(path.to_owned(), value);
        }
        Some((head, rest)) => {
            let inner = document.entry(head).or_insert_with(|| Value::Object(Map::new()));
            if let Value::Object(inner) = inner {
                put(inner, rest, value);
            }
        }
    }
}

fn checked(record: &Record, source: &str, kind: Kind, value: Value) -> Result<Value, InputsError> {
    let bad = |value: &Value| {
        let found = match value {
            Value::String(text) if kind == Kind::Integer => format!("{text:?}"),
            Value::Number(n) => n.to_string(),
            other => kind_of(other).to_owned(),
        };
        record.bad(source, found, kind.expected())
    };
    match (kind, value) {
        (Kind::Text, Value::Number(n)) => Ok(Value::String(n.to_string())),
        (Kind::Text, Value::String(text)) => Ok(Value::String(text)),
        (Kind::Integer, Value::Number(n)) if n.is_i64() => Ok(Value::Number(n)),
        // An empty cell of a table without types is a missing value: an answer that is withheld.
        (Kind::Integer, Value::String(text)) if record.untyped => match text.trim() {
            "" => Ok(Value::from(-1)),
            digits => digits.parse::<i64>().map(Value::from).map_err(|_| bad(&Value::String(text.clone()))),
        },
        (Kind::Texts, Value::Array(items)) => {
            items.iter().find(|i| !i.is_string()).map_or(Ok(()), |i| Err(bad(i)))?;
            Ok(Value::Array(items))
        }
        (_, other) => Err(bad(&other)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::records::Place;
    use super::*;
    use serde_json::json;

    fn record(value: Value) -> Record {
        let Value::Object(fields) = value else { panic!("an object") };
        Record { file: "data.jsonl".into(), place: Place::Line(3), fields, untyped: false }
    }

    fn fields() -> Vec<Field> {
        let field = |path: &str, kind, optional| Field { path: path.to_owned(), kind, optional };
        vec![
            field("question", Kind::Text, false),
            field("choices.text", Kind::Texts, false),
            field("answer", Kind::Integer, true),
        ]
    }

    fn nested() -> Reader {
        let from = [("question", "question.stem"), ("choices.text", "question.choices[].text")];
        let from = from.map(|(to, from)| (to.to_owned(), from.to_owned())).into();
        Reader { name: "released".to_owned(), from, blocks: false }
    }

    #[test]
    fn a_nested_record_becomes_the_flat_document() {
        let record = record(
            json!({"question": {"stem": "why?", "choices": [{"text": "a"}, {"text": "b"}]}, "answer": 1}),
        );
        let document = nested().document(&record, &fields()).unwrap();
        assert_eq!(
            Value::Object(document),
            json!({"question": "why?", "choices": {"text": ["a", "b"]}, "answer": 1})
        );
    }

    #[test]
    fn a_missing_column_is_named_with_file_line_and_what_there_is() {
        let error = nested().document(&record(json!({"stem": "why?", "id": 1})), &fields()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "data.jsonl: line 3: question.stem: found columns id, stem, expected text"
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named() {
        let record = record(json!({"question": {"stem": ["x"], "choices": []}}));
        let error = nested().document(&record, &fields()).unwrap_err();
        assert_eq!(error.to_string(), "data.jsonl: line 3: question.stem: found a list, expected text");
    }
}
