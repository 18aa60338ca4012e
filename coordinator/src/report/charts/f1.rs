//! Macro-F1 over sparsity, a panel a task, with 95 % intervals.

use super::Figure;
use super::accuracy::shares;
use crate::report::view::{Family, View};

/// One panel for each F1 of the model.
pub fn draw(view: &View) -> Vec<Figure> {
    // A uniform guess's macro-F1 depends on the golds' balance: no line is drawn that nobody measured.
    shares(view, Family::F1, "macro-F1, %", &|_| None)
}
