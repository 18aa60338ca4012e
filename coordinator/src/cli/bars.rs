//! Shows how far a run is: bars at a terminal, a line now and then elsewhere. To stderr, so that stdout stays the results'.

use crate::hub;
use crate::serve::Progress;
use crate::serve::progress::{fetching, spoken};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{IsTerminal, Write};

/// Steps of the main bar.
const STEPS: u64 = 10_000;

/// Cells done and failed, twentieths of the work, what is waited for, and that something is wrong with the bucket, whose words tell times.
type Told = (usize, usize, usize, Option<String>, bool);

/// What a run shows.
pub struct Bars {
    terminal: bool,
    all: MultiProgress,
    main: ProgressBar,
    running: Vec<ProgressBar>,
    /// What the last plain line told.
    told: Option<Told>,
    /// The same of a fetch.
    told_fetch: Option<u64>,
}

impl Default for Bars {
    fn default() -> Self {
        Self::new()
    }
}

impl Bars {
    /// Nothing is shown yet.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        let target = if terminal { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let all = MultiProgress::with_draw_target(target);
        let main = all.add(ProgressBar::new(STEPS));
        let style = ProgressStyle::with_template("{bar:30.green} {msg}").expect("the template is a constant");
        main.set_style(style.progress_chars("━━─"));
        Self { terminal, all, main, running: Vec::new(), told: None, told_fetch: None }
    }

    /// What is being done before anything runs.
    pub fn preparing(&mut self, what: &str) {
        if self.terminal {
            self.main.set_message(what.to_owned());
            self.main.tick();
        }
    }

    /// How far a fetch is.
    pub fn fetching(&mut self, progress: &hub::Progress) {
        let text = fetching(progress);
        if self.terminal {
            self.main.set_position((progress.done * STEPS).checked_div(progress.total).unwrap_or(STEPS));
            self.main.set_message(text);
        } else if self.told_fetch.replace(progress.twentieth()) != Some(progress.twentieth()) {
            say(&text);
        }
    }

    /// A run's progress.
    pub fn show(&mut self, progress: &Progress) {
        let text = line(progress);
        if !self.terminal {
            let twentieths = (progress.share * 20.0) as usize;
            let (waits, trouble) = (progress.waits_for.clone(), progress.trouble.is_some());
            let now = Some((progress.done, progress.failed, twentieths, waits, trouble));
            if self.told != now {
                self.told = now;
                let doing = doing(progress).join("; ");
                say(&if doing.is_empty() { text } else { format!("{text} ({doing})") });
            }
            return;
        }
        self.main.set_position((progress.share * STEPS as f64) as u64);
        self.main.set_message(text);
        let doing = doing(progress);
        while self.running.len() < doing.len() {
            let bar = self.all.add(ProgressBar::new_spinner());
            bar.set_style(
                ProgressStyle::with_template("  {spinner} {msg}").expect("the template is a constant"),
            );
            self.running.push(bar);
        }
        for bar in self.running.drain(doing.len()..) {
            bar.finish_and_clear();
            self.all.remove(&bar);
        }
        for (bar, text) in self.running.iter().zip(&doing) {
            bar.set_message(text.clone());
            bar.tick();
        }
    }

    /// Takes the bars away.
    pub fn clear(&mut self) {
        self.running.drain(..).for_each(|bar| bar.finish_and_clear());
        self.main.finish_and_clear();
        // What cannot be cleared stays on the screen, which harms nobody.
        let _ = self.all.clear();
    }
}

impl Drop for Bars {
    fn drop(&mut self) {
        self.clear();
    }
}

/// A line to stderr.
pub fn say(text: &str) {
    // A closed stderr means that nobody reads any more.
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// What runs, a line each, or why nothing does; and what is wrong with the bucket.
fn doing(progress: &Progress) -> Vec<String> {
    let waits = progress.waits_for.iter().map(|why| format!("waiting: {why}"));
    let trouble = progress.trouble.iter().map(|what| format!("bucket: {what}"));
    progress.running.iter().cloned().chain(waits).chain(trouble).collect()
}

fn line(progress: &Progress) -> String {
    let mut text = format!("{:.0} %", progress.share * 100.0);
    // A sweep without tasks has no cells.
    if progress.cells > 0 {
        text = format!("{} of {} cells, {text}", progress.done, progress.cells);
    }
    if progress.failed > 0 {
        text += &format!(", {} failed", progress.failed);
    }
    if let Some(left) = progress.left {
        text += &format!(", about {} left", spoken(left));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_line_says_what_is_done_and_an_estimate_only_where_there_is_one() {
        let mut progress = Progress {
            cells: 30,
            done: 12,
            failed: 0,
            share: 0.4,
            left: None,
            running: Vec::new(),
            waits_for: None,
            trouble: None,
        };
        assert_eq!(line(&progress), "12 of 30 cells, 40 %");
        progress.failed = 1;
        progress.left = Some(Duration::from_secs(95));
        assert_eq!(line(&progress), "12 of 30 cells, 40 %, 1 failed, about 1 min 35 s left");
    }

    #[test]
    fn a_bucket_that_does_not_answer_is_told_beside_what_runs() {
        let trouble = Some("the bucket has not answered for 25 s".to_owned());
        let running = vec!["dense: loading".to_owned()];
        let progress = Progress {
            cells: 1,
            done: 0,
            failed: 0,
            share: 0.0,
            left: None,
            running,
            waits_for: None,
            trouble,
        };
        assert_eq!(doing(&progress), ["dense: loading", "bucket: the bucket has not answered for 25 s"]);
    }
}
