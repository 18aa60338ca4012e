//! Documents → prompts and options: Jinja as lm-evaluation-harness renders it.

use super::task::{ChoiceTemplate, Style};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior};
use serde_json::Map;

/// An item as it is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rendered {
    /// What comes before every option.
    pub context: String,
    /// The options without the delimiter.
    pub choices: Vec<String>,
    /// The right one; `None` if the answer is none of them.
    pub gold: Option<usize>,
}

/// Which template failed, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenderError {
    /// `doc_to_text`, `doc_to_choice` or `doc_to_target`.
    pub field: &'static str,
    /// The template engine's message.
    pub why: String,
}

/// Renders documents in one style.
pub struct Renderer<'a> {
    env: Environment<'static>,
    style: &'a Style,
}

impl<'a> Renderer<'a> {
    /// Prepares a style's templates.
    pub fn new(style: &'a Style) -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_keep_trailing_newline(true);
        env.set_unknown_method_callback(python_method);
        Self { env, style }
    }

    /// One document. The answer is looked for only if it is there.
    pub fn render(&self, document: &Map<String, serde_json::Value>) -> Result<Rendered, RenderError> {
        let context = self
            .value(&self.style.text, document)
            .and_then(text_of)
            .map_err(|e| failed("doc_to_text", &e))?;
        let choices = self.choices(document).map_err(|e| failed("doc_to_choice", &e))?;
        let gold = self.gold(document, &choices).map_err(|e| failed("doc_to_target", &e))?;
        Ok(Rendered { context, choices, gold })
    }

    fn choices(&self, document: &Map<String, serde_json::Value>) -> Result<Vec<String>, Error> {
        let plain: Vec<String> = match &self.style.choices {
            ChoiceTemplate::List(list) => {
                list.iter().map(|t| self.value(t, document).and_then(text_of)).collect::<Result<_, _>>()?
            }
            ChoiceTemplate::Whole(template) => {
                let value = self.value(template, document)?;
                if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
                    let found = format!("found {}, expected a list of options", value.kind());
                    return Err(Error::new(ErrorKind::InvalidOperation, found));
                }
                value.try_iter()?.map(text_of).collect::<Result<_, _>>()?
            }
        };
        let Some(form) = &self.style.choice_form else {
            return Ok(plain);
        };
        plain.into_iter().map(|choice| self.env.render_str(form, minijinja::context! { choice })).collect()
    }

    fn gold(
        &self,
        document: &Map<String, serde_json::Value>,
        choices: &[String],
    ) -> Result<Option<usize>, Error> {
        let value = self.value(&self.style.target, document)?;
        if let Some(text) = value.as_str() {
            let number = text.parse::<usize>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
            let index = number.or_else(|| choices.iter().position(|c| c == text));
            return Ok(index.filter(|i| *i < choices.len()));
        }
        Ok(value.as_i64().and_then(|i| usize::try_from(i).ok()).filter(|i| *i < choices.len()))
    }

    /// A field's value if the template is a field's name, an expression's value if it is nothing but one, else its text.
    fn value(&self, template: &str, document: &Map<String, serde_json::Value>) -> Result<Value, Error> {
        if let Some(value) = document.get(template) {
            return Ok(Value::from_serialize(value));
        }
        let inner =
            template.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).filter(|t| !t.contains("}}"));
        match inner {
            Some(expression) => self.env.compile_expression(expression.trim())?.eval(document),
            None => self.env.render_str(template, document).map(Value::from),
        }
    }
}

fn failed(field: &'static str, error: &Error) -> RenderError {
    let why = error.detail().map_or_else(|| error.kind().to_string(), |d| format!("{}: {d}", error.kind()));
    RenderError { field, why }
}

fn text_of(value: Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Number => Ok(value.to_string()),
        ValueKind::Undefined => Err(Error::new(ErrorKind::UndefinedError, "the field is not there")),
        other => Err(Error::new(ErrorKind::InvalidOperation, format!("found {other}, expected text"))),
    }
}

/// The methods of Python's texts and lists that task files call.
fn python_method(_: &State<'_, '_>, value: &Value, method: &str, args: &[Value]) -> Result<Value, Error> {
    let unknown = || Error::new(ErrorKind::UnknownMethod, format!("{} has no method {method}", value.kind()));
    let arg = |i: usize| {
        args.get(i)
            .and_then(|a| a.as_str())
            .ok_or_else(|| Error::new(ErrorKind::MissingArgument, format!("{method} needs text")))
    };
    if let Some(text) = value.as_str() {
        return Ok(match (method, args.len()) {
            ("strip", 0) => text.trim().into(),
            ("lstrip", 0) => text.trim_start().into(),
            ("rstrip", 0) => text.trim_end().into(),
            ("lower", 0) => text.to_lowercase().into(),
            ("upper", 0) => text.to_uppercase().into(),
            ("replace", 2) => text.replace(arg(0)?, arg(1)?).into(),
            ("startswith", 1) => text.starts_with(arg(0)?).into(),
            ("endswith", 1) => text.ends_with(arg(0)?).into(),
            ("split", 1) => text.split(arg(0)?).map(Value::from).collect::<Vec<_>>().into(),
            ("index", 1) => match text.find(arg(0)?) {
                Some(at) => text[..at].chars().count().into(),
                None => return Err(absent(&args[0])),
            },
            _ => return Err(unknown()),
        });
    }
    match (value.kind(), method, args) {
        (ValueKind::Seq, "index", [wanted]) => {
            value.try_iter()?.position(|v| v == *wanted).map(Value::from).ok_or_else(|| absent(wanted))
        }
        _ => Err(unknown()),
    }
}

fn absent(wanted: &Value) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("{wanted} is not there"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::catalog;
    use serde_json::json;

    fn document(value: serde_json::Value) -> Map<String, serde_json::Value> {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn letters_list_the_options_and_score_their_letters() {
        let task = catalog::task("logiqa").unwrap();
        let doc = document(
            json!({"label": "c", "context": "P.", "question": "Q?", "options": ["w", "x", "y", "z"]}),
        );
        let got = Renderer::new(task.style(None).unwrap()).render(&doc).unwrap();
        assert_eq!(got.context, "Passage: P.\nQuestion: Q?\nChoices:\nA. w\nB. x\nC. y\nD. z\nAnswer:");
        assert_eq!((got.choices.join(""), got.gold), ("ABCD".to_owned(), Some(2)));
    }

    #[test]
    fn an_options_form_is_put_around_each() {
        let task = catalog::task("ekar").unwrap();
        let choices = json!({"label": ["A", "B", "C"], "text": ["x:y", "z:u", "v:w"]});
        let doc = document(json!({"question": "a:b", "choices": choices, "answerKey": "B"}));
        let got = Renderer::new(task.style(Some("cloze")).unwrap()).render(&doc).unwrap();
        assert_eq!(got.context, "\"a:b\" has the same relation as");
        assert_eq!((got.choices[1].as_str(), got.gold), ("\"z:u\"", Some(1)));
    }

    #[test]
    fn a_field_that_a_template_lacks_is_an_error_that_names_the_template() {
        let task = catalog::task("reclor").unwrap();
        let error =
            Renderer::new(task.style(None).unwrap()).render(&document(json!({"context": "x"}))).unwrap_err();
        assert_eq!(error.field, "doc_to_text");
    }
}
