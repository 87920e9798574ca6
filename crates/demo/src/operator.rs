//! The demo's own calls to the server, as an operator makes them.

use std::{future::Future, time::Duration};

use tokio::time::{Instant, timeout};
use tonic::{
    Code, Response, Status, Streaming,
    transport::{Channel, Endpoint},
};

use super::{
    error::Error,
    experiment::{NAMESPACE, Run},
};
use lrs_proto::{
    AuditReport, CompleteJobRequest, CreateJobRequest, Decision, GetAuditReportRequest, Job, ListDecisionsRequest,
    QueryTelemetryRequest, TelemetrySeries, WatchJobRequest, WatchJobResponse, decision::Effect,
    get_audit_report_request::Subject, job_service_client::JobServiceClient,
    report_service_client::ReportServiceClient,
};
use lrs_runtime::backoff::Backoff;

const CALL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the server may be away.
const PATIENCE: Duration = Duration::from_mins(1);
const DECISIONS_PAGE: i32 = 1000;
const POINTS_PAGE: i32 = 100_000;
const MAX_REPORT_BYTES: usize = 64 << 20;

/// A connection to the server's `JobService` that outlives its restarts.
#[derive(Clone)]
pub struct Operator {
    client: JobServiceClient<Channel>,
    reports: ReportServiceClient<Channel>,
}

impl Operator {
    /// Connects with the first call.
    pub fn new(endpoint: &str) -> Result<Self, Error> {
        let channel = Endpoint::from_shared(endpoint.to_owned())
            .map_err(|source| Error::Endpoint { endpoint: endpoint.to_owned(), source })?
            .connect_timeout(CALL_TIMEOUT)
            .connect_lazy();
        let reports = ReportServiceClient::new(channel.clone()).max_decoding_message_size(MAX_REPORT_BYTES);
        Ok(Self { client: JobServiceClient::new(channel), reports })
    }

    /// Registers a run's job.
    pub async fn create_job(&self, run: &Run) -> Result<(), Error> {
        let request = CreateJobRequest {
            parent: NAMESPACE.to_owned(),
            job_id: run.job_id.clone(),
            job: Some(Job { spec: Some(run.spec()), ..Default::default() }),
            request_id: uuid::Uuid::now_v7().to_string(),
            author: "lrs demo".to_owned(),
            ..Default::default()
        };
        self.call(&format!("registering {}", run.job_id), async |mut client| client.create_job(request.clone()).await)
            .await
            .map(drop)
    }

    /// Completes a run's job.
    pub async fn complete_job(&self, run: &Run) -> Result<(), Error> {
        let request = CompleteJobRequest {
            name: run.job(),
            reason: "trained to its end".to_owned(),
            author: "lrs demo".to_owned(),
            ..Default::default()
        };
        self.call(&format!("completing {}", run.job_id), async |mut client| client.complete_job(request.clone()).await)
            .await
            .map(drop)
    }

    /// The events of a run's job, from now on.
    pub async fn watch_job(&self, run: &Run) -> Result<Streaming<WatchJobResponse>, Status> {
        let request = WatchJobRequest { name: run.job() };
        self.client.clone().watch_job(request).await.map(Response::into_inner)
    }

    /// The values of some metrics on record for a run's job.
    pub async fn series(&self, run: &Run, metrics: &[&str]) -> Result<Vec<TelemetrySeries>, Error> {
        let mut request = QueryTelemetryRequest {
            job: run.job(),
            metrics: metrics.iter().map(|&metric| metric.to_owned()).collect(),
            page_size: POINTS_PAGE,
            ..Default::default()
        };
        let mut series: Vec<TelemetrySeries> = Vec::new();
        loop {
            let page = self
                .call(&format!("reading the telemetry of {}", run.job_id), async |mut client| {
                    client.query_telemetry(request.clone()).await
                })
                .await?;
            for more in page.series {
                match series.iter_mut().find(|known| known.name == more.name) {
                    Some(known) => {
                        known.step.extend(more.step);
                        known.value.extend(more.value);
                    }
                    None => series.push(more),
                }
            }
            if page.next_page_token.is_empty() {
                return Ok(series);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// How many decisions on a run's rate are on record; advice and notices change nothing.
    pub async fn decision_count(&self, run: &Run) -> Result<usize, Error> {
        let mut request = ListDecisionsRequest { job: run.job(), page_size: DECISIONS_PAGE, ..Default::default() };
        let mut count = 0;
        loop {
            let page = self
                .call(&format!("reading the decisions of {}", run.job_id), async |mut client| {
                    client.list_decisions(request.clone()).await
                })
                .await?;
            let moves = |decision: &&Decision| !matches!(decision.effect, Some(Effect::Advice(_)));
            count += page.decisions.iter().filter(moves).count();
            if page.next_page_token.is_empty() {
                return Ok(count);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// The audit report of an experiment.
    pub async fn report(&self, experiment: &str) -> Result<AuditReport, Error> {
        let subject = Some(Subject::Experiment(format!("{NAMESPACE}/experiments/{experiment}")));
        let request = GetAuditReportRequest { subject, target: None };
        answered(async || self.reports.clone().get_audit_report(request.clone()).await)
            .await
            .map_err(|status| Error::Call { what: format!("reporting {experiment}"), status })
    }

    /// Makes a call, and repeats it while the server is away.
    async fn call<T>(
        &self,
        what: &str,
        call: impl AsyncFn(JobServiceClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Error> {
        answered(|| call(self.client.clone())).await.map_err(|status| Error::Call { what: what.to_owned(), status })
    }
}

async fn answered<T, F>(mut call: impl FnMut() -> F) -> Result<T, Status>
where
    F: Future<Output = Result<Response<T>, Status>>,
{
    let deadline = Instant::now() + PATIENCE;
    let mut waits = Backoff::default().scattered();
    loop {
        let status = match timeout(CALL_TIMEOUT, call()).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => status,
            Err(_) => Status::deadline_exceeded(format!("no answer within {CALL_TIMEOUT:?}")),
        };
        if !is_transient(&status) || Instant::now() >= deadline {
            return Err(status);
        }
        waits.sleep().await;
    }
}

/// Whether the server may have been away: a new connection reports its trouble as unavailable, a broken one as unknown.
pub fn is_transient(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::ResourceExhausted
    )
}
