//! Listings that come in pages: jobs, attempts, decisions, telemetry.

use prost::Message as _;
use serde::{Deserialize, Serialize};

use crate::rpc::{
    convert::{self, optional_whole, step, whole},
    fields::{self, checked},
    filter, page_token,
};
use lrs_engine::{ChangePage, DecisionPage, Engine, Error, JobView, TelemetryAmount, TelemetryQuery};
use lrs_model::{
    MAX_STEP,
    filter::{JobCursor, JobOrder, JobQuery, OrderKey},
    job::{AttemptRow, Timestamp},
    name::{JobId, parse_parent},
    telemetry::{MAX_METRIC_NAME_CHARS, is_metric_name},
    violation::Violations,
};
use lrs_proto::{
    Job, ListAttemptsRequest, ListAttemptsResponse, ListChangesRequest, ListChangesResponse, ListDecisionsRequest,
    ListDecisionsResponse, ListJobsRequest, ListJobsResponse, QueryTelemetryRequest, QueryTelemetryResponse,
};

/// The parent in a listing over all namespaces.
const ALL_NAMESPACES: &str = "namespaces/-";
const MAX_METRICS: usize = 1000;
const MAX_POINTS: u64 = 100_000;
const MIN_POINTS: u64 = 2;
const MAX_TELEMETRY_PAGE: u64 = 100_000;
const DEFAULT_TELEMETRY_PAGE: u32 = 10_000;
/// The size from which on a page of jobs is full.
const PAGE_BYTES: usize = 2 << 20;
/// Jobs that are read at once.
const BATCH: u32 = 100;

/// A page ends early when it has [`PAGE_BYTES`]: a job may be as large as the largest spec.
pub(super) async fn jobs(engine: &Engine, request: &ListJobsRequest) -> Result<ListJobsResponse, Error> {
    let mut query = job_query(request)?;
    let (mut jobs, mut left, mut bytes) = (Vec::new(), query.limit, 0);
    loop {
        let batch = left.min(BATCH);
        // Ask for one job more, to learn whether there is another page.
        let found = engine.list_jobs(JobQuery { limit: batch + 1, ..query.clone() }).await?;
        for (position, job) in (0..).zip(&found) {
            if position == batch {
                break;
            }
            if left == 0 || bytes >= PAGE_BYTES {
                return Ok(job_page(request, jobs, query.after));
            }
            let wire = convert::job::to_proto(job);
            bytes += wire.encoded_len();
            jobs.push(wire);
            left -= 1;
            query.after = Some(Cursor::after(job, query.order).into());
        }
        let has_more = found.len() > usize::try_from(batch).unwrap_or(usize::MAX);
        if !has_more {
            return Ok(job_page(request, jobs, None));
        }
        if left == 0 {
            return Ok(job_page(request, jobs, query.after));
        }
    }
}

/// A page, and where the next page begins, if there is one.
fn job_page(request: &ListJobsRequest, jobs: Vec<Job>, next: Option<JobCursor>) -> ListJobsResponse {
    let next = next.map(|next| page_token::write(&job_fingerprint(request), Cursor::from(next)));
    ListJobsResponse { next_page_token: next.unwrap_or_default(), jobs }
}

pub(super) async fn attempts(engine: &Engine, request: &ListAttemptsRequest) -> Result<ListAttemptsResponse, Error> {
    let mut v = Violations::new();
    let job = fields::job_name(&mut v, "job", &request.job);
    let page_size = fields::page_size(&mut v, request.page_size);
    let fingerprint = ("attempts", &request.job);
    let after: u32 = page_token::read(&mut v, &request.page_token, &fingerprint).unwrap_or(0);
    let all = engine.attempts(&checked(v, job)?).await?;
    let (page, next) = attempts_page(&all, after, page_size);
    Ok(ListAttemptsResponse {
        attempts: page.iter().map(|row| convert::attempt::to_proto(row)).collect(),
        next_page_token: next.map(|after| page_token::write(&fingerprint, after)).unwrap_or_default(),
    })
}

pub(super) async fn decisions(engine: &Engine, request: &ListDecisionsRequest) -> Result<ListDecisionsResponse, Error> {
    let mut v = Violations::new();
    let job = fields::job_name(&mut v, "job", &request.job);
    let page_size = fields::page_size(&mut v, request.page_size);
    let attempt = attempt(&mut v, request.attempt);
    let fingerprint = ("decisions", &request.job, request.attempt);
    let after: Option<u64> = page_token::read(&mut v, &request.page_token, &fingerprint);
    let job = checked(v, job)?;
    let DecisionPage { decisions, next } = engine.decisions(&job, attempt, after, page_size).await?;
    Ok(ListDecisionsResponse {
        decisions: decisions.iter().map(|decision| convert::decision::to_proto(&job, decision)).collect(),
        next_page_token: next.map(|position| page_token::write(&fingerprint, position)).unwrap_or_default(),
    })
}

pub(super) async fn changes(engine: &Engine, request: &ListChangesRequest) -> Result<ListChangesResponse, Error> {
    let mut v = Violations::new();
    let job = fields::job_name(&mut v, "job", &request.job);
    let page_size = fields::page_size(&mut v, request.page_size);
    let fingerprint = ("changes", &request.job);
    let after: Option<u64> = page_token::read(&mut v, &request.page_token, &fingerprint);
    let ChangePage { changes, next } = engine.changes(&checked(v, job)?, after, page_size).await?;
    Ok(ListChangesResponse {
        changes: changes.iter().map(convert::change::to_proto).collect(),
        next_page_token: next.map(|position| page_token::write(&fingerprint, position)).unwrap_or_default(),
    })
}

pub(super) async fn telemetry(
    engine: &Engine,
    request: QueryTelemetryRequest,
) -> Result<QueryTelemetryResponse, Error> {
    let mut v = Violations::new();
    let job = fields::job_name(&mut v, "job", &request.job);
    let query = telemetry_query(&mut v, &request);
    let job = checked(v, job)?;
    let answer = engine.telemetry(&job, query).await?;
    let next = answer.next_step.map(|step| page_token::write(&telemetry_fingerprint(&request), step));
    Ok(convert::telemetry::answer_to_proto(answer, next.unwrap_or_default()))
}

/// The place where a listing of jobs continues: after the job with this key and identity.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Cursor {
    Name(String, JobId),
    Time(Timestamp, JobId),
}

impl Cursor {
    fn after(job: &JobView, order: JobOrder) -> Self {
        let row = &job.row;
        match order.key {
            OrderKey::Name => Self::Name(row.name.to_string(), row.id),
            OrderKey::CreateTime => Self::Time(row.create_time, row.id),
            OrderKey::UpdateTime => Self::Time(row.update_time, row.id),
        }
    }
}

impl From<JobCursor> for Cursor {
    fn from(cursor: JobCursor) -> Self {
        match cursor {
            JobCursor::Name(name, id) => Self::Name(name, id),
            JobCursor::Time(time, id) => Self::Time(time, id),
        }
    }
}

impl From<Cursor> for JobCursor {
    fn from(cursor: Cursor) -> Self {
        match cursor {
            Cursor::Name(name, id) => Self::Name(name, id),
            Cursor::Time(time, id) => Self::Time(time, id),
        }
    }
}

fn job_query(request: &ListJobsRequest) -> Result<JobQuery, Error> {
    let mut v = Violations::new();
    let namespace = if request.parent == ALL_NAMESPACES {
        None
    } else {
        parse_parent(&request.parent).map_err(|problem| v.add("parent", problem)).ok().map(str::to_owned)
    };
    let conditions = filter::parse(&request.filter).map_err(|problem| v.add("filter", problem)).ok();
    let order = filter::parse_order(&request.order_by).map_err(|problem| v.add("order_by", problem)).ok();
    let limit = fields::page_size(&mut v, request.page_size);
    let cursor: Option<Cursor> = page_token::read(&mut v, &request.page_token, &job_fingerprint(request));
    let (conditions, order) = checked(v, conditions.zip(order))?;
    Ok(JobQuery { namespace, conditions, order, after: cursor.map(JobCursor::from), limit })
}

fn job_fingerprint(request: &ListJobsRequest) -> (&'static str, &str, &str, &str) {
    ("jobs", &request.parent, &request.filter, &request.order_by)
}

/// A page of the attempts after number `after`, and the number after which the next page continues.
fn attempts_page(all: &[AttemptRow], after: u32, page_size: u32) -> (Vec<&AttemptRow>, Option<u32>) {
    let size = usize::try_from(page_size).unwrap_or(usize::MAX);
    let mut rest = all.iter().filter(|row| row.attempt > after);
    let page: Vec<_> = rest.by_ref().take(size).collect();
    let next = rest.next().and(page.last()).map(|last| last.attempt);
    (page, next)
}

/// The attempt in a request; `None` for 0.
fn attempt(v: &mut Violations, attempt: i64) -> Option<u32> {
    let attempt = whole(v, "attempt", attempt, 0, u32::MAX.into());
    u32::try_from(attempt).ok().filter(|&attempt| attempt > 0)
}

fn telemetry_query(v: &mut Violations, request: &QueryTelemetryRequest) -> TelemetryQuery {
    if request.metrics.len() > MAX_METRICS {
        v.refuse("metrics", format_args!("{} names", request.metrics.len()), format_args!("at most {MAX_METRICS}"));
    }
    let start_step = step(v, "start_step", request.start_step);
    let end_step = optional_whole(v, "end_step", request.end_step, 0, MAX_STEP + 1).unwrap_or(MAX_STEP + 1);
    if end_step < start_step {
        v.refuse("end_step", end_step, format_args!("at least start_step, {start_step}"));
    }
    if let Some(name) = request.metrics.iter().find(|name| !is_metric_name(name)) {
        let allowed = format_args!("names of 1 to {MAX_METRIC_NAME_CHARS} characters without spaces");
        v.refuse("metrics", format_args!("{name:?}"), allowed);
    }
    let page_size = fields::page_size_up_to(v, request.page_size, MAX_TELEMETRY_PAGE, DEFAULT_TELEMETRY_PAGE);
    let amount = if request.max_points == 0 {
        TelemetryAmount::Raw { limit: usize::try_from(page_size).unwrap_or(usize::MAX) }
    } else {
        let max_points = whole(v, "max_points", request.max_points.into(), MIN_POINTS, MAX_POINTS);
        TelemetryAmount::DownSampled { max_points: usize::try_from(max_points).unwrap_or(usize::MAX) }
    };
    if request.max_points != 0 && !request.page_token.is_empty() {
        v.add("page_token", "is not allowed with max_points: a down-sampled answer is one page");
    }
    let next: Option<u64> = page_token::read(v, &request.page_token, &telemetry_fingerprint(request));
    TelemetryQuery {
        attempt: attempt(v, request.attempt),
        start_step: next.unwrap_or(start_step),
        end_step,
        metrics: request.metrics.clone(),
        amount,
    }
}

fn telemetry_fingerprint(request: &QueryTelemetryRequest) -> impl std::hash::Hash {
    ("telemetry", &request.job, request.attempt, request.start_step, request.end_step, &request.metrics)
}

#[cfg(test)]
mod tests;
