//! Puts the meter into a template's syntax tree: what an operator, a filter or a method is given and what it makes passes
//! through the filters of [`super::meter`]. Nothing else is changed. The tree can only be copied.

use super::meter::{TIMES, WEIGH, WEIGH_TEXT};
use minijinja::machinery::Span;
use minijinja::machinery::ast::{
    AutoEscape, BinOp, BinOpKind, Call, CallArg, CallBlock, Compare, CompareOp, Const, Do, EmitExpr, Expr,
    Filter, FilterBlock, ForLoop, GetAttr, GetItem, IfCond, IfExpr, List, Macro, Map, Set, SetBlock, Slice,
    Spanned, Stmt, Template, Test, UnaryOp, UnaryOpKind, Var, WithBlock,
};
use minijinja::value::Value;
use minijinja::{Error, ErrorKind};

/// A statement under the meter.
pub(super) fn statement<'s>(statement: &Stmt<'s>) -> Result<Stmt<'s>, Error> {
    use Spanned as S;
    Ok(match statement {
        Stmt::Template(t) => Stmt::Template(S::new(Template { children: body(&t.children)? }, t.span())),
        Stmt::EmitExpr(e) => Stmt::EmitExpr(S::new(EmitExpr { expr: expression(&e.expr) }, e.span())),
        // Plain text passes the formatter, and so the meter, as values do.
        Stmt::EmitRaw(e) => {
            let value = Value::from_safe_string(e.raw.to_owned());
            let expr = Expr::Const(S::new(Const { value }, e.span()));
            Stmt::EmitExpr(S::new(EmitExpr { expr }, e.span()))
        }
        Stmt::ForLoop(f) => Stmt::ForLoop(S::new(
            ForLoop {
                target: target(&f.target),
                iter: expression(&f.iter),
                filter_expr: f.filter_expr.as_ref().map(expression),
                recursive: f.recursive,
                body: body(&f.body)?,
                else_body: body(&f.else_body)?,
            },
            f.span(),
        )),
        Stmt::IfCond(c) => Stmt::IfCond(S::new(
            IfCond {
                expr: expression(&c.expr),
                true_body: body(&c.true_body)?,
                false_body: body(&c.false_body)?,
            },
            c.span(),
        )),
        Stmt::WithBlock(w) => {
            let assignments = w.assignments.iter().map(|(to, e)| (target(to), expression(e))).collect();
            Stmt::WithBlock(S::new(WithBlock { assignments, body: body(&w.body)? }, w.span()))
        }
        Stmt::Set(s) => {
            Stmt::Set(S::new(Set { target: target(&s.target), expr: expression(&s.expr) }, s.span()))
        }
        Stmt::SetBlock(s) => Stmt::SetBlock(S::new(
            SetBlock {
                target: target(&s.target),
                filter: s.filter.as_ref().map(expression),
                body: body(&s.body)?,
            },
            s.span(),
        )),
        Stmt::AutoEscape(a) => Stmt::AutoEscape(S::new(
            AutoEscape { enabled: expression(&a.enabled), body: body(&a.body)? },
            a.span(),
        )),
        Stmt::FilterBlock(f) => Stmt::FilterBlock(S::new(
            FilterBlock { filter: expression(&f.filter), body: body(&f.body)? },
            f.span(),
        )),
        Stmt::Macro(m) => Stmt::Macro(macro_(m)?),
        Stmt::CallBlock(c) => Stmt::CallBlock(S::new(
            CallBlock { call: call(&c.call), macro_decl: macro_(&c.macro_decl)? },
            c.span(),
        )),
        Stmt::Do(d) => Stmt::Do(S::new(Do { call: call(&d.call) }, d.span())),
        Stmt::Block(b) => return Err(alone("block", b.span())),
        Stmt::Import(i) => return Err(alone("import", i.span())),
        Stmt::FromImport(i) => return Err(alone("from", i.span())),
        Stmt::Extends(e) => return Err(alone("extends", e.span())),
        Stmt::Include(i) => return Err(alone("include", i.span())),
    })
}

/// A template is alone: there are no others that it could be part of.
fn alone(word: &str, span: Span) -> Error {
    let line = span.start_line;
    Error::new(
        ErrorKind::SyntaxError,
        format!("line {line} of the template: found {{% {word} %}}, expected none: there is one template"),
    )
}

fn body<'s>(statements: &[Stmt<'s>]) -> Result<Vec<Stmt<'s>>, Error> {
    statements.iter().map(statement).collect()
}

fn macro_<'s>(m: &Spanned<Macro<'s>>) -> Result<Spanned<Macro<'s>>, Error> {
    let args = m.args.iter().map(target).collect();
    let defaults = m.defaults.iter().map(expression).collect();
    Ok(Spanned::new(Macro { name: m.name, args, defaults, body: body(&m.body)? }, m.span()))
}

/// What is assigned to: copied as it is.
fn target<'s>(written: &Expr<'s>) -> Expr<'s> {
    match written {
        Expr::List(l) => {
            Expr::List(Spanned::new(List { items: l.items.iter().map(target).collect() }, l.span()))
        }
        Expr::GetAttr(g) => {
            Expr::GetAttr(Spanned::new(GetAttr { expr: target(&g.expr), name: g.name }, g.span()))
        }
        other => expression(other),
    }
}

/// An expression under the meter.
pub(super) fn expression<'s>(written: &Expr<'s>) -> Expr<'s> {
    use Spanned as S;
    match written {
        Expr::Var(v) => Expr::Var(S::new(Var { id: v.id }, v.span())),
        Expr::Const(c) => Expr::Const(S::new(Const { value: c.value.clone() }, c.span())),
        Expr::Slice(s) => {
            let part = |e: &Option<Expr<'s>>| e.as_ref().map(expression);
            let slice = Slice {
                expr: weighed(&s.expr),
                start: part(&s.start),
                stop: part(&s.stop),
                step: part(&s.step),
            };
            through(WEIGH, Expr::Slice(S::new(slice, s.span())), s.span())
        }
        Expr::UnaryOp(u) => {
            Expr::UnaryOp(S::new(UnaryOp { op: same(&u.op), expr: expression(&u.expr) }, u.span()))
        }
        Expr::BinOp(b) => binary(b),
        Expr::Compare(c) => {
            let ops = c.ops.iter().map(|o| CompareOp { op: o.op, expr: weighed(&o.expr) }).collect();
            Expr::Compare(S::new(Compare { expr: weighed(&c.expr), ops }, c.span()))
        }
        Expr::IfExpr(i) => Expr::IfExpr(S::new(
            IfExpr {
                test_expr: expression(&i.test_expr),
                true_expr: expression(&i.true_expr),
                false_expr: i.false_expr.as_ref().map(expression),
            },
            i.span(),
        )),
        Expr::Filter(f) => {
            let filter =
                Filter { name: f.name, expr: f.expr.as_ref().map(weighed), args: arguments(&f.args) };
            through(WEIGH, Expr::Filter(S::new(filter, f.span())), f.span())
        }
        Expr::Test(t) => {
            let test = Test { name: t.name, expr: weighed(&t.expr), args: arguments(&t.args) };
            Expr::Test(S::new(test, t.span()))
        }
        Expr::GetAttr(g) => {
            Expr::GetAttr(S::new(GetAttr { expr: expression(&g.expr), name: g.name }, g.span()))
        }
        Expr::GetItem(g) => {
            let of = through(WEIGH_TEXT, expression(&g.expr), g.span());
            Expr::GetItem(S::new(
                GetItem { expr: of, subscript_expr: expression(&g.subscript_expr) },
                g.span(),
            ))
        }
        Expr::Call(c) => {
            let called = Expr::Call(call(c));
            let is_method = matches!(c.expr, Expr::GetAttr(_));
            if is_method { through(WEIGH, called, c.span()) } else { called }
        }
        Expr::List(l) => {
            let list = List { items: l.items.iter().map(expression).collect() };
            through(WEIGH, Expr::List(S::new(list, l.span())), l.span())
        }
        Expr::Map(m) => {
            let all = |es: &[Expr<'s>]| es.iter().map(expression).collect();
            let map = Map { keys: all(&m.keys), values: all(&m.values) };
            through(WEIGH, Expr::Map(S::new(map, m.span())), m.span())
        }
    }
}

fn same(op: &UnaryOpKind) -> UnaryOpKind {
    match op {
        UnaryOpKind::Not => UnaryOpKind::Not,
        UnaryOpKind::Neg => UnaryOpKind::Neg,
    }
}

/// Joined texts and lists are as large as their parts together, so weighing those is enough; a product is not.
fn binary<'s>(b: &Spanned<BinOp<'s>>) -> Expr<'s> {
    use BinOpKind as K;
    if matches!(b.op, K::Mul) {
        let filter = Filter {
            name: TIMES,
            expr: Some(expression(&b.left)),
            args: vec![CallArg::Pos(expression(&b.right))],
        };
        return Expr::Filter(Spanned::new(filter, b.span()));
    }
    let (left, right) = match b.op {
        K::ScAnd | K::ScOr => (expression(&b.left), expression(&b.right)),
        _ => (weighed(&b.left), weighed(&b.right)),
    };
    Expr::BinOp(Spanned::new(BinOp { op: b.op, left, right }, b.span()))
}

fn call<'s>(c: &Spanned<Call<'s>>) -> Spanned<Call<'s>> {
    let expr = match &c.expr {
        Expr::GetAttr(g) => {
            Expr::GetAttr(Spanned::new(GetAttr { expr: weighed(&g.expr), name: g.name }, g.span()))
        }
        other => expression(other),
    };
    Spanned::new(Call { expr, args: arguments(&c.args) }, c.span())
}

fn arguments<'s>(args: &[CallArg<'s>]) -> Vec<CallArg<'s>> {
    args.iter()
        .map(|arg| match arg {
            CallArg::Pos(e) => CallArg::Pos(weighed(e)),
            CallArg::Kwarg(name, e) => CallArg::Kwarg(name, weighed(e)),
            CallArg::PosSplat(e) => CallArg::PosSplat(weighed(e)),
            CallArg::KwargSplat(e) => CallArg::KwargSplat(weighed(e)),
        })
        .collect()
}

fn weighed<'s>(written: &Expr<'s>) -> Expr<'s> {
    let span = written.span();
    match expression(written) {
        constant @ Expr::Const(_) => constant,
        made => through(WEIGH, made, span),
    }
}

fn through<'s>(filter: &'static str, expr: Expr<'s>, span: Span) -> Expr<'s> {
    Expr::Filter(Spanned::new(Filter { name: filter, expr: Some(expr), args: Vec::new() }, span))
}
