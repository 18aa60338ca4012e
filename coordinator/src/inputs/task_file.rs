//! Task files → tasks: lm-evaluation-harness's YAML for multiple choice and rolling perplexity, with our keys `reasoning`,
//! `fields`, `readers`, `styles`. The catalog's files are read by the same code.

use super::error::InputsError;
use super::read::records::read_written;
use super::read::schema::{Field, Kind, Reader};
use super::task::Task;
use crate::spec::yaml;
use espalier_proto::sweep::{Reasoning, TaskKind};
use serde_json::{Map, Value};
use std::path::Path;

/// Keys of lm-evaluation-harness that change nothing here.
const IGNORED: &[&str] = &[
    "tag",
    "group",
    "metadata",
    "dataset_kwargs",
    "training_split",
    "validation_split",
    "test_split",
    "fewshot_split",
    "fewshot_delimiter",
    "fewshot_config",
    "should_decontaminate",
    "doc_to_decontamination_query",
    "num_fewshot",
    "task_alias",
];
const KNOWN: &[&str] = &[
    "task",
    "about",
    "aliases",
    "reasoning",
    "output_type",
    "dataset_path",
    "dataset_aliases",
    "dataset_name",
    "dataset_revision",
    "fields",
    "readers",
    "id",
    "answer",
    "options",
    "styles",
    "default_style",
    "doc_to_text",
    "doc_to_choice",
    "choice_form",
    "doc_to_target",
    "target_delimiter",
    "metric_list",
];
/// A user's task file.
pub fn read_task(file: &Path) -> Result<Task, InputsError> {
    let text = read_written(file)?;
    let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    parse_task(&text, &file.display().to_string(), &stem)
}

/// A task file's text. `stem`: its name where it says none.
pub fn parse_task(text: &str, file: &str, stem: &str) -> Result<Task, InputsError> {
    let node = yaml::parse(text).map_err(|complaints| {
        let first = &complaints[0];
        let field = if first.field.is_empty() { String::new() } else { format!("{}: ", first.field) };
        InputsError::TaskYaml {
            at: format!("{file}:{}:{}", first.at.line, first.at.column),
            why: format!("{field}{}", first.message),
        }
    })?;
    let Value::Object(keys) = yaml::plain(&node) else {
        return Err(InputsError::Task {
            file: file.to_owned(),
            field: "file".to_owned(),
            found: "no mapping".to_owned(),
            expected: "a task file: task, output_type, doc_to_text, …".to_owned(),
        });
    };
    Parse { file, keys: &keys }.task(stem)
}

/// A file's keys while they are read.
pub(super) struct Parse<'a> {
    pub(super) file: &'a str,
    pub(super) keys: &'a Map<String, Value>,
}

impl Parse<'_> {
    pub(super) fn bad(
        &self,
        field: &str,
        found: impl Into<String>,
        expected: impl Into<String>,
    ) -> InputsError {
        InputsError::Task {
            file: self.file.to_owned(),
            field: field.to_owned(),
            found: found.into(),
            expected: expected.into(),
        }
    }

    pub(super) fn text(&self, keys: &Map<String, Value>, key: &str) -> Result<Option<String>, InputsError> {
        match keys.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => Err(self.bad(key, other.to_string(), "text")),
        }
    }

    fn texts(&self, key: &str) -> Result<Vec<String>, InputsError> {
        let expected = "a list of texts";
        match self.keys.get(key) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .iter()
                .map(|i| i.as_str().map(str::to_owned).ok_or_else(|| self.bad(key, i.to_string(), expected)))
                .collect(),
            Some(other) => Err(self.bad(key, other.to_string(), expected)),
        }
    }

    fn task(&self, stem: &str) -> Result<Task, InputsError> {
        if let Some(key) =
            self.keys.keys().find(|k| !KNOWN.contains(&k.as_str()) && !IGNORED.contains(&k.as_str()))
        {
            return Err(self.bad(key, "a key that is not supported", format!("one of {}", KNOWN.join(", "))));
        }
        let kind = match self.keys.get("output_type").and_then(Value::as_str) {
            Some("multiple_choice") => TaskKind::MultipleChoice,
            Some("loglikelihood_rolling") => TaskKind::Perplexity,
            other => {
                return Err(self.bad(
                    "output_type",
                    other.unwrap_or("nothing"),
                    "multiple_choice or loglikelihood_rolling",
                ));
            }
        };
        let reasoning = match self.text(self.keys, "reasoning")?.as_deref() {
            None => None,
            Some("commonsense") => Some(Reasoning::Commonsense),
            Some("logical") => Some(Reasoning::Logical),
            Some("analogical") => Some(Reasoning::Analogical),
            Some(other) => return Err(self.bad("reasoning", other, "commonsense, logical or analogical")),
        };
        let mut datasets: Vec<String> = self.text(self.keys, "dataset_path")?.into_iter().collect();
        datasets.extend(self.texts("dataset_aliases")?);
        let text = match kind {
            TaskKind::MultipleChoice => String::new(),
            TaskKind::Perplexity => self.text_field()?,
        };
        Ok(Task {
            name: self.text(self.keys, "task")?.unwrap_or_else(|| stem.to_owned()),
            file: self.file.to_owned(),
            about: self.text(self.keys, "about")?.unwrap_or_default(),
            aliases: self.texts("aliases")?,
            reasoning,
            kind,
            datasets,
            config: self.text(self.keys, "dataset_name")?,
            revision: self.text(self.keys, "dataset_revision")?,
            fields: self.fields()?,
            readers: self.readers()?,
            id: self.text(self.keys, "id")?,
            answer: self.text(self.keys, "answer")?,
            options: self.options()?,
            text,
            styles: self.styles(kind)?,
        })
    }

    /// `doc_to_target: "{{text}}"` or `text`.
    fn text_field(&self) -> Result<String, InputsError> {
        let target = self.text(self.keys, "doc_to_target")?.unwrap_or_default();
        let name = target.trim().trim_start_matches("{{").trim_end_matches("}}").trim();
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            return Err(self.bad(
                "doc_to_target",
                format!("{target:?}"),
                "the field of the text, such as \"{{text}}\"",
            ));
        }
        Ok(name.to_owned())
    }

    fn fields(&self) -> Result<Vec<Field>, InputsError> {
        let Some(fields) = self.keys.get("fields") else {
            return Ok(Vec::new());
        };
        let expected = "field: text, texts or integer, with ? where it may be missing";
        let map = fields.as_object().ok_or_else(|| self.bad("fields", fields.to_string(), expected))?;
        map.iter()
            .map(|(path, kind)| {
                let word = kind.as_str().unwrap_or_default();
                let kind = match word.trim_end_matches('?') {
                    "text" => Kind::Text,
                    "texts" => Kind::Texts,
                    "integer" => Kind::Integer,
                    _ => return Err(self.bad(&format!("fields.{path}"), kind.to_string(), expected)),
                };
                Ok(Field { path: path.clone(), kind, optional: word.ends_with('?') })
            })
            .collect()
    }

    fn readers(&self) -> Result<Vec<Reader>, InputsError> {
        let Some(readers) = self.keys.get("readers") else {
            return Ok(Vec::new());
        };
        let expected = "reader: {field: path in the record}";
        let map = readers.as_object().ok_or_else(|| self.bad("readers", readers.to_string(), expected))?;
        let mut found = Vec::new();
        for (name, paths) in map {
            let paths = paths
                .as_object()
                .ok_or_else(|| self.bad(&format!("readers.{name}"), paths.to_string(), expected))?;
            let mut reader = Reader { name: name.clone(), from: Default::default(), blocks: false };
            for (field, path) in paths {
                match (field.as_str(), path.as_str()) {
                    ("blocks", Some("logiqa")) => reader.blocks = true,
                    (_, Some(path)) => drop(reader.from.insert(field.clone(), path.to_owned())),
                    (_, None) => {
                        return Err(self.bad(&format!("readers.{name}.{field}"), path.to_string(), expected));
                    }
                }
            }
            found.push(reader);
        }
        Ok(found)
    }

    fn options(&self) -> Result<Option<(usize, usize)>, InputsError> {
        let Some(value) = self.keys.get("options") else {
            return Ok(None);
        };
        let numbers: Vec<usize> =
            value.as_array().into_iter().flatten().filter_map(|v| v.as_u64().map(|n| n as usize)).collect();
        match numbers[..] {
            [low, high] if low <= high => Ok(Some((low, high))),
            _ => Err(self.bad("options", value.to_string(), "[fewest, most]")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &str =
        "task: t\noutput_type: multiple_choice\ndoc_to_text: q\ndoc_to_choice: [a, b]\ndoc_to_target: gold\n";

    #[test]
    fn what_a_task_file_may_not_hold_is_refused_by_its_key() {
        let metrics = "metric_list: [{metric: acc}]\n";
        let cases = [
            (format!("{PLAIN}{metrics}process_docs: x\n"), "f.yaml: process_docs: found a key that is not supported"),
            (format!("{PLAIN}{metrics}doc_to_choice2: x\n"), "f.yaml: doc_to_choice2: found a key that is not supported"),
            (format!("{PLAIN}metric_list: [{{metric: bleu}}]\n"), "f.yaml: metric_list: found bleu, expected a list of"),
            (PLAIN.to_owned(), "f.yaml: metric_list: found nothing, expected a list of metric: acc | acc_norm"),
            (format!("{PLAIN}process_docs: !function x.y\n"), "f.yaml:6:25: found a tag, expected a plain value: tags are not used here"),
            ("output_type: loglikelihood_rolling\nmetric_list: [{metric: word_perplexity}]\ndoc_to_target: text\n".to_owned(),
             "f.yaml: metric_list: found word_perplexity, expected a list of metric: ppl_token"),
        ];
        for (text, expected) in cases {
            let error = parse_task(&text, "f.yaml", "f").unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn a_file_of_the_harness_is_one_style_with_its_own_delimiter() {
        let text = format!(
            "{PLAIN}target_delimiter: \"\"\nmetric_list: [{{metric: acc, aggregation: mean}}]\nmetadata: {{version: 1}}\n"
        );
        let task = parse_task(&text, "f.yaml", "f").unwrap();
        assert_eq!((task.name.as_str(), task.styles.len()), ("t", 1));
        assert_eq!((task.styles[0].name.as_str(), task.styles[0].delimiter.as_str()), ("lm_eval", ""));
        assert_eq!(task.styles[0].metrics, ["acc", "f1"]);
    }
}
