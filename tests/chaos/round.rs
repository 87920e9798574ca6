//! One round: servers on a fresh database, with trainers, operators and faults; at the end everything is checked.

use std::{process::Command, sync::Arc, time::Duration};

use lrs::rpc::convert::decision::to_proto;
use lrs_model::name::JobName;
use lrs_proto::{
    GetLearningRateRequest, ListDecisionsRequest, job_service_client::JobServiceClient,
    learning_rate_service_client::LearningRateServiceClient,
};
use lrs_store as store;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::{
    auditor,
    done::Done,
    fleet::{Database, Fleet},
    job::Job,
    ledger::Ledger,
    mischief::Imp,
    operator,
    planted::Plant,
    promises::{Counts, Stored, Violation},
    seen::final_steps,
    way::Way,
};

const JOBS: u64 = 10;
/// The steps in a plan.
const PLAN: i32 = 1000;

/// What a round is.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    pub database: Database,
    pub replicas: usize,
    /// How long faults are caused; the checks after that take longer.
    pub length: Duration,
    /// The bug of the servers.
    pub plant: Option<Plant>,
}

/// The results of a round.
pub struct Outcome {
    pub done: Done,
    pub counts: Counts,
    pub violations: Vec<Violation>,
}

/// Runs a round.
pub async fn run(round: Round, seed: u64) -> Outcome {
    let fleet = Fleet::start(round.database, round.replicas, round.plant, seed).await;
    if round.database == Database::Sqlite && fleet.disk.is_none() {
        println!("chaos: no file system can be mounted here, so no disk runs full; the simulation's store does");
    }
    let ledger = Arc::new(Ledger::new());
    let live = live(&fleet, round, seed, &ledger);
    let (done, lost_orders) = if round.plant.is_none() {
        live.await
    } else {
        tokio::select! {
            done = live => done,
            // A bug that was caught may keep the round from ending.
            () = ledger.is_broken() => Default::default(),
        }
    };
    if round.plant.is_none() && !ledger.violations().is_empty() {
        fleet.keep_logs(seed);
    }
    let mut counts = ledger.counts();
    counts.lost_with_database += lost_orders;
    Outcome { done, counts, violations: ledger.violations() }
}

/// Trains through the faults, and checks everything. Returns what was done, and how many orders went with the database.
async fn live(fleet: &Fleet, round: Round, seed: u64, ledger: &Arc<Ledger>) -> (Done, u64) {
    let way = Way { service: fleet.service.address() };
    let closing = CancellationToken::new();
    let jobs: Vec<Arc<Job>> = (0..JOBS)
        .map(|number| Job::draw(number, seed.wrapping_mul(JOBS) + number, way, ledger.clone(), closing.clone()))
        .collect();
    let mut trainers = JoinSet::new();
    for (number, job) in (0..).zip(&jobs) {
        trainers.spawn(job.clone().train(seed.wrapping_mul(1000) + number));
    }
    let mut people = JoinSet::new();
    for (name, number) in [("ann", 1), ("bob", 2)] {
        people.spawn(operator::work(name, jobs.clone(), seed ^ number, closing.clone()));
    }
    if round.replicas > 1 {
        let servers = fleet.replicas.iter().map(|replica| replica.grpc).collect();
        people.spawn(auditor::work(servers, jobs.clone(), seed ^ 3, closing.clone()));
    }

    let mut imp = Imp::new(fleet, seed, ledger);
    imp.work(round.length, round.plant == Some(Plant::MissLostTail)).await;
    let mut done = imp.done;
    closing.cancel();
    people.join_all().await;
    trainers.join_all().await;

    look_back(&jobs, fleet, ledger).await;
    kill_owner(fleet).await;
    done.kills += 1;
    look_back(&jobs, fleet, ledger).await;
    replay(&jobs, fleet, ledger).await;
    done.takeovers = fleet.service.ready().borrow().takeovers;
    retire(fleet, ledger).await;
    let lost_orders = reckon(&jobs, fleet.database_url(), ledger).await;
    (done, lost_orders)
}

/// Kills the owner, once more. A second server takes over before the first one is started again.
async fn kill_owner(fleet: &Fleet) {
    let owner = fleet.owner().await;
    owner.remove().await;
    let mut ready = fleet.service.ready();
    // The probes notice that the owner is gone.
    let _ = ready.wait_for(|ready| ready.owner().is_none_or(|number| fleet.replicas[number].grpc != owner.grpc)).await;
    if fleet.replicas.len() > 1 {
        fleet.owner().await;
    }
    owner.restore();
}

/// Ends all servers in order, and looks through their logs.
async fn retire(fleet: &Fleet, ledger: &Ledger) {
    for (number, replica) in fleet.replicas.iter().enumerate() {
        let code = replica.retire().await;
        if code != Some(0) {
            ledger.broken(2, format!("server {number} was asked to stop and ended with {code:?}"));
        }
        if let Some(line) = replica.log().lines().find(|line| line.contains("panicked at")) {
            ledger.broken(4, format!("server {number}: {line}"));
        }
    }
}

/// Checks that every step of the newest attempt that was given out is given out again with the same bits.
async fn look_back(jobs: &[Arc<Job>], fleet: &Fleet, ledger: &Ledger) {
    let channel = fleet.channel().await;
    let mut people = JobServiceClient::new(channel.clone());
    for job in jobs {
        look_back_at(job, channel.clone(), ledger).await;
        // An answer comes after everything submitted before has been stored.
        let list = ListDecisionsRequest { job: job.name.to_string(), page_size: 1, ..ListDecisionsRequest::default() };
        if let Err(status) = people.list_decisions(list).await {
            ledger.broken(2, format!("{}: its decisions cannot be listed: {status:?}", job.name));
        }
    }
}

async fn look_back_at(job: &Job, channel: Channel, ledger: &Ledger) {
    let mut rates = LearningRateServiceClient::new(channel);
    let mut seen_end = 0;
    let steps = ledger.history().given_steps(&job.name);
    for (attempt, step) in steps {
        if step < seen_end {
            continue;
        }
        let request = GetLearningRateRequest {
            job: job.name.to_string(),
            attempt: attempt.into(),
            step: i64::try_from(step).unwrap(),
            plan_steps: PLAN,
            wait: Some(Duration::from_secs(10).into()),
        };
        let again = match rates.get_learning_rate(request).await {
            Ok(answer) => final_steps(answer.get_ref()),
            Err(status) => {
                let what = format!("step {step} of attempt {attempt} was final, and now the answer is {status:?}");
                ledger.broken(1, format!("{}: {what}", job.name));
                return;
            }
        };
        if again.first().is_none_or(|(first, _)| *first != step) {
            ledger.broken(1, format!("{}: step {step} of attempt {attempt} was final, and now it is not", job.name));
            return;
        }
        for (step, rates) in again {
            ledger.given(ledger.age(), &job.name, attempt, step, &rates);
            seen_end = step + 1;
        }
    }
}

/// Checks that `lrs replay` finds no difference in any job.
async fn replay(jobs: &[Arc<Job>], fleet: &Fleet, ledger: &Ledger) {
    let server = format!("http://{}", fleet.owner().await.grpc);
    for job in jobs {
        let output = Command::new(env!("CARGO_BIN_EXE_lrs"))
            .args(["replay", &job.name.to_string(), "--server", &server])
            .output()
            .unwrap();
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            ledger.broken(3, format!("{}: lrs replay: {text}", job.name));
        }
    }
}

/// Checks that the store holds every answer that callers got, and everything that follows from the answers. Returns how
/// many orders went with the database.
async fn reckon(jobs: &[Arc<Job>], database_url: &str, ledger: &Ledger) -> u64 {
    let doctor =
        Command::new(env!("CARGO_BIN_EXE_lrs")).args(["doctor", "--database-url", database_url]).output().unwrap();
    if !doctor.status.success() {
        ledger.broken(3, format!("lrs doctor: {}", String::from_utf8_lossy(&doctor.stdout)));
    }
    let mut gone = 0;
    let store = database_url.parse::<store::DatabaseUrl>().unwrap().open().await.unwrap();
    for job in jobs {
        let Some(stored) = Stored::read(store.as_ref(), &job.name).await.unwrap() else {
            ledger.broken(2, format!("{} was registered and is not stored", job.name));
            continue;
        };
        let finished = ledger.history().finished(&job.name, &stored);
        ledger.note(finished);
        for lost in lost_orders(&job.name, &stored, ledger) {
            ledger.broken(2, lost);
        }
        let is_stored = |id: &str| stored.decisions.iter().any(|row| row.request_id.as_deref() == Some(id));
        gone += ledger.lost_orders(&job.name, |answered| is_stored(&answered.request_id));
    }
    store.close().await;
    gone
}

/// The orders that are not stored as they were answered.
fn lost_orders(name: &JobName, stored: &Stored, ledger: &Ledger) -> Vec<String> {
    let orders = ledger.orders(name, |answered| {
        let row = stored.decisions.iter().find(|row| row.request_id.as_ref() == Some(&answered.request_id));
        match row.map(|row| to_proto(name, &row.decision)) {
            Some(known) if known == answered.decision => None,
            known => {
                Some(format!("{name}: order {} was {:?}, and is {known:?}", answered.request_id, answered.decision))
            }
        }
    });
    orders.into_iter().flatten().collect()
}
