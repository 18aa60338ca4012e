//! Task files and the templates in them, on documents that somebody else wrote.

use crate::words::Words;
use espalier::inputs::render::Renderer;
use espalier::inputs::task::{ChoiceTemplate, Style};
use espalier::inputs::task_file::parse_task;
use serde_json::{Map, Value, json};

fn document() -> Map<String, Value> {
    let document = json!({
        "question": "Which? ", "options": ["a", "b"], "answer": 1, "label": "b", "text": "A text.\nOf lines.",
        "choices": {"label": ["A", "B"], "text": ["one", "two"]}, "n": 3, "f": 0.5,
    });
    document.as_object().cloned().unwrap_or_default()
}

/// What a template makes is bounded, and the same each time.
fn rendered(style: &Style, document: &Map<String, Value>) {
    let renderer = Renderer::new(style);
    let first = renderer.render(document);
    if let Ok(got) = &first {
        assert!(got.context.len() <= 9 << 20, "{} bytes", got.context.len());
        assert!(got.gold.is_none_or(|gold| gold < got.choices.len()));
    }
    if let Err(error) = &first {
        assert!(error.why.len() < 1 << 20, "a complaint of {} bytes", error.why.len());
    }
    // Sixteen MiB are spent twice only where little was spent.
    if first.as_ref().is_ok_and(|got| got.context.len() < 1000) {
        assert_eq!(renderer.render(document), first);
    }
}

/// A task file, then an item through each of its styles.
pub(super) fn task(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match parse_task(text, "t.yaml", "t") {
        Ok(task) => {
            let document = document();
            task.styles.iter().for_each(|style| rendered(style, &document));
            assert!(task.style(None).is_some());
        }
        Err(error) => assert!(error.to_string().contains("t.yaml"), "{error}"),
    }
}

fn style(text: String) -> Style {
    Style {
        name: "s".to_owned(),
        choices: ChoiceTemplate::Whole(text.clone()),
        choice_form: Some("{{ choice }}".to_owned()),
        target: "0".to_owned(),
        text,
        delimiter: " ".to_owned(),
        metrics: Vec::new(),
    }
}

/// Any text as a template.
pub(super) fn template(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    rendered(&style(text.to_owned()), &document());
}

/// Templates that parse: statements and expressions of the grammar, put together at will.
pub(super) fn template_grammar(bytes: &[u8]) {
    let mut words = Words::new(bytes);
    let mut text = String::new();
    for _ in 0..1 + words.below(6) {
        statement(&mut words, &mut text, 3);
    }
    rendered(&style(text), &document());
}

const NAMES: &[&str] =
    &["question", "options", "choices", "text", "n", "f", "a", "b", "loop", "ns", "m", "zz"];
const FILTERS: &[&str] = &[
    "upper",
    "lower",
    "title",
    "trim",
    "length",
    "list",
    "first",
    "last",
    "reverse",
    "sort",
    "unique",
    "sum",
    "min",
    "max",
    "items",
    "dictsort",
    "lines",
    "split",
    "string",
    "int",
    "float",
    "bool",
    "abs",
    "e",
    "safe",
    "pprint",
    "capitalize",
    "join",
    "replace('e', question)",
    "replace('', question)",
    "indent(3)",
    "indent(n ** 9)",
    "batch(n)",
    "slice(n)",
    "slice(n ** 20)",
    "batch(n ** 20)",
    "format(n, question)",
    "map('upper')",
    "map('list')",
    "map('indent', 99)",
    "select",
    "reject('none')",
    "groupby('a')",
    "zip(options)",
    "chain(options)",
    "default('d')",
    "round(n)",
    "round(99)",
    "attr('label')",
    "tojson",
    "urlencode",
    "join(question)",
    "map('replace', 'a', text)",
    "map(attribute='x')",
    "center(9999)",
];
const OPERATORS: &[&str] =
    &["~", "+", "-", "*", "/", "//", "%", "**", "==", "!=", "<", "<=", "and", "or", "in", "not in"];
const METHODS: &[&str] = &[
    "strip()",
    "lower()",
    "upper()",
    "replace('e', text)",
    "replace('', text)",
    "split('')",
    "split('e')",
    "startswith('W')",
    "index('b')",
    "index(n)",
    "items()",
    "x",
    "label",
    "c",
    "index0",
    "cycle(1, 2)",
    "previtem",
    "changed(n)",
];
const LITERALS: &[&str] = &[
    "0",
    "1",
    "'%d%s'",
    "'x'",
    "'e'",
    "1.5",
    "99999",
    "9223372036854775807",
    "1e308",
    "true",
    "none",
    "[]",
    "{}",
    "''",
];

fn expression(words: &mut Words<'_>, text: &mut String, depth: usize) {
    let inner = depth.saturating_sub(1);
    match if depth == 0 { words.below(2) } else { words.below(11) } {
        0 => text.push_str(words.of(LITERALS)),
        1 => text.push_str(words.of(NAMES)),
        2 | 3 => {
            text.push('(');
            expression(words, text, inner);
            text.push_str(&format!(" {} ", words.of(OPERATORS)));
            expression(words, text, inner);
            text.push(')');
        }
        4 | 5 => {
            text.push('(');
            expression(words, text, inner);
            text.push_str(&format!("|{})", words.of(FILTERS)));
        }
        6 => {
            expression(words, text, inner);
            text.push_str(&format!(".{}", words.of(METHODS)));
        }
        7 => {
            text.push('[');
            expression(words, text, inner);
            text.push_str(", ");
            expression(words, text, inner);
            text.push(']');
        }
        8 => {
            expression(words, text, inner);
            text.push_str(
                words.of(&["[0]", "[-1]", "[1:]", "[::-1]", "[:n]", "['text']", "[n]", "[::2]", "[99999:]"]),
            );
        }
        9 => {
            text.push_str(words.of(&[
                "range(n)",
                "range(99999)",
                "dict(a=n)",
                "namespace(c=n)",
                "m(n)",
                "loop(options)",
                "debug()",
            ]));
        }
        _ => {
            text.push_str("{'k': ");
            expression(words, text, inner);
            text.push('}');
        }
    }
}

fn statement(words: &mut Words<'_>, text: &mut String, depth: usize) {
    let inner = depth.saturating_sub(1);
    let body = |words: &mut Words<'_>, text: &mut String| {
        for _ in 0..words.below(3) {
            statement(words, text, inner);
        }
    };
    match if depth == 0 { words.below(3) } else { words.below(10) } {
        0 => text.push_str(words.of(&["plain", "\n", "  ", "é", "{# c #}"])),
        1 => {
            text.push_str("{{ ");
            expression(words, text, depth);
            text.push_str(" }}");
        }
        2 | 3 => {
            text.push_str(&format!("{{% set {} = ", words.of(&["a", "b", "ns", "ns.c", "ns.x", "a, b"])));
            expression(words, text, depth);
            text.push_str(" %}");
        }
        4 | 5 => {
            text.push_str(&format!("{{% for {} in ", words.of(&["a", "b", "a, b"])));
            expression(words, text, depth);
            text.push_str(words.of(&[" %}", " recursive %}", " if a %}"]));
            body(words, text);
            text.push_str("{% endfor %}");
        }
        6 => {
            text.push_str("{% if ");
            expression(words, text, depth);
            text.push_str(" is defined %}");
            body(words, text);
            text.push_str("{% else %}");
            body(words, text);
            text.push_str("{% endif %}");
        }
        7 => {
            text.push_str("{% set b %}");
            body(words, text);
            text.push_str("{% endset %}");
        }
        8 => {
            text.push_str("{% macro m(a) %}");
            body(words, text);
            text.push_str("{% endmacro %}{% set ns = namespace() %}");
        }
        _ => {
            text.push_str(words.of(&["{% filter upper %}", "{% filter indent(9) %}"]));
            body(words, text);
            text.push_str("{% endfilter %}");
        }
    }
}
