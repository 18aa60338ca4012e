//! Documents → prompts and options: Jinja as lm-evaluation-harness renders it. A template may take so many steps and make
//! so much text and no more.

mod meter;
mod program;
mod python;
mod rewrite;

use super::task::{ChoiceTemplate, Style};
use meter::{STEPS, environment, is_over};
use minijinja::value::{Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind};
use program::Program;
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
    /// Where in the template and why.
    pub why: String,
    /// It asked for more steps or memory than there may be: nothing that a document's values explain.
    pub limit: bool,
}

/// Renders documents in one style.
pub struct Renderer<'a> {
    env: Environment<'static>,
    text: Template<'a>,
    choices: Choices<'a>,
    choice_form: Option<Program<'a>>,
    target: Template<'a>,
}

/// A field's text in a task file: a field's name or a template.
struct Template<'a> {
    written: &'a str,
    program: Program<'a>,
}

enum Choices<'a> {
    List(Vec<Template<'a>>),
    Whole(Template<'a>),
}

impl<'a> Template<'a> {
    fn new(written: &'a str) -> Self {
        Self { written, program: Program::new(written) }
    }
}

impl<'a> Renderer<'a> {
    /// Prepares a style's templates.
    pub fn new(style: &'a Style) -> Self {
        let choices = match &style.choices {
            ChoiceTemplate::List(list) => Choices::List(list.iter().map(|t| Template::new(t)).collect()),
            ChoiceTemplate::Whole(template) => Choices::Whole(Template::new(template)),
        };
        Self {
            env: environment(),
            text: Template::new(&style.text),
            choices,
            choice_form: style.choice_form.as_deref().map(Program::text),
            target: Template::new(&style.target),
        }
    }

    /// One document. The answer is looked for only if it is there.
    pub fn render(&self, document: &Map<String, serde_json::Value>) -> Result<Rendered, RenderError> {
        let context =
            self.value(&self.text, document).and_then(text_of).map_err(|e| failed("doc_to_text", &e))?;
        let choices = self.choices(document).map_err(|e| failed("doc_to_choice", &e))?;
        let gold = self.gold(document, &choices).map_err(|e| failed("doc_to_target", &e))?;
        Ok(Rendered { context, choices, gold })
    }

    fn choices(&self, document: &Map<String, serde_json::Value>) -> Result<Vec<String>, Error> {
        let plain: Vec<String> = match &self.choices {
            Choices::List(list) => {
                list.iter().map(|t| self.value(t, document).and_then(text_of)).collect::<Result<_, _>>()?
            }
            Choices::Whole(template) => {
                let value = self.value(template, document)?;
                if !matches!(value.kind(), ValueKind::Seq | ValueKind::Iterable) {
                    let found = format!("found {}, expected a list of options", value.kind());
                    return Err(Error::new(ErrorKind::InvalidOperation, found));
                }
                value.try_iter()?.map(text_of).collect::<Result<_, _>>()?
            }
        };
        let Some(form) = &self.choice_form else {
            return Ok(plain);
        };
        plain
            .into_iter()
            .map(|choice| text_of(form.run(&self.env, minijinja::context! { choice })?))
            .collect()
    }

    fn gold(
        &self,
        document: &Map<String, serde_json::Value>,
        choices: &[String],
    ) -> Result<Option<usize>, Error> {
        let value = self.value(&self.target, document)?;
        if let Some(text) = value.as_str() {
            let number = text.parse::<usize>().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
            let index = number.or_else(|| choices.iter().position(|c| c == text));
            return Ok(index.filter(|i| *i < choices.len()));
        }
        Ok(value.as_i64().and_then(|i| usize::try_from(i).ok()).filter(|i| *i < choices.len()))
    }

    /// A field's value if the template is a field's name, an expression's value if it is nothing but one, else its text.
    fn value(
        &self,
        template: &Template<'_>,
        document: &Map<String, serde_json::Value>,
    ) -> Result<Value, Error> {
        match document.get(template.written) {
            Some(value) => Ok(Value::from_serialize(value)),
            None => template.program.run(&self.env, Value::from_serialize(document)),
        }
    }
}

fn failed(field: &'static str, error: &Error) -> RenderError {
    let line = error.line().map_or_else(String::new, |n| format!("line {n} of the template: "));
    let why = match error.kind() {
        ErrorKind::OutOfFuel => format!("found more than {STEPS} steps, expected fewer"),
        kind => error.detail().map_or_else(|| kind.to_string(), |d| format!("{kind}: {d}")),
    };
    RenderError { field, why: format!("{line}{why}"), limit: is_over(error) }
}

fn text_of(value: Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String | ValueKind::Number => Ok(value.to_string()),
        ValueKind::Undefined => Err(Error::new(ErrorKind::UndefinedError, "the field is not there")),
        other => Err(Error::new(ErrorKind::InvalidOperation, format!("found {other}, expected text"))),
    }
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

    fn style(text: &str) -> Style {
        Style { text: text.to_owned(), ..catalog::task("logiqa").unwrap().style(None).unwrap().clone() }
    }

    /// What is wrong with a template on a document of one field `q`, 1000 bytes long, and a list `options`.
    fn refused(text: &str) -> String {
        let doc = document(json!({"q": "x".repeat(1000), "options": ["a", "b"], "label": "a"}));
        let style = style(text);
        let error = Renderer::new(&style).render(&doc).unwrap_err();
        assert!(error.limit && error.field == "doc_to_text", "{error:?}");
        error.why
    }

    #[test]
    fn a_template_that_would_loop_for_hours_ends_with_its_line() {
        let hours = "{% for a in range(99999) %}\n{% for b in range(99999) %}{% for c in range(99999) %}\
                     {% endfor %}{% endfor %}{% endfor %}";
        assert_eq!(refused(hours), "line 2 of the template: found more than 100000 steps, expected fewer");
        let call = "{% macro f() %}{% for i in range(50) %}{{ f() }}{% endfor %}{% endmacro %}{{ f() }}";
        let style = style(call);
        assert!(Renderer::new(&style).render(&document(json!({}))).is_err());
    }

    #[test]
    fn a_template_that_would_make_gigabytes_ends_before_they_are_made() {
        let doubled = "{% set a = q %}".to_owned() + &"{% set a = a ~ a %}".repeat(40) + "{{ a }}";
        let summed = "{% set a = q %}".to_owned() + &"{% set a = a + a %}".repeat(40) + "{{ a }}";
        let lists = "{% set a = [q] %}".to_owned() + &"{% set a = [a, a] %}".repeat(40) + "{{ a }}";
        let chained = "{% set a = [q] %}".to_owned() + &"{% set a = a + a %}".repeat(40) + "{{ a|length }}";
        let replaced =
            "{% set a = q %}".to_owned() + &"{% set a = a.replace('x', a) %}".repeat(4) + "{{ a }}";
        for template in [
            &doubled,
            &summed,
            &lists,
            &chained,
            &replaced,
            "{{ q * 99999 }}",
            "{{ 99999 * q }}",
            "{{ ([q] * 999999999)|length }}",
            "{{ '%999999999d'|format(1) }}",
            "{{ q|indent(999999999) }}",
            "{{ q|indent(width=999999999) }}",
            "{{ [q, q]|join(q * 5000) }}",
            "{{ q|replace('x', q * 10)  }}",
            "{{ q|slice(999999999)|length }}",
            "{{ (q * 5000)|list|length }}",
            "{{ (q * 5000).split('x')|length }}",
            "{% set t %}{% for i in range(9999) %}{{ q }}{% endfor %}{% endset %}",
            "{% for i in range(9999) %}{{ q }}{% endfor %}",
            "{% set n = namespace(t=q) %}{% for i in range(99) %}{% set n.t = n.t ~ n.t %}{% endfor %}",
            "{% set n = namespace() %}{% set n.n = n %}{{ n }}",
            "{% macro f(a) %}{{ a }}{{ a }}{% endmacro %}{{ f(f(f(f(f(f(f(f(f(f(f(f(f(f(q)))))))))))))) }}",
            &("{% for i in range(9999) %}".to_owned() + &"y".repeat(5000) + "{% endfor %}"),
        ] {
            let why = refused(template);
            assert!(why.contains("expected at most 8 MiB of text and lists"), "{template}: {why}");
        }
    }

    #[test]
    fn a_template_at_which_the_engine_panics_is_refused() {
        // An empty list, backwards.
        let style = style("{{ [][::-1]|list }}");
        let error = Renderer::new(&style).render(&document(json!({"options": ["a"]}))).unwrap_err();
        assert!(error.why.contains("the template engine failed on it"), "{error:?}");
    }

    #[test]
    fn under_the_meter_operators_and_filters_are_what_they_are_without_it() {
        let doc = json!({"q": "a b\nc", "n": 3, "f": 0.5, "l": ["x", "y"], "m": {"k": [1, 2]}});
        let mut plain = Environment::new();
        plain.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        plain.set_keep_trailing_newline(true);
        for expression in [
            "q ~ n",
            "l + l",
            "q * 2",
            "2 * q",
            "l * 2",
            "n * 4",
            "n * f",
            "f * 2",
            "n + 1 - 2 // 2",
            "n ** 3",
            "q + 'z'",
            "q|upper|replace('A', 'b')",
            "q|replace(' ', '')",
            "l|join('-')",
            "l|join",
            "q|join(',')",
            "q|indent(2)",
            "q|indent(width=2, first=true)",
            "[1,2,3]|slice(2)|list",
            "[1,2,3]|batch(2, 0)|list",
            "'%s-%03d'|format(q, n)",
            "q|split",
            "q|split(' ')",
            "q|list",
            "q|lines",
            "l|length",
            "m.k[1]",
            "q[2]",
            "l[:1]",
            "q[::-1]",
            "'a' in q",
            "n == 3 and f < 1",
            "1 < n < 4",
            "l is sequence",
            "zz is defined",
            "zz|default('d')",
            "not l",
            "-n",
            "'t' if n > 2 else 'e'",
            "m|items|list",
            "m|dictsort",
            "l|map('upper')|list",
            "l|select('eq', 'x')|list",
            "range(3)|sum",
            "{'a': q}['a']",
            "[q, [l, m]]",
            "dict(a=1).a",
            "l|first",
            "l|last|e",
            "q|title|trim",
        ] {
            for template in [format!("{{{{ {expression} }}}}"), format!("-{{{{ {expression} }}}}\n")] {
                let expected = plain.render_str(&template, &doc).unwrap();
                let got = Program::text(&template).run(&environment(), Value::from_serialize(&doc)).unwrap();
                assert_eq!(got.as_str(), Some(expected.as_str()), "{template}");
            }
        }
        for template in [
            "{% for x in l %}{{ loop.index }}{{ x }}{% if not loop.last %},{% endif %}{% else %}none{% endfor %}",
            "{% for x in l if x != 'x' %}{{ loop.previtem|default('-') }}{{ x }}{% endfor %}",
            "{% for k, v in m|items %}{{ k }}={{ v }}{% endfor %}{% set a, b = l %}{{ a }}{{ b }}",
            "{% set t %}[{{ q }}]{% endset %}{{ t|length }}{% with z = n %}{{ z }}{% endwith %}",
            "{% macro f(a, b=2) %}<{{ a }}{{ b }}>{% endmacro %}{{ f(1) }}{{ f(1, b=q) }}{% filter upper %}x{{ q }}{% endfilter %}",
            "{% macro f() %}({{ caller() }}){% endmacro %}{% call f() %}{{ q }}{% endcall %}",
            "{% for x in [l, [1]] recursive %}{{ loop(x) if x is iterable and x is not string else x }}{% endfor %}",
            "{% autoescape true %}<b>{{ '<' ~ q }}</b>{% endautoescape %}{% raw %}{{ }}{% endraw %}{# no #}",
            "{% set n2 = namespace(c=0) %}{% for x in l %}{% set n2.c = n2.c + 1 %}{% endfor %}{{ n2.c }}{% do l|first %}",
        ] {
            let expected = plain.render_str(template, &doc).map_err(|e| e.to_string());
            let got = Program::text(template).run(&environment(), Value::from_serialize(&doc));
            match expected {
                Ok(expected) => assert_eq!(got.unwrap().as_str(), Some(expected.as_str()), "{template}"),
                Err(why) => assert!(got.is_err(), "{template}: {why}"),
            }
        }
    }
}
