//! Builds one `<svg>` and places its texts so that none lies on another.
//!
//! Widths of texts are estimates on the generous side: a page's font is the reader's.

use std::fmt::Write;

/// Width of every drawing, in its own units.
pub const WIDTH: f64 = 360.0;
/// Height of a text's box at the size that figures use.
pub(super) const TEXT_HEIGHT: f64 = 13.0;

/// A rectangle that something occupies.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Area {
    /// Left.
    pub x: f64,
    /// Top.
    pub y: f64,
    /// Width.
    pub w: f64,
    /// Height.
    pub h: f64,
}

impl Area {
    /// Around a centre.
    pub fn around(x: f64, y: f64, w: f64, h: f64) -> Self {
        Self { x: x - w / 2.0, y: y - h / 2.0, w, h }
    }

    pub(super) fn meets(&self, other: &Self) -> bool {
        self.x < other.x + other.w
            && other.x < self.x + self.w
            && self.y < other.y + other.h
            && other.y < self.y + self.h
    }

    pub(super) fn holds(&self, other: &Self) -> bool {
        other.x >= self.x
            && other.y >= self.y
            && other.x + other.w <= self.x + self.w
            && other.y + other.h <= self.y + self.h
    }
}

impl Area {
    /// The point of the area that is nearest to `at`.
    pub(super) fn nearest(&self, at: (f64, f64)) -> (f64, f64) {
        (at.0.clamp(self.x, self.x + self.w), at.1.clamp(self.y, self.y + self.h))
    }

    /// How far `at` is from the area; 0 inside.
    pub(super) fn distance(&self, at: (f64, f64)) -> f64 {
        let near = self.nearest(at);
        (near.0 - at.0).hypot(near.1 - at.1)
    }
}

/// Where a text's x is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Anchor {
    Start,
    Middle,
    End,
}

/// How wide `text` is at the size that figures use, at most; the classes `value` and `heading` are bold.
pub fn text_width(class: &str, text: &str) -> f64 {
    let bold = if class.starts_with("value") || class.starts_with("heading") { 1.12 } else { 1.0 };
    text.chars().map(|c| if matches!(c, '.' | ',' | ':' | ' ' | 'i' | 'l') { 4.6 } else { 7.7 } * bold).sum()
}

/// The text with what XML reads as its own escaped.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A drawing under construction.
#[derive(Debug)]
pub struct Drawing {
    height: f64,
    body: String,
    pub(super) taken: Vec<Area>,
    pub(super) crossed: Vec<Area>,
    /// Where texts stand.
    pub(super) texts: Vec<Area>,
    /// Where marks with a value are.
    pub(super) marks: Vec<(f64, f64)>,
    /// Lines from marks to their values.
    pub(super) led: Vec<((f64, f64), (f64, f64))>,
}

impl Drawing {
    /// An empty drawing.
    pub fn new(height: f64) -> Self {
        Self {
            height,
            body: String::new(),
            taken: Vec::new(),
            crossed: Vec::new(),
            texts: Vec::new(),
            marks: Vec::new(),
            led: Vec::new(),
        }
    }

    /// A line; `class` gives its stroke.
    pub fn line(&mut self, class: &str, from: (f64, f64), to: (f64, f64)) {
        let ((x1, y1), (x2, y2)) = (from, to);
        self.push(format_args!(
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        ));
    }

    /// A line through points, in whose way texts would rather not stand.
    pub fn path(&mut self, class: &str, points: &[(f64, f64)]) {
        let listed: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!(r#"<polyline class="{class}" points="{}"/>"#, listed.join(" ")));
        for pair in points.windows(2) {
            for step in 0..=24 {
                let t = f64::from(step) / 24.0;
                let at = (pair[0].0 + (pair[1].0 - pair[0].0) * t, pair[0].1 + (pair[1].1 - pair[0].1) * t);
                self.crossed.push(Area::around(at.0, at.1, 2.0, 2.0));
            }
        }
    }

    /// A rectangle.
    pub fn rect(&mut self, class: &str, area: Area) {
        let Area { x, y, w, h } = area;
        self.push(format_args!(
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.1}" height="{h:.1}" rx="1.5"/>"#
        ));
    }

    /// A mark of a curve's point; texts keep off it.
    pub fn mark(&mut self, class: &str, shape: Shape, (x, y): (f64, f64)) {
        match shape {
            Shape::Circle => {
                self.push(format_args!(r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="3.6"/>"#))
            }
            Shape::Square => self.push(format_args!(
                r#"<rect class="{class}" x="{:.1}" y="{:.1}" width="6.6" height="6.6"/>"#,
                x - 3.3,
                y - 3.3
            )),
            Shape::Triangle => self.polygon(class, &[(x, y - 4.6), (x + 4.4, y + 3.2), (x - 4.4, y + 3.2)]),
            Shape::Down => self.polygon(class, &[(x, y + 4.6), (x + 4.4, y - 3.2), (x - 4.4, y - 3.2)]),
            Shape::Pentagon => self.polygon(class, &around((x, y), 5, |_| 4.6)),
            Shape::Star => self.polygon(class, &around((x, y), 10, |k| if k % 2 == 0 { 5.8 } else { 2.6 })),
            Shape::Cross => {
                self.line(class, (x - 3.6, y - 3.6), (x + 3.6, y + 3.6));
                self.line(class, (x - 3.6, y + 3.6), (x + 3.6, y - 3.6));
            }
            Shape::Dot => {
                self.push(format_args!(r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="2"/>"#))
            }
        }
        self.taken.push(Area::around(x, y, 9.0, 9.0));
        if !matches!(shape, Shape::Cross | Shape::Dot) {
            self.marks.push((x, y));
        }
    }

    fn polygon(&mut self, class: &str, points: &[(f64, f64)]) {
        let listed: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        self.push(format_args!(r#"<polygon class="{class}" points="{}"/>"#, listed.join(" ")));
    }

    /// A vertical interval with caps, in whose way texts would rather not stand.
    pub fn whisker(&mut self, class: &str, x: f64, (top, bottom): (f64, f64)) {
        self.line(class, (x, top), (x, bottom));
        for y in [top, bottom] {
            self.line(class, (x - 2.5, y), (x + 2.5, y));
        }
        self.crossed.push(Area { x: x - 3.0, y: top, w: 6.0, h: bottom - top });
    }

    /// A text at a place that is the drawing's own to keep free.
    pub fn text(&mut self, class: &str, anchor: Anchor, at: (f64, f64), text: &str) {
        let area = Self::area(class, anchor, at, text);
        self.taken.push(area);
        self.texts.push(area);
        self.write(class, anchor, at, text);
    }

    /// The whole element. `title` and `description` are for those who cannot see it.
    pub fn finish(self, id: &str, title: &str, description: &str) -> String {
        format!(
            concat!(
                r#"<svg viewBox="0 0 {} {}" role="img" aria-labelledby="{}-t {}-d">"#,
                "<title id=\"{}-t\">{}</title><desc id=\"{}-d\">{}</desc>\n{}</svg>"
            ),
            WIDTH,
            self.height,
            id,
            id,
            id,
            escape(title),
            id,
            escape(description),
            self.body
        )
    }

    pub(super) fn area(class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) -> Area {
        let w = text_width(class, text);
        let left = match anchor {
            Anchor::Start => x,
            Anchor::Middle => x - w / 2.0,
            Anchor::End => x - w,
        };
        Area { x: left, y: y - TEXT_HEIGHT + 2.5, w, h: TEXT_HEIGHT }
    }

    fn write(&mut self, class: &str, anchor: Anchor, (x, y): (f64, f64), text: &str) {
        let anchor = match anchor {
            Anchor::Start => "start",
            Anchor::Middle => "middle",
            Anchor::End => "end",
        };
        let text = escape(text);
        self.push(format_args!(
            r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{text}</text>"#
        ));
    }

    fn push(&mut self, element: std::fmt::Arguments) {
        writeln!(self.body, "{element}").expect("a string takes all of it");
    }
}

/// The shape of a mark: one a recipe (filled: unstructured; hollow: N:M), the cross a missing number, the dot a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Shape {
    Circle,
    Square,
    Triangle,
    Down,
    Pentagon,
    Star,
    Cross,
    Dot,
}

/// The shape of the n-th recipe of a method.
pub fn shape(n: usize) -> Shape {
    [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Down, Shape::Pentagon, Shape::Star][n % 6]
}

/// How the n-th recipe's curve is dashed; with [`shape`] the first eighteen differ.
pub fn dash(n: usize) -> usize {
    (n + n / 6) % 3
}

/// Corners of a polygon around a centre, the first above it.
fn around((x, y): (f64, f64), corners: u32, radius: impl Fn(u32) -> f64) -> Vec<(f64, f64)> {
    let at = |k| {
        let angle = f64::from(k) * std::f64::consts::TAU / f64::from(corners);
        (x + radius(k) * angle.sin(), y - radius(k) * angle.cos())
    };
    (0..corners).map(at).collect()
}

/// A legend's sign: a mark on a piece of its curve.
pub fn swatch(mark: &str, curve: &str, kind: Shape) -> String {
    let mut drawing = Drawing::new(14.0);
    if !curve.is_empty() {
        drawing.path(curve, &[(1.0, 7.0), (33.0, 7.0)]);
    }
    drawing.mark(mark, kind, (17.0, 7.0));
    format!("<svg viewBox=\"0 0 34 14\" aria-hidden=\"true\">{}</svg>", drawing.body.trim().replace('\n', ""))
}
