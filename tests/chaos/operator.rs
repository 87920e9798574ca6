//! A person who overrides, pauses and resumes, and asks again until the order is answered.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use lrs_proto::{
    Decision, OverrideCleared, OverrideLearningRateRequest, PauseJobRequest, RateOverride, ResumeJobRequest,
    job_service_client::JobServiceClient, override_learning_rate_request::Order, rate_override::Setting,
};
use rand::{Rng as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Response, Status, transport::Channel};

use crate::{job::Job, ledger::Answered};

/// Gives orders to one job after another until closing time.
pub async fn work(name: &'static str, jobs: Vec<Arc<Job>>, seed: u64, closing: CancellationToken) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    for number in 0.. {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(random.random_range(50..500))) => {}
            () = closing.cancelled() => return,
        }
        let Some(job) = jobs.choose(&mut random).filter(|job| job.is_there.load(Ordering::SeqCst)) else { continue };
        let request_id = format!("{name}-{number}");
        let kind = random.random_range(0..6);
        let factor = *[0.0, 0.5, 2.0].choose(&mut random).unwrap_or(&1.0);
        let what = format!("order {request_id} of {}", job.name);
        let mut age = job.ledger.age();
        let asked = job.way.insist(|channel| {
            age = job.ledger.age();
            order(channel, job.clone(), request_id.clone(), kind, factor)
        });
        let answer = asked.await;
        match answer {
            Ok(Some(decision)) => {
                // What the answer alone says, of this moment, is not stored.
                let decision = Decision { expected_time: None, warnings: Vec::new(), ..decision };
                job.ledger.ordered(age, Answered { job: job.name.clone(), request_id, decision });
            }
            // There is nothing to change: the job is in that state already.
            Ok(None) => {}
            // The job, or its attempts, may have gone with the database; and a job without an attempt cannot be paused.
            Err(_) if !job.ledger.holds(age) => {}
            Err(status) if status.code() == Code::FailedPrecondition => {}
            Err(status) => job.ledger.broken(2, format!("{what}: {status:?}")),
        }
    }
}

/// Gives one order and returns its decision, if there is one.
async fn order(
    channel: Channel,
    job: Arc<Job>,
    request_id: String,
    kind: u32,
    factor: f64,
) -> Result<Response<Option<Decision>>, Status> {
    let mut client = JobServiceClient::new(channel);
    let (name, author) = (job.name.to_string(), "ann".to_owned());
    let reason = "chaos".to_owned();
    match kind {
        0 => client.pause_job(PauseJobRequest { name, author, reason, request_id }).await.map(without_decision),
        1 | 2 => client.resume_job(ResumeJobRequest { name, author, reason, request_id }).await.map(without_decision),
        _ => {
            let set = RateOverride { setting: Some(Setting::Factor(factor)), end_step: None };
            let order = if kind == 3 { Order::Clear(OverrideCleared {}) } else { Order::Set(set) };
            let request = OverrideLearningRateRequest { name, author, reason, request_id, order: Some(order) };
            Ok(client.override_learning_rate(request).await?.map(Some))
        }
    }
}

fn without_decision<T>(_: Response<T>) -> Response<Option<Decision>> {
    Response::new(None)
}
