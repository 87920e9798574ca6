//! Has jobs leave memory that nobody uses: after a while, or at once where memory is short. And notes now and then when
//! the others were last active.
//!
//! Time goes by in sweeps, so that a call only notes the number of the sweep, and no jump of a clock puts jobs out.

use std::{sync::Arc, time::Duration};

use futures::future::join_all;
use tokio::{sync::oneshot, time::MissedTickBehavior};

use super::{commit::outcome, entry::Entry, service::Service, shard::Command};
use lrs_store::Write;

/// Sweeps until a job is idle, at least.
const SWEEPS: u32 = 8;
/// The longest time between two sweeps.
const LONGEST: Duration = Duration::from_secs(5);
/// The shortest time between two sweeps that are asked for.
const SHORTEST: Duration = Duration::from_millis(50);
/// Jobs that leave memory, or are noted as active, side by side.
const AT_ONCE: usize = 256;

/// Sweeps as long as there is a service.
pub async fn run(service: Arc<Service>) {
    let directory = &service.context.directory;
    let idle_after = service.context.settings.idle_after;
    let period = (idle_after / SWEEPS).clamp(Duration::from_millis(1), LONGEST);
    let sweeps = u64::try_from(idle_after.as_micros().div_ceil(period.as_micros())).unwrap_or(u64::MAX);
    let mut ticks = tokio::time::interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            _ = ticks.tick() => {
                directory.begin_sweep();
                note_activity(&service).await;
            }
            () = directory.asked_for_room() => tokio::time::sleep(SHORTEST).await,
        }
        put_out(&service, sweeps).await;
    }
}

/// Puts out the jobs that have been idle for so many sweeps and, where memory is short, those that have been idle for
/// longest.
async fn put_out(service: &Service, sweeps: u64) {
    let directory = &service.context.directory;
    let (now, limit) = (directory.sweep(), service.context.settings.max_loaded_jobs);
    let mut idle: Vec<(u64, Arc<Entry>)> = Vec::new();
    for entry in directory.entries() {
        if entry.uses.is_busy() {
            entry.uses.touch(now);
        } else if entry.check_sound().is_err() {
            // What put it out of service may be over: it is read again when somebody asks for it.
            idle.push((0, entry));
        } else if entry.uses.last() < now {
            idle.push((entry.uses.last(), entry));
        }
    }
    // By name too, so that the same happens in every run of a simulation.
    idle.sort_unstable_by(|(a_last, a), (b_last, b)| (a_last, &a.name).cmp(&(b_last, &b.name)));
    let is_short = directory.len() + limit / 8 >= limit;
    let too_many = if is_short { directory.len().saturating_sub(limit - (limit / 4).max(1)) } else { 0 };
    let is_overdue =
        |(last, entry): &&(u64, Arc<Entry>)| entry.check_sound().is_err() || last.saturating_add(sweeps) < now;
    let overdue = idle.iter().take_while(is_overdue).count();
    idle.truncate(overdue.max(too_many));
    for chunk in idle.chunks(AT_ONCE) {
        let mut over = Vec::with_capacity(chunk.len());
        for (_, entry) in chunk {
            let (done, left) = oneshot::channel();
            if service.shard(entry.id).send(Command::Leave(Arc::clone(entry), done)).await.is_err() {
                return;
            }
            over.push(left);
        }
        join_all(over).await;
    }
}

/// Stores when jobs were last active, where that is not known well enough for saying whether they are stale.
async fn note_activity(service: &Service) {
    let context = &service.context;
    let every = i64::try_from(context.settings.stale_after.as_micros() / 2).unwrap_or(i64::MAX);
    let active = |entry: Arc<Entry>| Some((entry.mark_active(every)?, entry));
    let mut active: Vec<_> = context.directory.entries().into_iter().filter_map(active).collect();
    active.sort_unstable_by(|(_, a), (_, b)| a.name.cmp(&b.name));
    for chunk in active.chunks(AT_ONCE) {
        let submit = |(time, entry): &(_, Arc<Entry>)| {
            outcome(context.pipeline.submit(entry.id, vec![Write::MarkActive(entry.id, *time)], None, None, None))
        };
        join_all(chunk.iter().map(submit)).await;
    }
}
