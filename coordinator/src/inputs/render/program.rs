//! A template, parsed and compiled once under the meter.

use super::rewrite;
use crate::caught::caught;
use minijinja::machinery::{
    CodeGenerator, Instructions, Vm, WhitespaceConfig, make_string_output, parse, parse_expr,
};
use minijinja::value::Value;
use minijinja::{AutoEscape, Environment, Error, ErrorKind};
use std::collections::BTreeMap;

/// A longer template is refused: lines and columns of the engine are 16 bits.
const LONGEST: usize = 1 << 16;

/// What a template does. One that cannot be compiled says so when it is run: a field of its name may make it unneeded.
pub(super) enum Program<'a> {
    /// Nothing but `{{ expression }}`: gives the expression's value.
    Value(Instructions<'a>),
    /// Gives text.
    Text(Instructions<'a>),
    /// `ErrorKind`, line, detail.
    Wrong(ErrorKind, Option<usize>, String),
}

impl<'a> Program<'a> {
    /// An expression's value if the template is nothing but one, else its text.
    pub(super) fn new(template: &'a str) -> Self {
        let inner =
            template.strip_prefix("{{").and_then(|t| t.strip_suffix("}}")).filter(|t| !t.contains("}}"));
        match inner {
            Some(expression) => Self::of(expression.trim(), |source| {
                let mut code = CodeGenerator::new("<template>", source);
                code.compile_expr(&rewrite::expression(&parse_expr(source)?));
                Ok(Self::Value(code.finish().0))
            }),
            None => Self::text(template),
        }
    }

    /// Always text.
    pub(super) fn text(template: &'a str) -> Self {
        Self::of(template, |source| {
            let spaces = WhitespaceConfig { keep_trailing_newline: true, ..Default::default() };
            let tree = parse(source, "<template>", Default::default(), spaces)?;
            let mut code = CodeGenerator::new("<template>", source);
            code.compile_stmt(&rewrite::statement(&tree)?);
            Ok(Self::Text(code.finish().0))
        })
    }

    fn of(source: &'a str, compile: impl FnOnce(&'a str) -> Result<Self, Error>) -> Self {
        if source.len() > LONGEST {
            let why = format!("found a template of {} bytes, expected at most {LONGEST}", source.len());
            return Self::Wrong(ErrorKind::SyntaxError, None, why);
        }
        let compiled = caught(|| compile(source)).unwrap_or_else(|why| Err(panicked(&why)));
        compiled.unwrap_or_else(|e| {
            Self::Wrong(e.kind(), e.line(), e.detail().unwrap_or("cannot be parsed").to_owned())
        })
    }

    /// Runs it over `root`'s fields, in an environment made by [`super::meter::environment`].
    pub(super) fn run(&self, env: &Environment<'static>, root: Value) -> Result<Value, Error> {
        let mut text = String::new();
        let evaluate = |code| {
            let (blocks, mut out) = (BTreeMap::new(), make_string_output(&mut text));
            let run = || Ok(Vm::new(env).eval(code, root, &blocks, &mut out, AutoEscape::None)?.0);
            caught(run).unwrap_or_else(|why| Err(panicked(&why)))
        };
        match self {
            Self::Value(code) => Ok(evaluate(code)?.unwrap_or_default()),
            Self::Text(code) => {
                evaluate(code)?;
                Ok(text.into())
            }
            Self::Wrong(kind, line, detail) => {
                let at = line.map_or_else(String::new, |n| format!("line {n} of the template: "));
                Err(Error::new(*kind, format!("{at}{detail}")))
            }
        }
    }
}

/// The engine's own fault; the template is refused all the same.
fn panicked(why: &str) -> Error {
    Error::new(ErrorKind::InvalidOperation, format!("the template engine failed on it: {why}"))
}
