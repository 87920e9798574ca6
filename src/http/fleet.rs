//! Every job at a glance, and what changes, for the pages: one board for all who look, read anew while anyone does.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::State,
    response::{IntoResponse as _, Response, sse::Event},
};
use futures::StreamExt as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::{
    sync::Mutex,
    time::{Instant, MissedTickBehavior, interval},
};
use tonic::{Code, Status};

use super::{Problem, Shared, body::to_json, watch::stream};
use crate::{
    engine::{Engine, JobView, health::Verdict},
    model::filter::{JobCursor, JobOrder, JobQuery, OrderKey},
    rpc::convert,
};

/// How old what is shown may be.
const PERIOD: Duration = Duration::from_millis(300);
/// Jobs that are shown.
const JOBS_AT_MOST: usize = 10_000;
const PAGE: u32 = 1000;
/// Points of the small line beside a job.
const SPARK_POINTS: usize = 40;
const DECISIONS_PAGE: u32 = 1000;

/// What is known of all jobs. Cheap to clone.
#[derive(Clone, Default)]
pub(super) struct Board(Arc<Mutex<Rows>>);

#[derive(Default)]
struct Rows {
    by_name: BTreeMap<String, Row>,
    /// Rises with every change of a row.
    version: u64,
    read: Option<Instant>,
}

struct Row {
    /// Changes with what the row is made of.
    mark: String,
    version: u64,
    /// `None` once the job is gone.
    shown: Option<Value>,
    decisions: Decisions,
}

/// The newest decision about a job, and where to read on.
#[derive(Clone, Default)]
struct Decisions {
    after: Option<u64>,
    last: Option<Value>,
}

/// All jobs.
pub(super) async fn list(State(shared): State<Shared>) -> Result<Response, Problem> {
    let (jobs, version) = shared.fleet.since(shared.services.door.engine()?, 0).await?;
    let jobs: Vec<Value> = jobs.into_iter().filter_map(|(_, shown)| shown).collect();
    Ok(axum::Json(json!({"jobs": jobs, "version": version})).into_response())
}

/// Jobs as they change: `row` has a job in the form of [`list`], `removed` the name of one that is gone.
pub(super) async fn watch(State(shared): State<Shared>) -> Result<Response, Problem> {
    let place = shared.places.take()?;
    let (_, version) = shared.fleet.since(shared.services.door.engine()?, 0).await?;
    let stop = shared.services.door.drain().clone();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let changes = futures::stream::unfold((shared, version, ticks), |(shared, version, mut ticks)| async move {
        ticks.tick().await;
        let engine = shared.services.door.engine().ok()?.clone();
        // What can not be read now is read the next time.
        let (rows, version) = shared.fleet.since(&engine, version).await.unwrap_or((Vec::new(), version));
        Some((rows, (shared, version, ticks)))
    });
    let events = changes.take_until(stop.cancelled_owned()).flat_map(|rows| {
        futures::stream::iter(rows.into_iter().map(|(name, shown)| match shown {
            Some(row) => Event::default().event("row").data(row.to_string()),
            None => Event::default().event("removed").data(json!({"name": name}).to_string()),
        }))
    });
    Ok(stream(events, place))
}

impl Board {
    /// The rows that changed after `version`, and the version they bring one to.
    async fn since(&self, engine: &Engine, version: u64) -> Result<(Vec<(String, Option<Value>)>, u64), Status> {
        let mut rows = self.0.lock().await;
        if rows.read.is_none_or(|read| read.elapsed() >= PERIOD) {
            rows.refresh(engine).await?;
            rows.read = Some(Instant::now());
        }
        let changed = rows.by_name.iter().filter(|(_, row)| row.version > version);
        Ok((changed.map(|(name, row)| (name.clone(), row.shown.clone())).collect(), rows.version))
    }
}

impl Rows {
    async fn refresh(&mut self, engine: &Engine) -> Result<(), Status> {
        let mut seen = HashSet::new();
        let mut query = JobQuery {
            namespace: None,
            conditions: Vec::new(),
            order: JobOrder { key: OrderKey::Name, descending: false },
            after: None,
            limit: PAGE,
        };
        loop {
            let views = engine.list_jobs(query.clone()).await?;
            let full = views.len() == PAGE as usize;
            query.after = views.last().map(|view| JobCursor::Name(view.row.name.to_string(), view.row.id));
            for view in views {
                let name = view.row.name.to_string();
                match self.look(engine, &name, &view).await {
                    // It was deleted since it was listed.
                    Err(status) if status.code() == Code::NotFound => continue,
                    looked => looked?,
                }
                seen.insert(name);
            }
            if !full || seen.len() >= JOBS_AT_MOST {
                break;
            }
        }
        for (name, row) in &mut self.by_name {
            if row.shown.is_some() && !seen.contains(name) {
                self.version += 1;
                (row.version, row.shown) = (self.version, None);
                row.mark.clear();
                row.decisions = Decisions::default();
            }
        }
        Ok(())
    }

    async fn look(&mut self, engine: &Engine, name: &str, view: &JobView) -> Result<(), Status> {
        let progress = view.progress.as_ref().map(|progress| (progress.watermark_step, progress.final_step));
        let mark = format!("{} {} {} {} {progress:?}", view.row.id, view.etag(), view.attempt, view.stale);
        let known = self.by_name.get(name);
        if known.is_some_and(|row| row.mark == mark) {
            return Ok(());
        }
        let decisions = known.map(|row| row.decisions.clone()).unwrap_or_default();
        let decisions = decisions.read_on(engine, view).await?;
        let shown = Some(row(engine, view, decisions.last.clone()).await?);
        self.version += 1;
        self.by_name.insert(name.to_owned(), Row { mark, version: self.version, shown, decisions });
        Ok(())
    }
}

impl Decisions {
    async fn read_on(mut self, engine: &Engine, view: &JobView) -> Result<Self, Status> {
        loop {
            let page = engine.decisions(&view.row.name, None, self.after, DECISIONS_PAGE).await?;
            if let Some(decision) = page.decisions.last() {
                self.last = Some(to_value(&convert::decision::to_proto(&view.row.name, decision))?);
            }
            match page.next {
                Some(next) => self.after = Some(next),
                None => return Ok(self),
            }
        }
    }
}

async fn row(engine: &Engine, view: &JobView, last_decision: Option<Value>) -> Result<Value, Status> {
    let glance = engine.glance(view).await?;
    let mut job = convert::job::to_proto(view);
    job.initial_spec = None;
    Ok(json!({
        "job": to_value(&job)?,
        "health": word(glance.health.verdict),
        "health_reason": glance.health.reason,
        "sparkline": spark(&glance.losses),
        "last_decision": last_decision,
    }))
}

/// The verdict as the pages know it.
pub(super) fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Diverging => "DIVERGING",
        Verdict::Stale => "STALE",
        Verdict::Plateau => "PLATEAU",
        Verdict::OnPlan => "ON_PLAN",
        Verdict::Fine => "FINE",
        Verdict::Paused => "PAUSED",
        Verdict::Waiting => "WAITING",
        Verdict::Failed => "FAILED",
        Verdict::Ended => "ENDED",
    }
}

/// Means of neighbours, `null` where one is not finite.
fn spark(losses: &[f64]) -> Vec<Option<f64>> {
    let group = losses.len().div_ceil(SPARK_POINTS).max(1);
    #[expect(clippy::cast_precision_loss, reason = "a few thousand at most")]
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / losses.len() as f64;
    losses.chunks(group).map(mean).map(|mean| Some(mean).filter(|mean| mean.is_finite())).collect()
}

/// A message in canonical JSON as a part of an answer.
pub(super) fn to_value<T: Serialize>(message: &T) -> Result<Value, Status> {
    serde_json::from_str(&to_json(message)?).map_err(|problem| Status::internal(problem.to_string()))
}
