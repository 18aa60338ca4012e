//! `models:` → declarations: short (`ID=SOURCE`, `SOURCE`) and long form.

use crate::spec::complaint::Complaint;
use crate::spec::fields::Reader;
use crate::spec::file::{ModelDecl, Pos};
use crate::spec::paths;
use crate::spec::yaml::{Node, Value};
use std::path::Path;

const EXPECTED: &str = "ID=SOURCE, a source, or a mapping with id and source";
const SOURCES: &str = "hf://org/name[@revision], org/name, s3://bucket/prefix or a folder written ./folder";

/// Every model; complains about two of one id.
pub fn read(reader: &mut Reader, node: &Node, folder: &Path) -> Vec<ModelDecl> {
    let mut models: Vec<ModelDecl> = Vec::new();
    let items = reader.list(node, "models", "a list of models").unwrap_or_default();
    for (i, item) in items.iter().enumerate() {
        let field = format!("models[{i}]");
        let Some(model) = one(reader, item, &field, folder) else {
            continue;
        };
        if let Some(first) = models.iter().find(|m| m.id == model.id) {
            let found = format!("a second model called {}, the first at line {}", model.id, first.at.line);
            reader.complaints.push(Complaint::new(item.at, &field, found, "unique ids: write ID=SOURCE"));
            continue;
        }
        models.push(model);
    }
    models
}

fn one(reader: &mut Reader, node: &Node, field: &str, folder: &Path) -> Option<ModelDecl> {
    if let Value::Text(text) = &node.value {
        return short(text, node.at, folder)
            .map_err(|expected| reader.complain::<()>(node, field, expected))
            .ok();
    }
    if !matches!(node.value, Value::Map(_)) {
        return reader.complain(node, field, EXPECTED);
    }
    let fields = reader.fields(node, field, &["id", "source", "add_bos"])?;
    let add_bos = fields.get("add_bos").and_then(|n| bos(reader, n, &fields.path_of("add_bos")));
    let source = reader.required(&fields, "source", SOURCES)?;
    let field = fields.path_of("source");
    let text = reader.text(source, &field, SOURCES)?;
    let source = match pin_source(text, folder) {
        Ok(source) => source,
        Err(expected) => return reader.complain(source, &field, expected),
    };
    let id = match fields.get("id") {
        None => id_of(&source),
        Some(id) => {
            let field = fields.path_of("id");
            let text = reader.text(id, &field, "an id")?;
            match is_id(text) {
                true => text.to_owned(),
                false => return reader.complain(id, &field, ID),
            }
        }
    };
    Some(ModelDecl { id, source, add_bos: add_bos.flatten(), at: node.at })
}

const ID: &str = "an id of letters, digits, '.', '_' and '-'";

fn is_id(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
}

/// `ID=SOURCE` or `SOURCE`; the error says what was expected.
pub fn short(text: &str, at: Pos, folder: &Path) -> Result<ModelDecl, String> {
    let (id, source) = match text.split_once('=') {
        Some((id, source)) if is_id(id) => (Some(id), source),
        Some((id, _)) if !id.contains('/') => return Err(format!("{ID} before =")),
        _ => (None, text),
    };
    let source = pin_source(source, folder)?;
    let id = id.map_or_else(|| id_of(&source), str::to_owned);
    Ok(ModelDecl { id, source, add_bos: None, at })
}

/// The last part of the source's path, without a revision.
fn id_of(source: &str) -> String {
    let last = source.trim_end_matches('/').rsplit('/').next().unwrap_or(source);
    let name = if source.starts_with('/') { last } else { last.split('@').next().unwrap_or(last) };
    let id: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' }).collect();
    let id = id.trim_start_matches(['.', '_', '-']);
    if id.is_empty() { "model".to_owned() } else { id.to_owned() }
}

fn pin_source(text: &str, folder: &Path) -> Result<String, String> {
    if text.starts_with("s3://") {
        return if paths::is_source(text) { Ok(text.to_owned()) } else { Err(SOURCES.to_owned()) };
    }
    if paths::is_path(text) {
        return Ok(paths::absolute(folder, text));
    }
    if !paths::is_source(text) {
        return Err(SOURCES.to_owned());
    }
    let name = text.strip_prefix("hf://").unwrap_or(text);
    let repository = name.split('@').next().unwrap_or(name);
    let parts: Vec<&str> = repository.split('/').collect();
    match parts[..] {
        // As with data: a folder that is here goes before the hub's model of that name.
        [_, _] if text == repository && folder.join(text).is_dir() => Ok(paths::absolute(folder, text)),
        [org, name] if is_id(org) && is_id(name) => Ok(text.to_owned()),
        [name] if is_id(name) => Err(format!("{SOURCES} (did you mean ./{name}?)")),
        _ => Err(SOURCES.to_owned()),
    }
}

fn bos(reader: &mut Reader, node: &Node, field: &str) -> Option<Option<bool>> {
    match &node.value {
        Value::Bool(value) => Some(Some(*value)),
        Value::Text(text) if text == "auto" => Some(None),
        _ => reader.complain(node, field, "auto, true or false"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<(String, String), String> {
        short(text, Pos::default(), Path::new("/sweeps")).map(|m| (m.id, m.source))
    }

    #[test]
    fn a_bare_source_takes_its_last_part_as_id() {
        let cases = [
            ("./phi-demo", "phi-demo", "/sweeps/phi-demo"),
            ("phi-2=hf://microsoft/phi-2", "phi-2", "hf://microsoft/phi-2"),
            ("microsoft/phi-2", "phi-2", "microsoft/phi-2"),
            ("hf://microsoft/phi-2@main", "phi-2", "hf://microsoft/phi-2@main"),
            ("s3://models/llama/", "llama", "s3://models/llama/"),
            ("a=../x=y", "a", "/x=y"),
        ];
        for (text, id, source) in cases {
            assert_eq!(of(text), Ok((id.into(), source.into())), "{text}");
        }
    }

    #[test]
    fn a_source_that_is_none_says_what_sources_are() {
        assert!(of("phi-2").unwrap_err().ends_with("(did you mean ./phi-2?)"));
        for wrong in ["gs://x/y", "hf://x/y@", "hf://x/y@a//b", "hf://x", "s3://b/../x", "m=hf://x@"] {
            assert!(of(wrong).unwrap_err().starts_with(SOURCES), "{wrong}");
        }
        assert!(of("a b=./x").unwrap_err().contains("before ="));
    }
}
