//! One round: a server on a fresh database, with trainers, operators and faults; at the end everything is checked.

use std::{process::Command, sync::Arc, time::Duration};

use lrs::rpc::convert::decision::to_proto;
use lrs_model::name::JobName;
use lrs_proto::{
    GetLearningRateRequest, ListDecisionsRequest, job_service_client::JobServiceClient,
    learning_rate_service_client::LearningRateServiceClient,
};
use lrs_store as store;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    job::Job,
    ledger::Ledger,
    mischief::{Done, Victims},
    operator,
    postgres::TestPostgres,
    promises::{Counts, Stored, Violation},
    proxy::Proxy,
    rank::final_plan,
    server::Server,
    small_disk::SmallDisk,
    way::Way,
};

const JOBS: u64 = 10;
/// The steps in a plan.
const PLAN: i32 = 1000;

/// The database of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Database {
    Sqlite,
    Postgres,
}

/// The results of a round.
pub struct Outcome {
    pub done: Done,
    pub counts: Counts,
    pub violations: Vec<Violation>,
}

/// Runs one round of `length`; the checks after it take longer.
pub async fn run(database: Database, seed: u64, length: Duration) -> Outcome {
    let postgres = (database == Database::Postgres).then(|| TestPostgres::private(&["fsync=off"]));
    let disk = if database == Database::Sqlite { SmallDisk::mount() } else { None };
    if database == Database::Sqlite && disk.is_none() {
        println!("chaos: no file system can be mounted here, so no disk runs full; the simulation's store does");
    }
    let mut server = match (&postgres, &disk) {
        (Some(postgres), _) => Server::with(&postgres.create_database().await, &[]).await,
        (None, Some(disk)) => Server::with(&format!("sqlite://{}", disk.path().join("lrs.db").display()), &[]).await,
        (None, None) => Server::sqlite().await,
    };
    let proxy = Proxy::before(server.grpc.clone()).await;
    let way = Way { proxy: proxy.address };
    let (ledger, closing) = (Arc::new(Ledger::new()), CancellationToken::new());
    let jobs: Vec<Arc<Job>> = (0..JOBS)
        .map(|number| Job::draw(number, seed.wrapping_mul(JOBS) + number, way, ledger.clone(), closing.clone()))
        .collect();
    let mut people = JoinSet::new();
    for (number, job) in (0..).zip(&jobs) {
        people.spawn(job.clone().train(seed.wrapping_mul(1000) + number));
    }
    let mut operators = JoinSet::new();
    for (name, number) in [("ann", 1), ("bob", 2)] {
        operators.spawn(operator::work(name, jobs.clone(), seed ^ number, closing.clone()));
    }

    let mut victims = Victims {
        server: &mut server,
        proxy: &proxy,
        postgres: postgres.as_ref(),
        disk: disk.as_ref().map(SmallDisk::path),
        acknowledged: ledger.acknowledged.subscribe(),
    };
    let mut done = victims.suffer(seed, Instant::now() + length).await;
    closing.cancel();
    operators.join_all().await;
    people.join_all().await;

    look_back(&jobs, &server, &ledger).await;
    server.kill();
    server.start_again().await;
    done.kills += 1;
    look_back(&jobs, &server, &ledger).await;
    replay(&jobs, &server, &ledger);
    let code = server.terminate().await;
    if code != Some(0) {
        ledger.broken(2, format!("the server was asked to stop and ended with {code:?}"));
    }
    reckon(&jobs, server.database_url(), &ledger).await;
    Outcome { done, counts: ledger.counts(), violations: ledger.violations() }
}

/// Checks that every step of the newest attempt that was given out is given out again with the same bits.
async fn look_back(jobs: &[Arc<Job>], server: &Server, ledger: &Ledger) {
    let channel = server.channel().await;
    let (mut rates, mut people) = (LearningRateServiceClient::new(channel.clone()), JobServiceClient::new(channel));
    for job in jobs {
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
            let answer = rates.get_learning_rate(request).await.unwrap().into_inner();
            let Some(directive) = answer.directive.as_ref().filter(|directive| directive.is_final) else {
                ledger
                    .broken(1, format!("{}: step {step} of attempt {attempt} was final, and now it is not", job.name));
                break;
            };
            let first = directive.rates.iter().map(|rate| rate.learning_rate).collect();
            for (step, rates) in std::iter::once((step, first)).chain(final_plan(&answer)) {
                ledger.given(&job.name, attempt, step, &rates);
                seen_end = step + 1;
            }
        }
        // An answer comes after everything submitted before has been stored.
        let list = ListDecisionsRequest { job: job.name.to_string(), page_size: 1, ..ListDecisionsRequest::default() };
        people.list_decisions(list).await.unwrap();
    }
}

/// Checks that `lrs replay` finds no difference in any job.
fn replay(jobs: &[Arc<Job>], server: &Server, ledger: &Ledger) {
    for job in jobs {
        let output = Command::new(env!("CARGO_BIN_EXE_lrs"))
            .args(["replay", &job.name.to_string(), "--server", &format!("http://{}", server.grpc)])
            .output()
            .unwrap();
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
            ledger.broken(3, format!("{}: lrs replay: {text}", job.name));
        }
    }
}

/// Checks that the store holds every answer that callers got, and everything that follows from the answers.
async fn reckon(jobs: &[Arc<Job>], database_url: &str, ledger: &Ledger) {
    let doctor =
        Command::new(env!("CARGO_BIN_EXE_lrs")).args(["doctor", "--database-url", database_url]).output().unwrap();
    if !doctor.status.success() {
        ledger.broken(3, format!("lrs doctor: {}", String::from_utf8_lossy(&doctor.stdout)));
    }
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
    }
    store.close().await;
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
