//! A job, its ranks, and its restarts from checkpoints.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use lrs::rpc::convert::spec::to_proto;
use lrs_control::{greedy, plateau};
use lrs_model::{
    controller::ControllerSpec,
    name::JobName,
    schedule::ScheduleSpec,
    spec::{Group, Spec},
};
use lrs_proto::{CreateJobRequest, Job as ProtoJob, job_service_client::JobServiceClient};
use rand::{Rng as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::{ledger::Ledger, rank::Rank, way::Way};

/// The most reductions at the floor; the checker does not model the greedy controller beyond them.
const NEVER: u64 = 1_000_000;

/// Ranks are restarted after this time even if they have not reached the step of the restart.
const NO_PROGRESS: Duration = Duration::from_secs(9);

/// A stretch of training between two restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub token: String,
    pub resume_step: u64,
}

/// The state that the ranks of a job share.
pub struct Job {
    pub name: JobName,
    pub spec: Spec,
    pub way: Way,
    pub ledger: Arc<Ledger>,
    pub stretch: watch::Sender<Stretch>,
    /// The newest attempt that a rank was told of.
    pub attempt: AtomicU32,
    /// The furthest step that any rank trained.
    pub furthest: watch::Sender<u64>,
    /// Whether the job has been registered.
    pub is_there: AtomicBool,
    /// Tells the trainers to stop where they are.
    pub closing: CancellationToken,
}

impl Job {
    pub fn draw(number: u64, seed: u64, way: Way, ledger: Arc<Ledger>, closing: CancellationToken) -> Arc<Self> {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let name = JobName::new("chaos", &format!("job{number}")).unwrap();
        let spec = draw_spec(&mut random);
        ledger.registered(&name, &spec);
        let (stretch, _) = watch::channel(Stretch { token: "t0".to_owned(), resume_step: 0 });
        let (furthest, is_there, attempt) = (watch::Sender::new(0), AtomicBool::new(false), AtomicU32::new(0));
        Arc::new(Self { name, spec, way, ledger, stretch, attempt, furthest, is_there, closing })
    }

    /// Registers the job, and trains it until closing time with restarts in between. Returns when everything is
    /// durable.
    pub async fn train(self: Arc<Self>, seed: u64) {
        if let Err(status) = self.register().await {
            self.ledger.broken(2, format!("{} cannot be registered: {status:?}", self.name));
            return;
        }
        self.is_there.store(true, Ordering::SeqCst);
        let mut ranks = JoinSet::new();
        for rank in 0..self.spec.reporting_ranks {
            ranks.spawn(Rank::new(self.clone(), rank, seed).train());
        }
        let restarts = self.restart(ChaCha8Rng::seed_from_u64(seed ^ 1));
        tokio::select! {
            () = restarts => {}
            () = self.closing.cancelled() => {}
        }
        ranks.join_all().await;
    }

    async fn register(&self) -> Result<ProtoJob, Status> {
        let job = Some(ProtoJob { spec: Some(to_proto(&self.spec)), ..ProtoJob::default() });
        let request = CreateJobRequest {
            parent: format!("namespaces/{}", self.name.namespace()),
            job_id: self.name.job().to_owned(),
            job,
            request_id: "create".to_owned(),
            ..CreateJobRequest::default()
        };
        self.way
            .insist(|channel| {
                let request = request.clone();
                async move { JobServiceClient::new(channel).create_job(request).await }
            })
            .await
    }

    /// Restarts as a cluster's scheduler does: after some progress, or when there is none, all ranks are killed and go
    /// on from a checkpoint.
    async fn restart(&self, mut random: ChaCha8Rng) {
        let mut furthest = self.furthest.subscribe();
        for number in 1.. {
            let goal = *furthest.borrow() + random.random_range(60..400);
            let _ = tokio::time::timeout(NO_PROGRESS, furthest.wait_for(|furthest| *furthest >= goal)).await;
            let furthest = *furthest.borrow();
            let resume_step = furthest.saturating_sub(random.random_range(0..60));
            self.stretch.send_replace(Stretch { token: format!("t{number}"), resume_step });
        }
    }
}

fn draw_spec(random: &mut ChaCha8Rng) -> Spec {
    let group = |name: &str, base_lr| Group {
        name: name.to_owned(),
        base_lr,
        base_momentum: None,
        base_weight_decay: None,
        schedule: None,
    };
    let mut groups = vec![group("default", 0.5)];
    if random.random_bool(0.3) {
        groups.push(group("other", 0.125));
    }
    let schedules =
        [ScheduleSpec::Base(1.0), ScheduleSpec::named("linear", json!({})), ScheduleSpec::named("cosine", json!({}))];
    let plateau =
        |factor, patience| ControllerSpec::from(plateau::Params { factor, patience, ..plateau::Params::default() });
    let controllers = match random.random_range(0..5) {
        0 => Vec::new(),
        1 | 2 => vec![plateau(0.9, random.random_range(1..6))],
        3 => {
            vec![greedy::Params { factor: 0.75, patience: 1, reset_after: NEVER, ..greedy::Params::default() }.into()]
        }
        _ => vec![plateau(0.95, 2), plateau(0.9, 7)],
    };
    Spec {
        groups,
        total_steps: Some(random.random_range(300..3000)),
        schedule: schedules.choose(random).unwrap().clone(),
        controllers,
        decision_lag: *[1, 2, 8].choose(random).unwrap(),
        commit_ahead: *[1, 8, 64].choose(random).unwrap(),
        reporting_ranks: *[1, 2, 4].choose(random).unwrap(),
        ..Spec::default()
    }
}
