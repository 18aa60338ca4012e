//! The registry of charts: each its own file, from a model's [`View`](super::view::View) to figures.
//!
//! A figure is drawn 360 units wide for one column of a phone; wide pages set several side by side, so that no text is ever
//! scaled by more than a fifth. Every mark of a curve has its value beside it, or further off with a line that leads to it.

pub mod axis;
pub mod bars;
pub mod curve;
pub mod labels;
pub mod svg;

pub mod accuracy;
pub mod costs;
pub mod f1;
pub mod headline;
pub mod perplexity;
pub mod structured;

use super::view::View;

/// A drawing with the words beside it.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it shows, with its unit.
    pub title: String,
    /// The drawing: a whole `<svg>` element.
    pub svg: String,
}

/// Where a chart's figures stand on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Section {
    Answer,
    Perplexity,
    Accuracy,
    F1,
    Structured,
}

/// A chart: draws its figures of one model; none where there is nothing to draw.
pub struct Chart {
    /// The file's name.
    pub name: &'static str,
    /// Where its figures stand.
    pub section: Section,
    /// Draws.
    pub draw: fn(&View) -> Vec<Figure>,
}

/// Every chart of results, in page order. The charts of [`costs`] draw from what was measured about the doing instead.
pub const CHARTS: &[Chart] = &[
    Chart { name: "headline", section: Section::Answer, draw: headline::draw },
    Chart { name: "perplexity", section: Section::Perplexity, draw: perplexity::draw },
    Chart { name: "accuracy", section: Section::Accuracy, draw: accuracy::draw },
    Chart { name: "f1", section: Section::F1, draw: f1::draw },
    Chart { name: "structured", section: Section::Structured, draw: structured::draw },
];

/// The figures of a section.
pub fn figures(view: &View, section: Section) -> Vec<Figure> {
    CHARTS.iter().filter(|c| c.section == section).flat_map(|c| (c.draw)(view)).collect()
}

/// An element's id from words: unique where the words are.
pub(crate) fn slug(words: &[&str]) -> String {
    let joined = words.join(" ").to_lowercase();
    let parts = joined.split(|c: char| !c.is_ascii_alphanumeric()).filter(|p| !p.is_empty());
    parts.collect::<Vec<_>>().join("-")
}
