//! Items → resolved multiple choice: rendered, tokenised, laid out in rows, rows in micro-batches.

use super::error::InputsError;
use super::items::{Item, at};
use super::pairs::{Room, encode_pair, item_rows};
use super::read::schema::Kind;
use super::render::Renderer;
use super::task::{Style, Task};
use super::tokenize::TextTokenizer;
use espalier_proto::ids::Digest;
use espalier_proto::inputs::{ChoiceItem, Choices, compose_batches};
use serde_json::{Map, Value};

/// What is asked, and how.
#[derive(Clone, Copy)]
pub struct Asked<'a> {
    /// The task.
    pub task: &'a Task,
    /// The style.
    pub style: &'a Style,
    /// As tables show both.
    pub label: &'a str,
}

/// Resolves items for one tokenizer and one length limit.
pub fn choices(
    asked: Asked<'_>,
    items: &[Item],
    tokenizer: &TextTokenizer,
    room: Room,
) -> Result<Choices, InputsError> {
    let renderer = Renderer::new(asked.style);
    let (mut resolved, mut rows) = (Vec::new(), Vec::new());
    for (i, item) in items.iter().enumerate() {
        let id = id_of(asked.task, item, i);
        let (gold, context, options) = rendered(asked, &renderer, item)?;
        let mut pairs = Vec::new();
        for option in &options {
            let pair = encode_pair(tokenizer, &context, &format!("{}{option}", asked.style.delimiter))?;
            pairs.push((pair, option.chars().count() as u32));
        }
        let laid =
            item_rows(i as u32, pairs, room).map_err(|(option, found, expected)| InputsError::Item {
                task: asked.label.to_owned(),
                item: id.clone(),
                field: format!("option {}", option + 1),
                found,
                expected,
            })?;
        let doc_sha256 = Digest::of(canonical(&Value::Object(item.document.clone())).as_bytes());
        resolved.push(ChoiceItem { id, doc_sha256, gold, options: laid.options });
        rows.extend(laid.rows);
    }
    // Longest first keeps padding low; stable, so that equal lengths stay in the data's order.
    rows.sort_by_key(|row| std::cmp::Reverse(row.fed_tokens()));
    let lengths: Vec<usize> = rows.iter().map(|r| r.fed_tokens()).collect();
    Ok(Choices { items: resolved, rows, batches: compose_batches(&lengths), max_len: room.max_len as u32 })
}

fn rendered(
    asked: Asked<'_>,
    renderer: &Renderer<'_>,
    item: &Item,
) -> Result<(u32, String, Vec<String>), InputsError> {
    let record = &item.record;
    let answer = asked.task.answer.as_deref();
    let outside = || {
        let field = answer.unwrap_or("doc_to_target");
        let found = at(&item.document, field).map_or_else(|| "nothing".to_owned(), Value::to_string);
        record.bad(field, found, format!("an answer among {}", possible(asked.task, item)))
    };
    let got = match renderer.render(&item.document) {
        Ok(got) => got,
        // A template that looks an answer up fails where it is none of the labels.
        Err(error) if error.field == "doc_to_target" && answer.is_some() && !error.limit => {
            return Err(outside());
        }
        Err(error) => {
            return Err(InputsError::Render {
                file: record.file.display().to_string(),
                place: record.place.to_string(),
                field: error.field,
                task: asked.task.file.clone(),
                why: error.why,
            });
        }
    };
    if got.choices.len() < 2 {
        return Err(record.bad("doc_to_choice", format!("{} options", got.choices.len()), "at least two"));
    }
    if let Some(i) = got.choices.iter().position(|c| c.trim().is_empty()) {
        return Err(record.bad(
            "doc_to_choice",
            format!("nothing as option {}", i + 1),
            "text of every option",
        ));
    }
    match got.gold {
        Some(gold) => Ok((gold as u32, got.context, got.choices)),
        None => Err(outside()),
    }
}

/// An item's choices, for messages: their labels where it has some, else their texts.
fn possible(task: &Task, item: &Item) -> String {
    let lists = || task.fields.iter().filter(|f| f.kind == Kind::Texts).map(|f| f.path.as_str());
    let path = lists().find(|path| path.ends_with("label")).or_else(|| lists().next());
    let texts = path.and_then(|path| at(&item.document, path)).and_then(Value::as_array);
    let Some(texts) = texts.filter(|texts| !texts.is_empty()) else {
        return "its choices".to_owned();
    };
    let short = |text: &str| match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    };
    let shown: Vec<String> = texts.iter().filter_map(Value::as_str).map(short).collect();
    format!("its {} choices: {}", texts.len(), shown.join(" | "))
}

/// Characters of a choice that a message shows.
const LONGEST: usize = 30;

fn id_of(task: &Task, item: &Item, index: usize) -> String {
    match task.id.as_deref().and_then(|field| at(&item.document, field)) {
        Some(Value::String(id)) if !id.is_empty() => id.clone(),
        _ => index.to_string(),
    }
}

/// Accuracy of a uniform guess.
pub fn chance(choices: &Choices) -> f64 {
    choices.items.iter().map(|i| 1.0 / i.options.len() as f64).sum::<f64>() / choices.items.len() as f64
}

/// JSON with sorted keys and no blanks: the same for the same content, whatever file it came from.
fn canonical(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let sorted: std::collections::BTreeMap<_, _> = map.iter().collect();
            let parts = sorted.iter().map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), canonical(v)));
            format!("{{{}}}", parts.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        plain => plain.to_string(),
    }
}

/// The canonical form of a document, for tests of readers.
pub fn canonical_document(document: &Map<String, Value>) -> String {
    canonical(&Value::Object(document.clone()))
}
