//! What a store does wrong on purpose: which requests it refuses, answers late, answers by half, or carries out without an answer.
//!
//! In: a request's method and path. Out: its [`Fate`]. Counts what it did, so that a test can tell that its faults happened.

use hyper::{Method, Uri};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

/// Requests that are answered with an error of the store's and not carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// Of this method; empty is any.
    pub method: &'static str,
    /// Of addresses, queries included, that hold this.
    pub part: &'static str,
    /// The status.
    pub status: u16,
    /// The store's word for it, in the body.
    pub code: &'static str,
    /// So many of them.
    pub times: u32,
}

/// Requests that are carried out later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Late {
    /// Their method.
    pub method: &'static str,
    /// A part of their path.
    pub part: &'static str,
    /// So many of them.
    pub times: u32,
    /// So much later.
    pub by: Duration,
}

/// Faults still to come. Counted ones run out; the others stay until they are changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultPlan {
    /// So many requests are answered 503 and not carried out.
    pub fail_next: u32,
    /// Every so manieth request is answered 503 and not carried out; 0 is none.
    pub fail_every: u32,
    /// So many writes are carried out, and their connection is closed without an answer.
    pub drop_answer_after_write: u32,
    /// The same for every so manieth write; 0 is none.
    pub drop_every: u32,
    /// So many reads are answered with half of their body.
    pub cut_body: u32,
    /// So many writers of a `record.json` are killed with -9 before it is carried out: what it names is there, the record is not.
    pub kill_before_record: u32,
    /// So many are killed after it is carried out: nobody has been told of it.
    pub kill_after_record: u32,
    /// So many uploads in parts are ended, and their connection is closed without an answer.
    pub drop_answer_after_upload: u32,
    /// Requests that are refused in other ways than by 503, after those whose answers are lost.
    pub refuse: Vec<Refusal>,
    /// Requests that are carried out later than others.
    pub late: Vec<Late>,
    /// Answers have no ETag.
    pub no_tags: bool,
    /// Every answer comes so much later.
    pub delay: Duration,
}

/// What becomes of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is carried out and answered.
    Served,
    /// It is answered 503.
    Refused,
    /// It is answered with this status and this word of the store's.
    RefusedWith(u16, &'static str),
    /// It is carried out, and nobody is told.
    Unanswered,
    /// Half of the body, then the connection is closed.
    Cut,
    /// Who asked is killed, and nothing is carried out.
    KilledBefore,
    /// It is carried out, and who asked is killed.
    KilledAfter,
}

/// What happened so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Happened {
    /// Requests in all.
    pub requests: u32,
    /// Writes among them that were not refused.
    pub writes: u32,
    /// Answered 503, or refused otherwise.
    pub refused: u32,
    /// Carried out without an answer.
    pub unanswered: u32,
    /// Answered by half.
    pub cut: u32,
    /// Carried out later.
    pub late: u32,
    /// Writers of records that were killed before it was carried out.
    pub killed_before: u32,
    /// Writers of records that were killed after it was carried out.
    pub killed_after: u32,
    /// Bytes of bodies that were to be sent.
    pub sent: u64,
}

/// A plan that is being carried out.
#[derive(Debug, Default)]
pub struct Faults(Mutex<(FaultPlan, Happened)>);

impl Faults {
    fn locked(&self) -> MutexGuard<'_, (FaultPlan, Happened)> {
        self.0.lock().expect("no test panics while it plans")
    }

    /// Changes what is to come.
    pub fn plan(&self, plan: FaultPlan) {
        self.locked().0 = plan;
    }

    /// One more writer of a record is to be killed, before or after it is carried out.
    pub fn kill_writer(&self, after: bool) {
        let plan = &mut self.locked().0;
        *(if after { &mut plan.kill_after_record } else { &mut plan.kill_before_record }) += 1;
    }

    /// A body of so many bytes is to be sent.
    pub(crate) fn sends(&self, bytes: u64) {
        self.locked().1.sent += bytes;
    }

    /// Answers are to have no ETag.
    pub(crate) fn hides_tags(&self) -> bool {
        self.locked().0.no_tags
    }

    /// What happened so far.
    pub fn happened(&self) -> Happened {
        self.locked().1
    }

    /// What becomes of the next request, and how much later.
    pub fn next(&self, method: &Method, uri: &Uri) -> (Fate, Duration) {
        let (path, query) = (uri.path(), uri.query().unwrap_or_default());
        let mut locked = self.locked();
        let (plan, happened) = &mut *locked;
        happened.requests += 1;
        let every = |n: u32, count: u32| n > 0 && count.is_multiple_of(n);
        if spend(&mut plan.fail_next) || every(plan.fail_every, happened.requests) {
            happened.refused += 1;
            return (Fate::Refused, plan.delay);
        }
        let write = *method == Method::PUT;
        happened.writes += u32::from(write);
        if write && path.ends_with("/record.json") {
            for (left, killed, fate) in [
                (&mut plan.kill_before_record, &mut happened.killed_before, Fate::KilledBefore),
                (&mut plan.kill_after_record, &mut happened.killed_after, Fate::KilledAfter),
            ] {
                if spend(left) {
                    *killed += 1;
                    return (fate, Duration::ZERO);
                }
            }
        }
        if write && (spend(&mut plan.drop_answer_after_write) || every(plan.drop_every, happened.writes)) {
            happened.unanswered += 1;
            return (Fate::Unanswered, plan.delay);
        }
        if *method == Method::POST && query.contains("uploadId=") && spend(&mut plan.drop_answer_after_upload)
        {
            happened.unanswered += 1;
            return (Fate::Unanswered, plan.delay);
        }
        let address = format!("{path}?{query}");
        let meant = |refusal: &&mut Refusal| {
            (refusal.method.is_empty() || refusal.method == method.as_str()) && address.contains(refusal.part)
        };
        for refusal in plan.refuse.iter_mut().filter(meant) {
            if spend(&mut refusal.times) {
                happened.refused += 1;
                return (Fate::RefusedWith(refusal.status, refusal.code), plan.delay);
            }
        }
        if *method == Method::GET && spend(&mut plan.cut_body) {
            happened.cut += 1;
            return (Fate::Cut, plan.delay);
        }
        for late in plan.late.iter_mut().filter(|l| l.method == method.as_str() && path.contains(l.part)) {
            if spend(&mut late.times) {
                happened.late += 1;
                return (Fate::Served, late.by);
            }
        }
        (Fate::Served, plan.delay)
    }
}

/// Takes one of `left`, if there is one.
fn spend(left: &mut u32) -> bool {
    let any = *left > 0;
    *left = left.saturating_sub(1);
    any
}
