//! Where a value stands beside its mark: always somewhere, and never so that it reads as another mark's.
//!
//! Near its mark, if that is the nearest mark to the text; else further off, with a thin line that leads to it.

use super::svg::{Anchor, Area, Drawing, TEXT_HEIGHT, text_width};

/// Places near a point, the best first: anchor, and the text's baseline from the point.
const NEAR: [(Anchor, f64, f64); 10] = [
    (Anchor::Middle, 0.0, -9.0),
    (Anchor::Middle, 0.0, 18.0),
    (Anchor::Start, 8.0, 4.0),
    (Anchor::End, -8.0, 4.0),
    (Anchor::Start, 6.0, -6.0),
    (Anchor::End, -6.0, -6.0),
    (Anchor::Start, 6.0, 15.0),
    (Anchor::End, -6.0, 15.0),
    (Anchor::Middle, 0.0, -22.0),
    (Anchor::Middle, 0.0, 31.0),
];
/// How far off a text with a leader may stand.
const REACH: [f64; 11] = [18.0, 24.0, 32.0, 42.0, 54.0, 68.0, 84.0, 102.0, 122.0, 144.0, 170.0];
const DIRECTIONS: u32 = 36;
/// So much nearer to its own mark than to any other a text without a leader must be.
const CLEARLY: f64 = 3.0;

impl Drawing {
    /// The value of the mark at `(x, y)`, in the best place inside `bounds`. Marks are drawn before.
    pub fn label(&mut self, class: &str, (x, y): (f64, f64), text: &str, bounds: Area) {
        let mut best: Option<(usize, Anchor, (f64, f64))> = None;
        for (anchor, dx, dy) in NEAR {
            let at = (x + dx, y + dy);
            let area = Self::area(class, anchor, at, text);
            if self.is_free(&area, bounds) && self.reads_as((x, y), &area) {
                let crossings = self.crossings(&area);
                if best.as_ref().is_none_or(|(least, ..)| crossings < *least) {
                    best = Some((crossings, anchor, at));
                }
            }
        }
        match best {
            Some((_, anchor, at)) => self.text(class, anchor, at, text),
            None => self.led(class, (x, y), text, bounds),
        }
    }

    /// A name near one of these points, which are no mark's, such as of a line across: where it crosses least, the earlier
    /// point the better; left out where there is no free place.
    pub fn caption(&mut self, class: &str, points: &[(f64, f64)], text: &str, bounds: Area) {
        let near = |&(x, y): &(f64, f64)| NEAR.map(|(anchor, dx, dy)| (anchor, (x + dx, y + dy)));
        let places = points.iter().flat_map(near);
        let free = places
            .map(|(anchor, at)| (anchor, at, Self::area(class, anchor, at, text)))
            .filter(|(.., area)| self.is_free(area, bounds))
            .min_by_key(|(.., area)| self.crossings(area));
        if let Some((anchor, at, _)) = free {
            self.text(class, anchor, at, text);
        }
    }

    /// A value that finds no place of its own near its mark: where a line to it is short and crosses little.
    fn led(&mut self, class: &str, (x, y): (f64, f64), text: &str, bounds: Area) {
        let width = text_width(class, text);
        /// What it costs, where the text's baseline is, and where its leader ends.
        type Place = (f64, (f64, f64), (f64, f64));
        let mut best: Option<Place> = None;
        for reach in REACH {
            for k in 0..DIRECTIONS {
                let (sin, cos) = (f64::from(k) * std::f64::consts::TAU / f64::from(DIRECTIONS)).sin_cos();
                let at = (x + (reach + width / 2.0) * cos, y + reach * sin + TEXT_HEIGHT / 2.0 - 2.5);
                let area = Self::area(class, Anchor::Middle, at, text);
                if !self.is_free(&area, bounds) {
                    continue;
                }
                let end = area.nearest((x, y));
                let Some(leader) = self.leader((x, y), end) else {
                    continue;
                };
                let cost = reach / 8.0 + self.crossings(&area) as f64 + leader;
                if best.as_ref().is_none_or(|(least, ..)| cost < *least) {
                    best = Some((cost, at, end));
                }
            }
        }
        if let Some((_, at, end)) = best {
            let start = towards((x, y), end, 5.0);
            self.line("leader", start, end);
            self.led.push((start, end));
            self.text(class, Anchor::Middle, at, text);
        }
    }

    /// What a leader costs: curves that it crosses, and, dearer, marks and other leaders; `None` if it crosses a text.
    fn leader(&self, from: (f64, f64), to: (f64, f64)) -> Option<f64> {
        let mut cost = 0.0;
        for step in 0..=24 {
            let t = f64::from(step) / 24.0;
            let at = (from.0 + (to.0 - from.0) * t, from.1 + (to.1 - from.1) * t);
            let dot = Area::around(at.0, at.1, 1.0, 1.0);
            let near = |mark: &(f64, f64)| *mark != from && (mark.0 - at.0).hypot(mark.1 - at.1) < 5.0;
            if self.texts.iter().any(|area| area.meets(&dot)) {
                return None;
            }
            cost += self.crossings(&dot).min(2) as f64 * 0.5;
            cost += self.marks.iter().filter(|mark| near(mark)).count() as f64 * 12.0;
        }
        let crossed = self.led.iter().filter(|(a, b)| cross((from, to), (*a, *b))).count();
        Some(cost + crossed as f64 * 40.0)
    }

    fn is_free(&self, area: &Area, bounds: Area) -> bool {
        let led = |(from, to): &((f64, f64), (f64, f64))| {
            (0..=12).map(|k| f64::from(k) / 12.0).any(|t| {
                let at = (from.0 + (to.0 - from.0) * t, from.1 + (to.1 - from.1) * t);
                Area::around(at.0, at.1, 1.0, 1.0).meets(area)
            })
        };
        bounds.holds(area) && !self.taken.iter().any(|t| t.meets(area)) && !self.led.iter().any(led)
    }

    /// True if nobody would take the text for another mark's.
    fn reads_as(&self, own: (f64, f64), area: &Area) -> bool {
        let distance = area.distance(own);
        self.marks.iter().all(|&mark| mark == own || area.distance(mark) > distance + CLEARLY)
    }

    fn crossings(&self, area: &Area) -> usize {
        self.crossed.iter().filter(|c| c.meets(area)).count()
    }
}

/// The point `far` units from `from` on the way to `to`.
fn towards(from: (f64, f64), to: (f64, f64), far: f64) -> (f64, f64) {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy).max(1e-9);
    (from.0 + dx / length * far, from.1 + dy / length * far)
}

/// True if two pieces of line cross.
fn cross((a, b): ((f64, f64), (f64, f64)), (c, d): ((f64, f64), (f64, f64))) -> bool {
    let side =
        |p: (f64, f64), q: (f64, f64), r: (f64, f64)| (q.0 - p.0) * (r.1 - p.1) - (q.1 - p.1) * (r.0 - p.0);
    side(a, b, c) * side(a, b, d) < 0.0 && side(c, d, a) * side(c, d, b) < 0.0
}

#[cfg(test)]
mod tests {
    use super::super::svg::{Shape, WIDTH};
    use super::*;

    const BOUNDS: Area = Area { x: 49.0, y: 0.0, w: WIDTH - 49.0, h: 195.0 };

    /// Labels marks at these places; gives the drawing's text.
    fn labelled(marks: &[(f64, f64)]) -> String {
        let mut drawing = Drawing::new(236.0);
        for &at in marks {
            drawing.mark("mark", Shape::Circle, at);
        }
        for (n, &at) in marks.iter().enumerate() {
            drawing.label("value", at, &format!("{n}0.5"), BOUNDS);
        }
        drawing.finish("id", "title", "words")
    }

    #[test]
    fn marks_in_a_heap_all_have_their_values_and_those_without_a_leader_stand_nearest_to_their_own() {
        // Four recipes at one sparsity, two of them nearly the same.
        let heap = [(200.0, 80.0), (206.0, 84.0), (212.0, 92.0), (206.0, 70.0), (206.0, 60.0), (194.0, 79.0)];
        let svg = labelled(&heap);
        assert_eq!(svg.matches("<text").count(), heap.len(), "{svg}");
        assert!(svg.contains("class=\"leader\""), "{svg}");
    }

    #[test]
    fn a_mark_alone_needs_no_leader_and_has_its_value_above() {
        let svg = labelled(&[(200.0, 80.0), (280.0, 120.0)]);
        assert!(!svg.contains("leader"), "{svg}");
        assert!(svg.contains(r#"x="200.0" y="71.0">00.5"#), "{svg}");
    }

    #[test]
    fn a_value_never_stands_where_it_reads_as_another_marks() {
        // One mark right above the other: the place between them belongs to neither.
        let svg = labelled(&[(200.0, 80.0), (200.0, 104.0)]);
        for line in svg.lines().filter(|l| l.starts_with("<text")) {
            let y: f64 = line.split("y=\"").nth(1).unwrap().split('"').next().unwrap().parse().unwrap();
            assert!(
                !(85.0..100.0).contains(&(y - 4.0)) || line.contains("start") || line.contains("end"),
                "{svg}"
            );
        }
    }
}
