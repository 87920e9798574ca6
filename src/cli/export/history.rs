//! The record of a job, read from the server page by page.

use std::collections::BTreeSet;

use lrs_export::{Subject, Table, Target};
use pbjson_types::Timestamp;

use crate::cli::{
    connect::{ConnectArgs, Connection},
    failure::Failure,
    heart::{self, Rates},
    job, replay, telemetry,
};
use lrs_model::{
    decision::Decision,
    job::AttemptRow,
    name::JobName,
    number::exact,
    telemetry::{GRAD_NORM, LEARNING_RATE, LOSS},
};
use lrs_proto as proto;
use lrs_proto::{GetJobRequest, ListDecisionsRequest, QueryTelemetryRequest, QueryTelemetryResponse};

/// Steps of a page. With the 67 metrics that a message may report, a page takes 21 MB on both sides.
const PAGE_STEPS: i32 = 20_000;
/// Decisions of a page.
const PAGE_DECISIONS: i32 = 1000;
/// Steps searched at once for the metrics they have: a fraction of a second for the server.
const LOOK_STEPS: i64 = 1_000_000;
/// Directives handed over at once.
const BATCH: usize = 10_000;

/// The history of an attempt of a job.
pub(super) struct History {
    server: Connection,
    job: proto::Job,
    name: JobName,
    attempts: Vec<AttemptRow>,
    attempt: u32,
    /// When the attempt was started, or else the job registered, in seconds since 1970.
    started: f64,
    /// The first step that is left out: telemetry that arrives while the export runs is not part of it.
    end_step: Option<i64>,
}

impl History {
    /// The history of `attempt` of the job `name`, or of its newest.
    pub(super) async fn open(connect: &ConnectArgs, name: &JobName, attempt: Option<u32>) -> Result<Self, Failure> {
        let server = connect.connect().await?;
        let request = GetJobRequest { name: name.to_string() };
        let job = server.call(async |mut service| service.get_job(request.clone()).await).await?;
        let messages = job::attempts::read(&server, name.as_str()).await?;
        let attempts = messages.iter().map(replay::remote::row).collect::<Result<Vec<_>, _>>()?;
        let newest = attempts.last().map_or(0, |attempt| attempt.attempt);
        let attempt = attempt.unwrap_or(newest);
        if attempt > newest {
            let failure = Failure::invalid(format!("{name} has no attempt {attempt}: the newest is {newest}"));
            return Err(failure.with_hint("`lrs job attempts` shows the attempts there are"));
        }
        let progress = job.progress.as_ref().filter(|_| attempt == newest);
        let end_step = progress.and_then(|progress| progress.watermark_step).map(|step| step + 1);
        let message = messages.iter().find(|message| message.attempt == i64::from(attempt));
        let started = message.map_or(&job.create_time, |message| &message.create_time);
        let started = started.as_ref().map_or(0.0, seconds);
        Ok(Self { server, job, name: name.clone(), attempts, attempt, started, end_step })
    }

    /// The job.
    pub(super) fn name(&self) -> &JobName {
        &self.name
    }

    /// The attempt.
    pub(super) fn attempt(&self) -> u32 {
        self.attempt
    }

    /// When the attempt was started, or else the job registered, in seconds since 1970.
    pub(super) fn started(&self) -> f64 {
        self.started
    }

    /// What the export is of.
    pub(super) fn subject(&self) -> Subject {
        Subject { job: self.job.name.clone(), attempt: self.attempt }
    }

    /// The metrics of all steps: the usual ones first, the others by name.
    pub(super) async fn metrics(&self) -> Result<Vec<String>, Failure> {
        let mut found = BTreeSet::new();
        let mut from = 0;
        // One stretch at a time, so that no call takes long, however long the history is.
        while let Some(first) = self.next_step(from).await? {
            let end = first.saturating_add(LOOK_STEPS);
            let end = self.end_step.map_or(end, |last| last.min(end));
            let look = QueryTelemetryRequest { start_step: first, end_step: Some(end), max_points: 2, ..self.query() };
            found.extend(self.page(&look).await?.series.into_iter().map(|series| series.name));
            from = end;
        }
        let usual =
            [LOSS, GRAD_NORM, LEARNING_RATE].into_iter().filter_map(|name| found.take(name)).collect::<Vec<_>>();
        Ok(usual.into_iter().chain(found).collect())
    }

    /// The first step at or after `from` that has a record.
    async fn next_step(&self, from: i64) -> Result<Option<i64>, Failure> {
        let request = QueryTelemetryRequest { start_step: from, page_size: 1, ..self.query() };
        let page = self.page(&request).await?;
        Ok(page.series.iter().filter_map(|series| series.step.first().copied()).min())
    }

    fn query(&self) -> QueryTelemetryRequest {
        QueryTelemetryRequest {
            job: self.job.name.clone(),
            attempt: self.attempt.into(),
            end_step: self.end_step,
            ..Default::default()
        }
    }

    async fn page(&self, request: &QueryTelemetryRequest) -> Result<QueryTelemetryResponse, Failure> {
        self.server.call(async |mut service| service.query_telemetry(request.clone()).await).await
    }

    /// Copies all tables that `target` wants, in step order.
    pub(super) async fn copy_to(&self, target: &mut dyn Target) -> Result<(), Failure> {
        if target.wants(Table::Rates) {
            self.copy_steps(target, Some(self.rates().await?)).await?;
        } else if target.wants(Table::Telemetry) {
            self.copy_steps(target, None).await?;
        }
        if target.wants(Table::Decisions) {
            self.each_page_of_decisions(|decisions| Ok(target.decisions(decisions)?)).await?;
        }
        Ok(())
    }

    /// Copies the telemetry, and the rates that the job computes from it.
    async fn copy_steps(&self, target: &mut dyn Target, mut rates: Option<Rates>) -> Result<(), Failure> {
        let mut request = QueryTelemetryRequest { page_size: PAGE_STEPS, ..self.query() };
        let mut next = self.attempts.first().map_or(0, |attempt| attempt.resume_step);
        loop {
            let page = self.page(&request).await?;
            let records = telemetry::samples(&page)?;
            if let Some(last) = records.last() {
                next = last.step + 1;
            }
            if target.wants(Table::Telemetry) {
                target.telemetry(&records)?;
            }
            if let Some(rates) = &mut rates {
                target.rates(&records.iter().map(|record| rates.take(record)).collect::<Vec<_>>())?;
            }
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        match rates {
            Some(rates) => self.copy_ahead(target, &rates, next),
            None => Ok(()),
        }
    }

    /// Copies the rates from `next` on that were given out as final and have no record.
    fn copy_ahead(&self, target: &mut dyn Target, rates: &Rates, next: u64) -> Result<(), Failure> {
        let newest = self.attempts.last().map(|attempt| attempt.attempt);
        let progress = self.job.progress.as_ref().filter(|_| newest == Some(self.attempt));
        let final_step = progress.and_then(|progress| progress.final_step).and_then(|step| u64::try_from(step).ok());
        let mut steps = final_step.map_or(0..0, |last| next..last + 1);
        loop {
            let batch: Vec<proto::Directive> = steps.by_ref().take(BATCH).map(|step| rates.at(step)).collect();
            if batch.is_empty() {
                return Ok(());
            }
            target.rates(&batch)?;
        }
    }

    /// The rates of the job, before its first record.
    async fn rates(&self) -> Result<Rates, Failure> {
        let name = &self.job.name;
        let refused = |violations| Failure::violated(format!("the rates of {name} cannot be computed:"), &violations);
        let spec = heart::spec(self.job.initial_spec.clone().unwrap_or_default()).map_err(refused)?;
        let mut people: Vec<Decision> = Vec::new();
        self.each_page_of_decisions(|decisions| {
            for decision in decisions.iter().filter(|decision| is_by_a_person(decision)) {
                people.push(replay::decision::from_proto(decision.clone())?);
            }
            Ok(())
        })
        .await?;
        Rates::try_new(&spec, &self.attempts, &people, self.attempt).map_err(refused)
    }

    async fn each_page_of_decisions(
        &self,
        mut take: impl FnMut(&[proto::Decision]) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let mut request =
            ListDecisionsRequest { job: self.job.name.clone(), page_size: PAGE_DECISIONS, ..Default::default() };
        loop {
            let page = self.server.call(async |mut service| service.list_decisions(request.clone()).await).await?;
            take(&page.decisions)?;
            if page.next_page_token.is_empty() {
                return Ok(());
            }
            request.page_token = page.next_page_token;
        }
    }
}

fn seconds(time: &Timestamp) -> f64 {
    exact(time.seconds) + f64::from(time.nanos) * 1e-9
}

fn is_by_a_person(decision: &proto::Decision) -> bool {
    matches!(decision.author, Some(proto::decision::Author::Person(_)))
}
