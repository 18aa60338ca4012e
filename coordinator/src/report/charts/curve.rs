//! A panel of curves over sparsity: every recipe of a model from the dense point on, N:M as hollow marks beside it.

use super::axis::{Axis, Scale};
use super::svg::{Anchor, Area, Drawing, Shape, WIDTH, dash, shape};
use crate::merge::statistics::Estimate;
use crate::report::numbers::percent;
use crate::report::view::{Setting, View, colour};

const HEIGHT: f64 = 236.0;
const LEFT: f64 = 48.0;
const RIGHT: f64 = WIDTH - 12.0;
const TOP: f64 = 10.0;
const BOTTOM: f64 = HEIGHT - 40.0;

/// What a setting has at its sparsity: one estimate a seed, `None` for a number that is missing.
pub type Values<'a> = &'a dyn Fn(&Setting) -> Vec<Option<Estimate>>;

/// What a panel shows.
pub struct Panel<'a> {
    /// Unique on the page.
    pub id: String,
    /// For those who cannot see it: what it shows.
    pub title: String,
    /// How values spread; on a linear axis stand shares of one.
    pub scale: Scale,
    /// The numbers.
    pub values: Values<'a>,
    /// A line across: its value and its name.
    pub reference: Option<(f64, String)>,
    /// How a value reads beside its mark and on the axis.
    pub mark: &'a dyn Fn(f64) -> String,
    /// How a tick of the y axis reads.
    pub tick: &'a dyn Fn(f64) -> String,
}

/// A setting's place in the panel.
struct Point<'v> {
    setting: &'v Setting<'v>,
    x: f64,
    values: Vec<Option<Estimate>>,
}

impl Point<'_> {
    /// The mean over seeds, only of all of them.
    fn mean(&self) -> Option<f64> {
        let values: Option<Vec<f64>> = self.values.iter().map(|v| v.map(|e| e.value)).collect();
        values.filter(|v| !v.is_empty()).map(|v| v.iter().sum::<f64>() / v.len() as f64)
    }
}

impl Panel<'_> {
    /// Draws the panel of a model; `None` if it has no number at all.
    pub fn draw(&self, view: &View) -> Option<String> {
        let all: Vec<Estimate> = view.every().flat_map(|s| (self.values)(s)).flatten().collect();
        if all.is_empty() {
            return None;
        }
        let ends = |e: &Estimate| [Some(e.value), e.low, e.high].into_iter().flatten();
        let numbers = all.iter().flat_map(ends).chain(self.reference.iter().map(|(v, _)| *v));
        let y = match self.scale {
            Scale::Linear => Axis::from_zero(numbers, (BOTTOM, TOP)).to_next_tick().at_most(1.0),
            Scale::Log => Axis::log(numbers, (BOTTOM, TOP)),
        };
        let widest = view.settings.iter().map(|s| s.target).fold(0.0, f64::max);
        let x = Axis {
            scale: Scale::Linear,
            values: (0.0, widest.max(0.1)),
            places: (LEFT + 10.0, RIGHT - 16.0),
        };
        let mut drawing = Drawing::new(HEIGHT);
        self.frame(&mut drawing, &x, &y);
        let words = self.curves(&mut drawing, view, &x, &y);
        Some(drawing.finish(&self.id, &self.title, &words))
    }

    fn frame(&self, drawing: &mut Drawing, x: &Axis, y: &Axis) {
        for tick in y.ticks() {
            let at = y.place(tick);
            drawing.line("grid", (LEFT, at), (RIGHT, at));
            drawing.text("tick", Anchor::End, (LEFT - 6.0, at + 4.0), &(self.tick)(tick));
        }
        drawing.line("base", (LEFT, BOTTOM), (RIGHT, BOTTOM));
        for tick in x.ticks() {
            let at = x.place(tick);
            drawing.line("base", (at, BOTTOM), (at, BOTTOM + 4.0));
            drawing.text("tick", Anchor::Middle, (at, BOTTOM + 16.0), &percent(tick));
        }
        drawing.text(
            "tick",
            Anchor::Middle,
            ((LEFT + RIGHT) / 2.0, HEIGHT - 6.0),
            "sparsity: weights pruned",
        );
        if let Some((value, _)) = &self.reference {
            let at = y.place(*value);
            drawing.path("reference", &[(LEFT, at), (RIGHT, at)]);
        }
    }

    /// Draws curves, marks and their labels; gives the same in words.
    fn curves(&self, drawing: &mut Drawing, view: &View, x: &Axis, y: &Axis) -> String {
        let bounds = Area { x: LEFT + 1.0, y: 0.0, w: WIDTH - LEFT - 1.0, h: BOTTOM - 1.0 };
        let recipes = view.recipes();
        let mut words = Vec::new();
        let mut labels: Vec<((f64, f64), String, String)> = Vec::new();
        let dense = view.dense.as_ref().map(|setting| Point {
            setting,
            x: x.place(0.0),
            values: (self.values)(setting),
        });
        for (n, recipe) in recipes.iter().enumerate() {
            let own = view.settings.iter().filter(|s| s.recipe == *recipe);
            // Recipes stand a little beside each other, so that intervals at one sparsity can be told apart.
            let beside =
                (n as f64 - (recipes.len() - 1) as f64 / 2.0) * 6.0_f64.min(18.0 / recipes.len() as f64);
            let point = |setting| Point {
                setting,
                x: x.place(setting.target) + beside,
                values: (self.values)(setting),
            };
            let mut points: Vec<Point> = own.map(point).collect();
            points.sort_by(|a, b| a.setting.target.total_cmp(&b.setting.target));
            let method = points[0].setting.method;
            let nth = view.nth_of_method(recipe, method);
            let line = dense.iter().chain(points.iter().filter(|p| !p.setting.structured));
            // A missing number breaks the line.
            let places: Vec<Option<(f64, f64)>> = line.map(|p| p.mean().map(|m| (p.x, y.place(m)))).collect();
            for run in places.split(Option::is_none).filter(|run| run.len() > 1) {
                let run: Vec<(f64, f64)> = run.iter().flatten().copied().collect();
                drawing.path(&format!("curve {} dash{}", colour(method), dash(nth)), &run);
            }
            for point in &points {
                self.point(drawing, point, shape(nth), y, &mut labels);
                words.push(self.say(point));
            }
        }
        if let Some(point) = &dense {
            self.point(drawing, point, Shape::Circle, y, &mut labels);
            words.insert(0, self.say(point));
        }
        for (at, class, text) in labels {
            drawing.label(&class, at, &text, bounds);
        }
        if let Some((value, name)) = &self.reference {
            let half = super::svg::text_width("tick", name) / 2.0;
            // Along the line, from its end on: somewhere there is a free place.
            let along = (0..).map(|k| RIGHT - half - f64::from(k) * 12.0).take_while(|x| *x > LEFT + half);
            let places: Vec<(f64, f64)> = along.map(|x| (x, y.place(*value))).collect();
            drawing.caption("tick", &places, name, bounds);
            words.push(name.clone());
        }
        words.join("; ")
    }

    fn point(
        &self,
        drawing: &mut Drawing,
        point: &Point,
        kind: Shape,
        y: &Axis,
        labels: &mut Vec<((f64, f64), String, String)>,
    ) {
        let class = colour(point.setting.method);
        let seeds = point.values.len();
        for (n, value) in point.values.iter().enumerate() {
            let at = point.x + (n as f64 - (seeds - 1) as f64 / 2.0) * 3.0;
            let Some(estimate) = value else {
                drawing.mark(&format!("cross {class}"), Shape::Cross, (at, BOTTOM - 6.0));
                continue;
            };
            if let (Some(low), Some(high)) = (estimate.low, estimate.high) {
                drawing.whisker(&format!("whisker {class}"), at, (y.place(high), y.place(low)));
            }
            if seeds > 1 {
                drawing.mark(&format!("dot {class}"), Shape::Dot, (at, y.place(estimate.value)));
            }
        }
        if let Some(mean) = point.mean() {
            let at = (point.x, y.place(mean));
            let hollow = if point.setting.structured { " hollow" } else { "" };
            drawing.mark(&format!("mark{hollow} {class}"), kind, at);
            let text = match point.setting.structured {
                true => format!("{}: {}", point.setting.sparsity, (self.mark)(mean)),
                false => (self.mark)(mean),
            };
            labels.push((at, format!("value {class}"), text));
        }
    }

    fn say(&self, point: &Point) -> String {
        let value = point.mean().map_or("missing".to_owned(), self.mark);
        format!("{} {value}", point.setting.label())
    }
}
