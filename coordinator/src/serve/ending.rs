//! What comes at a sweep's end: its report, then what it asks for its checkpoints. What fails is tried again, later and later, until it
//! is done or the sweep has changed.
//!
//! In: sweeps that are over. Out: [`Ending`] of each, for people. Keeps nothing else waiting.

use super::refuse::Refusal;
use super::sweeps::Sweeps;
use crate::clock::Stopwatch;
use crate::records::present;
use crate::schedule::View;
use crate::spec::only::Only;
use espalier_proto::ids::Name;
use espalier_proto::messages as m;
use espalier_proto::sweep::Checkpoints;
use futures::FutureExt;
use futures::future::BoxFuture;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Makes the report of a sweep, of these cells only, at this price of an hour, and writes it to the bucket if asked to.
pub type Reporter = Arc<
    dyn Fn(Name, Only, Option<f64>, bool) -> BoxFuture<'static, Result<m::ReportResponse, Refusal>>
        + Send
        + Sync,
>;

/// Does what a sweep asks for its checkpoints; else says why not.
pub type Settler = Arc<dyn Fn(Name) -> BoxFuture<'static, Result<(), Unsettled>> + Send + Sync>;

/// What a sweep asks for its checkpoints is not done.
#[derive(Debug)]
pub struct Unsettled {
    /// Why.
    pub why: String,
    /// A checkpoint that it asks for was dropped, though it was believed to be there.
    pub lacks: bool,
}

impl From<String> for Unsettled {
    fn from(why: String) -> Self {
        Self { why, lacks: false }
    }
}

/// The pause after the first failure; each is twice the one before, up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(320);
/// A report that takes longer is told.
const LONG: Duration = Duration::from_secs(5);
/// Reports made at once: a coordinator that starts finds many sweeps over.
const AT_ONCE: usize = 2;

/// The longest that who watches a sweep waits for its report.
const REPORT: Duration = Duration::from_secs(60);

/// How far the end of a sweep is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ending {
    /// How often something had been asked of the sweep.
    pub asked: u64,
    /// The report is written.
    pub reported: bool,
    /// What it asks for its checkpoints is done too.
    pub settled: bool,
    /// What of it failed when it was last tried, in a sentence.
    pub unfinished: Option<String>,
}

enum Stage {
    Reporting(JoinHandle<Result<(), Unsettled>>, Stopwatch),
    Settling(JoinHandle<Result<(), Unsettled>>),
    /// The first one that failed is next; of the report (`true`) or of the checkpoints.
    Failed(bool, Stopwatch),
    Done,
}

/// How much of a sweep is there, and how much was given up: of one that is over others may go on measuring cells, or delete them.
type Reached = (usize, usize);

struct Begun {
    stage: Stage,
    /// How often something had been asked of the sweep.
    asked: u64,
    /// What the report may be about.
    reached: Reached,
    /// When that was begun, and how long it took.
    since: Stopwatch,
    took: Duration,
    tries: u32,
    /// It has changed since: what is on its way is of something else.
    changed: bool,
}

/// The ends that were begun.
pub(super) struct Endings {
    report: Reporter,
    settle: Settler,
    begun: BTreeMap<Name, Begun>,
}

impl Endings {
    pub(super) fn new(report: Reporter, settle: Settler) -> Self {
        Self { report, settle, begun: BTreeMap::new() }
    }

    /// Begins what is due, and takes in what has ended.
    /// `asked`: how often something was asked of each sweep, read before the view was.
    pub(super) fn look(&mut self, sweeps: &Sweeps, asked: &BTreeMap<Name, u64>, view: &View) {
        self.begun.retain(|name, _| view.sweeps.contains_key(name));
        sweeps.endings().retain(|name, _| view.sweeps.contains_key(name));
        for (name, view) in &view.sweeps {
            let asked = asked.get(name).copied().unwrap_or_default();
            if let Some(begun) = self.begun.get_mut(name)
                && (!view.over || begun.asked != asked)
            {
                begun.changed = true;
                sweeps.endings().remove(name);
            }
            let reached = (view.done, view.failed.len());
            self.report_again(name, reached);
            self.take_in(sweeps, name, view.halted);
            if view.over {
                self.begin(sweeps, name, asked, reached);
            }
        }
    }

    /// Of one that is over something was done or deleted since: the report says so soon, and is not always in the making.
    fn report_again(&mut self, name: &Name, reached: Reached) {
        let stale = self.begun.get(name).is_some_and(|begun| {
            begun.reached != reached
                && matches!(begun.stage, Stage::Done)
                && begun.since.elapsed() >= (begun.took * 10).max(SHORTEST)
        });
        if stale {
            self.begun.remove(name);
        }
    }

    fn take_in(&mut self, sweeps: &Sweeps, name: &Name, halted: bool) {
        let Some(begun) = self.begun.get_mut(name) else { return };
        let ended = match &mut begun.stage {
            Stage::Reporting(task, since) => {
                let ended = task.now_or_never();
                if ended.is_none() && !begun.changed && since.elapsed() > LONG {
                    say_so(sweeps, name, since.elapsed());
                }
                ended
            }
            // Nobody waits for folders of many gigabytes: they are written, and the sweep begun anew beside it.
            Stage::Settling(task) if !begun.changed => task.now_or_never(),
            Stage::Settling(_) | Stage::Failed(..) | Stage::Done if begun.changed => {
                self.begun.remove(name);
                return;
            }
            Stage::Settling(_) | Stage::Failed(..) | Stage::Done => None,
        };
        let Some(ended) = ended else { return };
        if begun.changed {
            self.begun.remove(name);
            return;
        }
        let report = matches!(begun.stage, Stage::Reporting(..));
        if report {
            begun.took = begun.since.elapsed();
        }
        // What panicked has told it on stderr.
        match ended.unwrap_or_else(|ended| Err(format!("a bug: {ended}").into())) {
            Ok(()) if report => {
                tracing::info!(sweep = %name, "sweep is over, its report is written");
                let settled =
                    sweeps.sweep(name.as_str()).is_ok_and(|s| s.checkpoints == Checkpoints::Compact);
                let ending = Ending { asked: begun.asked, reported: true, settled, unfinished: None };
                sweeps.endings().insert(name.clone(), ending);
                begun.stage = if settled {
                    Stage::Done
                } else {
                    Stage::Settling(tokio::spawn((self.settle)(name.clone())))
                };
                begun.tries = 0;
                compact(sweeps, name);
            }
            Ok(()) => {
                let ending = Ending { asked: begun.asked, reported: true, settled: true, unfinished: None };
                sweeps.endings().insert(name.clone(), ending);
                begun.stage = Stage::Done;
            }
            Err(Unsettled { why, lacks }) => {
                if lacks && !halted {
                    sweeps.read_again_soon(name);
                }
                let what = if report {
                    "its report is not written yet"
                } else {
                    "not all that it asks for its checkpoints is done yet"
                };
                tracing::error!(sweep = %name, why, "{what}; it is tried again");
                let unfinished = Some(format!("{what}: {why}; it is tried again"));
                sweeps.endings().insert(
                    name.clone(),
                    Ending { asked: begun.asked, reported: !report, settled: false, unfinished },
                );
                begun.stage = Stage::Failed(report, Stopwatch::start());
                begun.tries += 1;
            }
        }
    }

    fn begin(&mut self, sweeps: &Sweeps, name: &Name, asked: u64, reached: Reached) {
        let reports = self.begun.values().filter(|begun| matches!(begun.stage, Stage::Reporting(..))).count();
        let report = match self.begun.get(name) {
            None => true,
            Some(Begun { stage: Stage::Failed(report, since), tries, .. })
                if since.elapsed() >= pause(*tries) =>
            {
                *report
            }
            Some(_) => return,
        };
        if report && reports >= AT_ONCE {
            return;
        }
        let stage = if report {
            let made = (self.report)(name.clone(), Only::default(), None, true);
            let made = tokio::spawn(async { made.await.map(drop).map_err(|refusal| refusal.message.into()) });
            Stage::Reporting(made, Stopwatch::start())
        } else {
            Stage::Settling(tokio::spawn((self.settle)(name.clone())))
        };
        sweeps.endings().entry(name.clone()).or_default().asked = asked;
        let (tries, took) =
            self.begun.get(name).map_or_else(Default::default, |begun| (begun.tries, begun.took));
        let since = Stopwatch::start();
        self.begun.insert(name.clone(), Begun { stage, asked, reached, since, took, tries, changed: false });
    }
}

/// Who watches the sweep has seen its end: with its report, or after waiting for that, and with what it asks for its checkpoints, or why that is
/// not done; `ended`: since when it is over.
pub(super) fn is_seen(state: &m::SweepState, ended: &mut Option<Stopwatch>) -> bool {
    if !state.over {
        *ended = None;
        return false;
    }
    if state.reported {
        return state.settled || !state.unfinished.is_empty();
    }
    ended.get_or_insert_with(Stopwatch::start).elapsed() >= REPORT
}

/// A report is long in the making: of a large sweep, or for a bucket that is away. What failed before says more.
fn say_so(sweeps: &Sweeps, name: &Name, since: Duration) {
    let mut endings = sweeps.endings();
    let ending = endings.entry(name.clone()).or_default();
    ending.unfinished.get_or_insert_with(|| {
        let away = sweeps.bucket().trouble().map(|why| format!("; {why}")).unwrap_or_default();
        format!("its report is not written yet: it was begun {} s ago{away}", since.as_secs())
    });
}

/// The pause before what has failed so often is tried again.
pub(super) fn pause(tries: u32) -> Duration {
    SHORTEST.saturating_mul(1 << tries.saturating_sub(1).min(10)).min(LONGEST)
}

/// A sweep that is over is read again at every start: its records are put into segments, beside everything else.
fn compact(sweeps: &Sweeps, name: &Name) {
    let Ok(sweep) = sweeps.sweep(name.as_str()) else { return };
    let bucket = sweeps.bucket().clone();
    tokio::spawn(async move {
        if let Err(error) = present(&bucket, &sweep, true).await {
            tracing::warn!(%error, "records could not be compacted");
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_five_minutes() {
        let pauses: Vec<u64> = [1, 2, 3, 7, 100].map(|tries| pause(tries).as_secs()).into();
        assert_eq!(pauses, [5, 10, 20, 320, 320]);
    }
}
