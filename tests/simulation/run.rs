//! One seed, one run.

use std::{
    cell::Cell,
    rc::Rc,
    sync::{Arc, Once},
    time::Duration,
};

use lrs_engine::Error;
use tokio::task::LocalSet;

use crate::{
    network::{Failure, Network},
    operator::Office,
    planted::Plant,
    process::Address,
    promises::{Counts, Violation},
    trainer::Group,
    world::World,
};

/// The results of a run.
pub struct Outcome {
    pub violation: Option<Violation>,
    /// A fingerprint of everything that happened; the same seed gives the same fingerprint.
    pub fingerprint: u64,
    pub counts: Counts,
    pub lines: Vec<String>,
}

/// A run that takes longer than this simulated time is stuck.
const STUCK: Duration = Duration::from_mins(20);

/// A panic in the engine ends this process too, so print the seed first.
fn name_seed_on_panic() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            eprintln!(
                "seed {}: replay it: LRS_SIM_SEED={0} cargo test --test simulation no_seed -- --nocapture",
                SEED.get()
            );
            before(panic);
        }));
    });
}

thread_local! {
    static SEED: Cell<u64> = const { Cell::new(0) };
}

/// Runs a seed, with a planted bug if `plant` is given.
pub fn run(seed: u64, plant: Option<Plant>, keeps_log: bool) -> Outcome {
    name_seed_on_panic();
    SEED.set(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let outcome = LocalSet::new().block_on(&runtime, async {
        let world = World::new(seed, plant, keeps_log);
        world.log(|| format!("{world:?}"));
        let broken = tokio::select! {
            biased;
            violation = world.broken() => Some(violation),
            ended = tokio::time::timeout(STUCK, live(&world)) => match ended {
                Ok(()) => world.violation(),
                Err(_) => Some(Violation { promise: 4, what: "training never came to its end".to_owned() }),
            },
        };
        let counts = world.history().counts;
        Outcome { violation: broken, fingerprint: world.fingerprint(), counts, lines: world.lines() }
    });
    runtime.shutdown_background();
    outcome
}

async fn live(world: &Arc<World>) {
    let address = Address::new(world.clone());
    let network = Network { world: world.clone(), address: address.clone(), seat: Rc::default() };
    let mut chores = tokio::task::JoinSet::new();
    for seat in 0..address.seats() {
        chores.spawn_local(address.clone().supervise(seat));
    }
    chores.spawn_local(address.clone().trouble());
    let office = Office::new(network.clone());
    let mut people = Vec::new();
    for number in 0..=world.below(3) {
        people.push(tokio::task::spawn_local(office.clone().register(u32::try_from(number).unwrap())));
    }
    for _ in 0..2 {
        people.push(tokio::task::spawn_local(office.clone().work()));
    }
    // A job that is out of service comes back with the next process, so kill the process now and then.
    let killer = tokio::task::spawn_local({
        let (address, world) = (address.clone(), world.clone());
        async move {
            loop {
                tokio::time::sleep(Duration::from_secs(15)).await;
                if world.profile.refuses > 0.0 {
                    address.kill();
                }
            }
        }
    });
    for person in people {
        let _ = person.await;
    }
    office.closing_time().await;
    killer.abort();

    world.calm_down();
    for _ in 0..2 {
        look_back(world, &network).await;
        address.kill();
    }
    address.recovered().await;
    look_back(world, &network).await;
    chores.abort_all();
}

/// Checks at the end, when all is quiet: every rate is still the same, and all stored data is right.
async fn look_back(world: &Arc<World>, network: &Network) {
    network.address.recovered().await;
    let jobs = world.history().names();
    for job in jobs {
        let steps = world.history().given_steps(&job);
        let spec = lrs_model::spec::Spec::default();
        let group = Rc::new(Group::watcher(network.clone(), job.clone(), spec));
        for (attempt, step) in steps {
            if world.history().is_ended(&job) {
                break;
            }
            // A look at the ownership that began before the calm may hang for as long as a store may, and so may the
            // reading of a job that has left memory.
            let mut answer = group.ask(attempt.into(), step, 0, Duration::from_secs(5)).await;
            for _ in 0..20 {
                let is_slow = match &answer {
                    Ok(answer) => !answer.is_final,
                    Err(failure) => matches!(failure, Failure::Refused(Error::StoreUnavailable(_))),
                };
                if !is_slow {
                    break;
                }
                answer = group.ask(attempt.into(), step, 0, Duration::from_secs(5)).await;
            }
            match answer {
                Ok(answer) if answer.is_final => {}
                // The job is out of service because a write was refused; the next process has it again.
                Err(Failure::Refused(Error::JobDamaged { .. })) if world.profile.refuses > 0.0 => break,
                other => {
                    let what = format!("{job}: step {step} of attempt {attempt} was final, and now it is {other:?}");
                    world.fail(Violation { promise: 1, what });
                    return;
                }
            }
        }
        // The answer comes after everything submitted before has been stored.
        let settle = async |engine: &lrs_engine::Engine| engine.decisions(&job, None, None, 1).await;
        let mut settled = network.call(settle).await;
        for _ in 0..20 {
            if !matches!(settled, Err(Failure::Refused(Error::StoreUnavailable(_)))) {
                break;
            }
            settled = network.call(settle).await;
        }
        match settled {
            Ok(_) => world.check_job(&job, |history, stored| match stored {
                Some(stored) => history.finished(&job, stored),
                None => history.turned_away(&job, true),
            }),
            Err(Failure::Refused(Error::JobDamaged { .. })) if world.profile.refuses > 0.0 => {}
            Err(other) => {
                let what = format!("{job} cannot be read: {other:?}");
                world.fail(Violation { promise: 2, what });
            }
        }
    }
}
