//! An auditor that asks all servers for the same steps at the same moment: what any of them calls final must be the
//! same bits. The servers are asked without a network in between, on connections that are kept, and a frozen server may
//! answer when it goes on.

use std::{
    net::SocketAddr,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use lrs_proto::{GetLearningRateRequest, learning_rate_service_client::LearningRateServiceClient};
use rand::{Rng as _, SeedableRng as _, seq::IndexedRandom as _};
use rand_chacha::ChaCha8Rng;
use tokio::{sync::watch, task::JoinSet};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::{job::Job, ledger::Age, seen::final_steps};

/// How long an auditor waits for an answer of a frozen server.
const ANSWER: Duration = Duration::from_secs(30);
/// The steps in a plan.
const PLAN: i32 = 40;

/// A question to all servers.
#[derive(Clone)]
struct Question {
    job: Arc<Job>,
    age: Age,
    attempt: u32,
    step: u64,
}

/// Asks until closing time.
pub async fn work(servers: Vec<SocketAddr>, jobs: Vec<Arc<Job>>, seed: u64, closing: CancellationToken) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let (questions, _) = watch::channel(None);
    let mut askers: JoinSet<()> = servers.into_iter().map(|server| ask(server, questions.subscribe())).collect();
    loop {
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(random.random_range(20..100))) => {}
            () = closing.cancelled() => break,
        }
        let Some(job) = jobs.choose(&mut random).cloned() else { break };
        let (age, attempt) = (job.ledger.age(), job.attempt.load(Ordering::SeqCst));
        let step = job.furthest.borrow().saturating_sub(random.random_range(0..20)) + random.random_range(0..20);
        if attempt > 0 {
            questions.send_replace(Some(Question { job, age, attempt, step }));
        }
    }
    askers.shutdown().await;
}

/// Asks a server the newest question, again and again.
async fn ask(server: SocketAddr, mut questions: watch::Receiver<Option<Question>>) {
    let endpoint = Endpoint::from_shared(format!("http://{server}")).expect("an address");
    let mut client = LearningRateServiceClient::new(endpoint.timeout(ANSWER).connect_lazy());
    while questions.changed().await.is_ok() {
        let Some(Question { job, age, attempt, step }) = questions.borrow_and_update().clone() else { continue };
        let request = GetLearningRateRequest {
            job: job.name.to_string(),
            attempt: attempt.into(),
            step: i64::try_from(step).unwrap(),
            plan_steps: PLAN,
            wait: None,
        };
        // A server may be away, frozen or waiting for its turn.
        if let Ok(answer) = client.get_learning_rate(request).await {
            for (step, rates) in final_steps(answer.get_ref()) {
                job.ledger.given(age, &job.name, attempt, step, &rates);
            }
        }
    }
}
