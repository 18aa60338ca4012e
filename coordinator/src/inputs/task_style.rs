//! The styles of a task file: how an item is asked and what is measured, each style's keys over the file's own.

use super::error::InputsError;
use super::task::{ChoiceTemplate, Style};
use super::task_file::Parse;
use espalier_proto::sweep::TaskKind;
use serde_json::{Map, Value};

const STYLE_KEYS: &[&str] =
    &["doc_to_text", "doc_to_choice", "choice_form", "doc_to_target", "target_delimiter", "metric_list"];

/// The style of a task file that has no `styles:`.
const PLAIN_STYLE: &str = "lm_eval";

impl Parse<'_> {
    pub(super) fn styles(&self, kind: TaskKind) -> Result<Vec<Style>, InputsError> {
        if kind == TaskKind::Perplexity {
            let metrics = self.metrics(self.keys, kind)?;
            let style = Style {
                name: String::new(),
                text: String::new(),
                choices: ChoiceTemplate::List(Vec::new()),
                choice_form: None,
                target: String::new(),
                delimiter: String::new(),
                metrics,
            };
            return Ok(vec![style]);
        }
        let Some(styles) = self.keys.get("styles") else {
            return Ok(vec![self.style(PLAIN_STYLE, &Map::new())?]);
        };
        let map = styles.as_object().filter(|m| !m.is_empty());
        let map = map.ok_or_else(|| self.bad("styles", styles.to_string(), "style: {doc_to_text: …}"))?;
        let mut found = Vec::new();
        for (name, keys) in map {
            let field = format!("styles.{name}");
            let keys = keys
                .as_object()
                .ok_or_else(|| self.bad(&field, keys.to_string(), "doc_to_text, doc_to_choice, …"))?;
            if let Some(key) = keys.keys().find(|k| !STYLE_KEYS.contains(&k.as_str())) {
                return Err(self.bad(
                    &format!("{field}.{key}"),
                    "an unknown key",
                    format!("one of {}", STYLE_KEYS.join(", ")),
                ));
            }
            found.push(self.style(name, keys)?);
        }
        let default = self.text(self.keys, "default_style")?.unwrap_or_else(|| found[0].name.clone());
        let names: Vec<&str> = map.keys().map(String::as_str).collect();
        if !names.contains(&default.as_str()) {
            return Err(self.bad("default_style", default, format!("one of {}", names.join(", "))));
        }
        found.sort_by_key(|s| s.name != default);
        Ok(found)
    }

    /// A style's keys over the file's own.
    fn style(&self, name: &str, own: &Map<String, Value>) -> Result<Style, InputsError> {
        let mut keys = self.keys.clone();
        keys.extend(own.clone());
        let required = |key: &str| match keys.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(n)) => Ok(n.to_string()),
            other => Err(self.bad(
                key,
                other.map_or("nothing".to_owned(), Value::to_string),
                "Jinja or a field's name",
            )),
        };
        let choices = match keys.get("doc_to_choice") {
            Some(Value::String(text)) => ChoiceTemplate::Whole(text.clone()),
            Some(Value::Array(items)) if items.iter().all(Value::is_string) && items.len() > 1 => {
                ChoiceTemplate::List(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
            }
            other => {
                let found = other.map_or("nothing".to_owned(), Value::to_string);
                return Err(self.bad(
                    "doc_to_choice",
                    found,
                    "a list of at least two texts, Jinja that gives one, or a field",
                ));
            }
        };
        Ok(Style {
            name: name.to_owned(),
            text: required("doc_to_text")?,
            choices,
            choice_form: self.text(&keys, "choice_form")?,
            target: required("doc_to_target")?,
            delimiter: self.text(&keys, "target_delimiter")?.unwrap_or_else(|| " ".to_owned()),
            metrics: self.metrics(&keys, TaskKind::MultipleChoice)?,
        })
    }

    fn metrics(&self, keys: &Map<String, Value>, kind: TaskKind) -> Result<Vec<String>, InputsError> {
        let supported: &[&str] = match kind {
            TaskKind::Perplexity => &["ppl_token"],
            TaskKind::MultipleChoice => &["acc", "acc_norm", "f1", "f1_norm"],
        };
        let expected = || format!("a list of metric: {}", supported.join(" | "));
        let Some(Value::Array(list)) = keys.get("metric_list") else {
            return Err(self.bad("metric_list", "nothing", expected()));
        };
        let mut named = Vec::new();
        for entry in list {
            let name = entry.get("metric").and_then(Value::as_str).unwrap_or("nothing");
            if !supported.contains(&name) {
                return Err(self.bad("metric_list", name, expected()));
            }
            named.push(name);
        }
        // F1 is of the same argmax as its accuracy: who asks for one gets both.
        let has = |name: &str| named.contains(&name);
        let wanted = |name: &&&str| match **name {
            "acc" | "f1" => has("acc") || has("f1"),
            "acc_norm" | "f1_norm" => has("acc_norm") || has("f1_norm"),
            _ => true,
        };
        Ok(supported.iter().filter(wanted).map(|s| (*s).to_owned()).collect())
    }
}
