//! All jobs at a glance, and their changes, for the pages. All readers share one board, which is refreshed while
//! somebody reads it.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    extract::State,
    http::header,
    response::{IntoResponse as _, Response, sse::Event},
};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{json, value::RawValue};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tonic::Status;

use super::{Problem, Shared, body::to_json, params::Params, watch::stream};
use crate::rpc::convert;
use lrs_engine::{Engine, Fleet, Sight, health::HealthState};
use lrs_model::number::exact;

/// How old the board may be when somebody reads it.
const PERIOD: Duration = Duration::from_millis(300);
/// After a refresh the board rests for as long as the refresh took, but no longer than this.
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How many jobs are shown: the running jobs first, then those that ended last.
const JOBS_AT_MOST: usize = 10_000;
/// The size from which on a part of the list of jobs is sent.
const PART_BYTES: usize = 32 << 10;
/// How many points the small line beside a job has.
const SPARK_POINTS: usize = 40;
/// How many deleted jobs the board remembers. A reader that has missed more deletions is told to read all jobs again.
const GONE_AT_MOST: usize = 1000;
/// The board is emptied when nobody has read it for this long.
const UNSEEN: Duration = Duration::from_mins(1);

/// The rows of all jobs. Cheap to clone.
#[derive(Clone)]
pub(super) struct Board(Arc<Inner>);

struct Inner {
    reader: tokio::sync::Mutex<Reader>,
    rows: Mutex<Rows>,
}

/// What the last refresh read. One reader refreshes for all of them.
struct Reader {
    fleet: Fleet,
    read: Option<(Instant, Duration)>,
    looked: Option<Instant>,
}

/// The rows by the version of their last change. A reader remembers only the version that it has come to.
#[derive(Default)]
struct Rows {
    versions: HashMap<Arc<str>, u64>,
    by_version: BTreeMap<u64, Row>,
    /// The number of the last change of a row.
    version: u64,
    gone: usize,
    /// Deletions up to this version have been forgotten.
    forgotten: u64,
    is_truncated: bool,
}

struct Row {
    name: Arc<str>,
    /// `None` if the job has been deleted.
    shown: Option<Bytes>,
}

/// What a reader is told next.
#[derive(Debug, PartialEq)]
enum Change {
    Row(Bytes),
    Gone(Arc<str>),
    Missed,
}

/// All jobs. Each row is read when it is sent, so a caller that reads slowly keeps no old rows in memory.
pub(super) async fn list(State(shared): State<Shared>, params: Params) -> Result<Response, Problem> {
    params.none()?;
    shared.fleet.refresh(&shared.door.engine()?).await?;
    let (names, version, is_truncated) = shared.fleet.rows().names();
    let end = format!(r#"],"version":{version},"truncated":{is_truncated},"jobs_at_most":{JOBS_AT_MOST}}}"#);
    let begin = Bytes::from_static(br#"{"jobs":["#);
    let sending = (shared.fleet, names.into_iter(), Some(end), true);
    let parts = futures::stream::unfold(sending, async |(board, mut names, mut end, mut is_first)| {
        let mut part = Vec::with_capacity(PART_BYTES);
        while part.len() < PART_BYTES
            && let Some(name) = names.next()
        {
            let Some(row) = board.rows().shown(&name) else { continue };
            if !is_first {
                part.push(b',');
            }
            is_first = false;
            part.extend(row);
        }
        if part.len() < PART_BYTES {
            part.extend(end.take()?.into_bytes());
        }
        Some((Bytes::from(part), (board, names, end, is_first)))
    });
    let parts = futures::stream::iter([begin]).chain(parts).map(Ok::<_, Infallible>);
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from_stream(parts)).into_response())
}

/// Changes of jobs: `row` has a job as [`list`] writes it, `removed` the name of a deleted job. After `missed_events`
/// the caller should read all jobs again.
pub(super) async fn watch(State(shared): State<Shared>, params: Params) -> Result<Response, Problem> {
    params.none()?;
    let slot = shared.watchers.take()?;
    shared.fleet.refresh(&shared.door.engine()?).await?;
    let version = shared.fleet.rows().version;
    let stop = shared.door.drain().clone();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let changes = futures::stream::unfold((shared, version, ticks), |(shared, version, mut ticks)| async move {
        loop {
            let next = shared.fleet.rows().after(version);
            if let Some((change, reached)) = next {
                return Some((change, (shared, reached, ticks)));
            }
            ticks.tick().await;
            let engine = shared.door.engine().ok()?;
            if let Err(status) = shared.fleet.refresh(&engine).await {
                // The next tick tries again.
                tracing::debug!(%status, "The fleet could not be read");
            }
        }
    });
    Ok(stream(changes.take_until(stop.cancelled_owned()).map(event), slot))
}

fn event(change: Change) -> Event {
    match change {
        // A row is JSON, and so valid UTF-8.
        Change::Row(row) => Event::default().event("row").data(String::from_utf8_lossy(&row)),
        Change::Gone(name) => Event::default().event("removed").data(json!({"name": name}).to_string()),
        Change::Missed => Event::default().event("missed_events").data("{}"),
    }
}

impl Board {
    /// An empty board.
    pub(super) fn new(fleet: Fleet) -> Self {
        let reader = Reader { fleet, read: None, looked: None };
        Self(Arc::new(Inner { reader: tokio::sync::Mutex::new(reader), rows: Mutex::default() }))
    }

    /// Reads what has changed, unless another reader has just done so.
    async fn refresh(&self, engine: &Engine) -> Result<(), Status> {
        // Whoever reads may be waiting for the database.
        let mut reader = engine.in_time(self.0.reader.lock()).await.map_err(crate::rpc::status::of)?;
        let begun = Instant::now();
        reader.looked = Some(begun);
        if reader.read.is_some_and(|(read, took)| read.elapsed() < PERIOD.max(took.min(LONGEST_REST))) {
            return Ok(());
        }
        let tell = |name: &str, row: Option<Result<Bytes, Status>>| match row {
            Some(Ok(row)) => self.rows().put(name, Some(row)),
            Some(Err(status)) => tracing::error!(%status, "The row of {name} cannot be written"),
            None => self.rows().put(name, None),
        };
        engine.look(&mut reader.fleet, JOBS_AT_MOST, row, tell).await.map_err(crate::rpc::status::of)?;
        self.rows().is_truncated = reader.fleet.is_truncated();
        let took = begun.elapsed();
        tracing::debug!(?took, "Looked at all jobs");
        reader.read = Some((Instant::now(), took));
        Ok(())
    }

    /// Empties the board whenever nobody has read it for a while. Runs for ever. Cancel safe.
    pub(super) async fn forget_unseen(self) {
        let mut ticks = interval(UNSEEN);
        loop {
            ticks.tick().await;
            let mut reader = self.0.reader.lock().await;
            if reader.looked.is_some_and(|looked| looked.elapsed() >= UNSEEN) {
                (reader.read, reader.looked) = (None, None);
                reader.fleet.forget();
                self.rows().clear();
            }
        }
    }

    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.rows.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Rows {
    fn put(&mut self, name: &str, shown: Option<Bytes>) {
        let before = self.versions.remove_entry(name);
        let name = match before {
            Some((name, version)) => {
                self.by_version.remove(&version);
                name
            }
            None => name.into(),
        };
        self.version += 1;
        if shown.is_some() {
            self.versions.insert(Arc::clone(&name), self.version);
        } else {
            self.gone += 1;
        }
        self.by_version.insert(self.version, Row { name, shown });
        if self.gone > GONE_AT_MOST {
            self.forget_gone();
        }
    }

    /// Forgets the older half of the deletions.
    fn forget_gone(&mut self) {
        let gone = self.by_version.iter().filter(|(_, row)| row.shown.is_none()).map(|(version, _)| *version);
        let oldest: Vec<u64> = gone.take(self.gone.div_ceil(2)).collect();
        for version in oldest {
            self.by_version.remove(&version);
            self.gone -= 1;
            self.forgotten = version;
        }
    }

    fn clear(&mut self) {
        *self = Self { version: self.version, forgotten: self.version, ..Self::default() };
    }

    /// The first change after `version`, and the version of that change.
    fn after(&self, version: u64) -> Option<(Change, u64)> {
        if version < self.forgotten {
            return Some((Change::Missed, self.version));
        }
        let (reached, row) = self.by_version.range(version + 1..).next()?;
        let change = match &row.shown {
            Some(shown) => Change::Row(shown.clone()),
            None => Change::Gone(Arc::clone(&row.name)),
        };
        Some((change, *reached))
    }

    /// The row of a job.
    fn shown(&self, name: &str) -> Option<Bytes> {
        self.by_version.get(self.versions.get(name)?)?.shown.clone()
    }

    /// The names of all jobs in order, the current version, and whether there are more jobs than rows.
    fn names(&self) -> (Vec<Arc<str>>, u64, bool) {
        let mut names: Vec<Arc<str>> = self.versions.keys().cloned().collect();
        names.sort_unstable();
        (names, self.version, self.is_truncated)
    }
}

/// A job's row as the pages read it.
#[derive(Serialize)]
struct Shown {
    job: Box<RawValue>,
    health: &'static str,
    health_reason: String,
    sparkline: Vec<Option<f64>>,
    last_decision: Option<Box<RawValue>>,
}

fn row(sight: &Sight) -> Result<Bytes, Status> {
    let Sight { view, glance, decision } = sight;
    let mut job = convert::job::to_proto(view);
    job.initial_spec = None;
    let decision = decision.as_ref().map(|decision| convert::decision::to_proto(&view.row.name, decision));
    let shown = Shown {
        job: raw(&job)?,
        health: word(glance.health.state),
        health_reason: glance.health.reason.clone(),
        sparkline: spark(&glance.losses),
        last_decision: decision.as_ref().map(raw).transpose()?,
    };
    serde_json::to_vec(&shown).map(Bytes::from).map_err(|problem| Status::internal(problem.to_string()))
}

/// A message in canonical JSON, to be put into a row.
fn raw<T: Serialize>(message: &T) -> Result<Box<RawValue>, Status> {
    RawValue::from_string(to_json(message)?).map_err(|problem| Status::internal(problem.to_string()))
}

/// The state of a job's health as the pages know it.
pub(super) fn word(state: HealthState) -> &'static str {
    match state {
        HealthState::Diverging => "DIVERGING",
        HealthState::Stale => "STALE",
        HealthState::Plateau => "PLATEAU",
        HealthState::OnPlan => "ON_PLAN",
        HealthState::Blind => "BLIND",
        HealthState::Fine => "FINE",
        HealthState::Paused => "PAUSED",
        HealthState::Waiting => "WAITING",
        HealthState::Abandoned => "ABANDONED",
        HealthState::Failed => "FAILED",
        HealthState::Ended => "ENDED",
    }
}

/// The means of neighbouring losses; `null` where a mean is not finite.
fn spark(losses: &[f64]) -> Vec<Option<f64>> {
    let group = losses.len().div_ceil(SPARK_POINTS).max(1);
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / exact(losses.len());
    losses.chunks(group).map(mean).map(|mean| Some(mean).filter(|mean| mean.is_finite())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rows: &Rows, mut version: u64) -> Vec<Change> {
        let mut told = Vec::new();
        while let Some((change, reached)) = rows.after(version) {
            told.push(change);
            version = reached;
        }
        told
    }

    fn row(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn whoever_lags_is_told_the_newest_of_each_and_what_is_gone() {
        let mut rows = Rows::default();
        rows.put("a", Some(row("a1")));
        rows.put("b", Some(row("b1")));
        let seen = rows.version;
        rows.put("a", Some(row("a2")));
        rows.put("b", None);
        rows.put("a", Some(row("a3")));

        assert_eq!(told(&rows, 0), [Change::Gone("b".into()), Change::Row(row("a3"))]);
        assert_eq!(told(&rows, seen), told(&rows, 0));
        assert_eq!((rows.names().0, rows.shown("a")), (vec!["a".into()], Some(row("a3"))));
    }

    #[test]
    fn what_is_gone_leaves_the_memory_and_who_lags_that_far_is_told_so() {
        let mut rows = Rows::default();
        for number in 0..5000 {
            rows.put(&format!("job-{number}"), Some(row("{}")));
            rows.put(&format!("job-{number}"), None);
        }
        assert!(rows.by_version.len() <= GONE_AT_MOST && rows.versions.is_empty());
        assert_eq!(told(&rows, 3), [Change::Missed]);
        let version = rows.version;
        assert_eq!(told(&rows, version - 1), [Change::Gone("job-4999".into())]);

        rows.clear();
        rows.put("new", Some(row("{}")));
        assert_eq!(told(&rows, version - 1), [Change::Missed]);
        assert_eq!(told(&rows, version), [Change::Row(row("{}"))]);
    }
}
