//! All jobs at a glance, for someone who looks again and again. Each look reads only what has changed since the last
//! one, and for jobs that run it reads from memory.

mod reading;

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering::SeqCst},
    time::Duration,
};

use futures::{StreamExt as _, TryStreamExt as _, future::ready, stream};

use super::{Engine, off_thread, outlook::Glance};
use crate::{
    api::{Error, JobView},
    entry::{Entry, Pulse},
    health::{self, Health, HealthState, Recent},
    trail::Past,
};
use lrs_model::{
    decision::Decision,
    filter::{Comparison, Condition, JobCursor, JobOrder, JobQuery, OrderKey},
    job::{JobRow, State},
    name::JobName,
};
use lrs_stats::Backend;

/// Jobs that are read from the store at once.
const READ_AT_ONCE: usize = 8;
/// Jobs that are prepared at once: enough for a batch that is worth a device's while.
const BATCH: usize = 1024;
/// Jobs listed, or decisions read, at once.
const PAGE: u32 = 1000;
/// Jobs listed at once of those that ended since.
const FEW: u32 = 100;
/// How often all ended jobs are listed again. They change only when their telemetry is removed; a job's end or deletion
/// is noticed at once.
const ENDED_AGAIN: Duration = Duration::from_mins(1);

/// What was seen of all jobs.
pub struct Fleet {
    /// Computes how the jobs fare.
    statistics: Arc<dyn Backend>,
    known: HashMap<String, Known>,
    looks: u64,
    ended: Option<EndedList>,
    /// There are more jobs than were wanted.
    is_truncated: bool,
}

/// When the ended jobs were listed.
struct EndedList {
    /// How much time had passed.
    passed: Duration,
    removals: u64,
    departures: u64,
    is_truncated: bool,
}

/// What was seen of a job.
struct Known {
    pulse: Pulse,
    /// `None` of a job that has ended.
    entry: Option<Arc<Entry>>,
    decisions: Decisions,
    look: u64,
}

impl Drop for Known {
    fn drop(&mut self) {
        // Nobody looks at the job any more.
        self.entry.iter().for_each(|entry| entry.set_trail(None));
    }
}

/// The newest decision about a job that is stored, and where to read on.
#[derive(Clone, Default)]
struct Decisions {
    after: Option<u64>,
    newest: Option<Arc<Decision>>,
}

/// A job as it is seen.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The job.
    pub view: JobView,
    /// How it fares.
    pub glance: Glance,
    /// The newest decision about it.
    pub decision: Option<Arc<Decision>>,
}

/// A job that is to be looked at, and has to be read first.
struct Unread {
    pulse: Pulse,
    decisions: Decisions,
    subject: Subject,
}

enum Subject {
    Live(Arc<Entry>),
    Ended(Box<JobRow>),
}

/// Everything that is shown of a job, before its health is computed.
struct Read {
    view: JobView,
    recent: Recent,
    decision: Option<Arc<Decision>>,
    damage: Option<Error>,
    known: Known,
}

impl Fleet {
    /// A fleet of which nothing was seen yet. `statistics` computes the jobs' health, in batches.
    #[must_use]
    pub fn new(statistics: Arc<dyn Backend>) -> Self {
        Self { statistics, known: HashMap::new(), looks: 0, ended: None, is_truncated: false }
    }

    /// Forgets all that was seen.
    pub fn forget(&mut self) {
        *self = Self::new(Arc::clone(&self.statistics));
    }

    /// Whether there are more jobs than the most that were wanted.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.is_truncated || self.ended.as_ref().is_some_and(|ended| ended.is_truncated)
    }
}

impl Engine {
    /// Looks at all jobs, at most `limit` of them; of ended jobs at the newest. Calls `tell` with the name of each job
    /// that changed since the last look and what `show` makes of it, off the threads that answer calls; for a job that
    /// is gone, with the name alone.
    ///
    /// What was told before a failure or a cancellation is not told again.
    ///
    /// # Errors
    /// If the store is away and something has to be read. For jobs that run, only the first look reads.
    pub async fn look<T: Send + 'static>(
        &self,
        fleet: &mut Fleet,
        limit: usize,
        show: fn(&Sight) -> T,
        mut tell: impl FnMut(&str, Option<T>) + Send,
    ) -> Result<(), Error> {
        let changed = self.changed(fleet, limit);
        self.show(fleet, changed, show, &mut tell).await?;
        let over = self.over(fleet).await?;
        let (ended, gone): (Vec<_>, Vec<_>) = over.into_iter().partition(|(_, row)| row.is_some());
        for (name, _) in gone {
            fleet.known.remove(&name);
            tell(&name, None);
        }
        // A job that has not ended has just been registered under the name of a deleted one.
        let ended = ended.into_iter().filter_map(|(_, row)| row.filter(|row| row.state.is_ended()));
        let ended = ended.map(|row| unread_ended(fleet, row)).collect();
        self.show(fleet, ended, show, &mut tell).await?;
        self.look_at_ended(fleet, limit, show, &mut tell).await
    }

    /// The running jobs that have changed since they were seen.
    fn changed(&self, fleet: &mut Fleet, limit: usize) -> Vec<Unread> {
        fleet.looks += 1;
        fleet.is_truncated = false;
        let stale_before = self.0.context.stale_before();
        let mut changed = Vec::new();
        let mut room = limit.saturating_sub(fleet.known.values().filter(|known| known.entry.is_some()).count());
        for (name, entry) in &self.0.context.directory.pin() {
            let pulse = entry.pulse(stale_before);
            let known = fleet.known.get_mut(name);
            let decisions = match known {
                Some(known) if known.entry.is_some() => {
                    known.look = fleet.looks;
                    // Another engine, after this server began anew, has other entries.
                    if known.pulse == pulse && known.entry.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, entry)) {
                        continue;
                    }
                    if known.pulse.is_same_job(&pulse) { known.decisions.clone() } else { Decisions::default() }
                }
                _ if room > 0 => {
                    room -= 1;
                    Decisions::default()
                }
                _ => {
                    fleet.is_truncated = true;
                    continue;
                }
            };
            changed.push(Unread { pulse, decisions, subject: Subject::Live(entry.clone()) });
        }
        changed
    }

    /// The jobs that ran when they were seen last and do not any more, with their row if they have ended.
    async fn over(&self, fleet: &Fleet) -> Result<Vec<(String, Option<JobRow>)>, Error> {
        let is_over = |known: &Known| known.entry.is_some() && known.look != fleet.looks;
        let names: Vec<String> =
            fleet.known.iter().filter(|(_, known)| is_over(known)).map(|(name, _)| name.clone()).collect();
        let read = |name: String| async move {
            let Ok(parsed) = name.parse::<JobName>() else { return Ok((name, None)) };
            let row = self.0.context.store.job(&parsed).await?;
            Ok((name, row))
        };
        stream::iter(names).map(read).buffer_unordered(READ_AT_ONCE).try_collect().await
    }

    /// Lists the ended jobs if it is time to, and looks at those that are new.
    async fn look_at_ended<T: Send + 'static>(
        &self,
        fleet: &mut Fleet,
        limit: usize,
        show: fn(&Sight) -> T,
        tell: &mut (impl FnMut(&str, Option<T>) + Send),
    ) -> Result<(), Error> {
        let (passed, removals) = (self.0.context.clock.monotonic(), self.0.removals.load(SeqCst));
        let departures = self.0.context.departures.load(SeqCst);
        let is_recent = |list: &&EndedList| passed.saturating_sub(list.passed) < ENDED_AGAIN;
        let listed = fleet.ended.as_ref().filter(|list| list.removals == removals).filter(is_recent);
        let is_all = listed.is_none();
        if listed.is_some_and(|list| list.departures == departures) {
            return Ok(());
        }
        let mut room = limit.saturating_sub(fleet.known.values().filter(|known| known.entry.is_some()).count());
        let not = |state| Condition::State(Comparison::NotEqual, state);
        let page = if is_all { PAGE } else { FEW };
        let mut query = JobQuery {
            namespace: None,
            conditions: [State::Pending, State::Running, State::Paused].map(not).into(),
            order: JobOrder { key: OrderKey::UpdateTime, descending: true },
            after: None,
            limit: page,
        };
        let mut is_truncated = false;
        loop {
            let rows = self.0.context.store.list_jobs(&query).await?;
            let is_full = rows.len() == page as usize;
            query.after = rows.last().map(|row| JobCursor::Time(row.update_time, row.id));
            is_truncated |= rows.len() > room;
            let mut unread = Vec::new();
            for row in rows.into_iter().take(room) {
                room -= 1;
                let pulse = Pulse::of_ended(&row);
                let looks = fleet.looks;
                match fleet.known.get_mut(row.name.as_str()) {
                    Some(known) if known.pulse == pulse => known.look = looks,
                    _ => unread.push(unread_ended(fleet, row)),
                }
            }
            // Pages of jobs that ended since, until a page has no new one. A job behind a page of known ones is found
            // within a minute.
            let is_enough = !is_all && unread.is_empty();
            self.show(fleet, unread, show, tell).await?;
            if !is_full || is_truncated || is_enough {
                break;
            }
        }
        if let Some(list) = fleet.ended.as_mut().filter(|_| !is_all) {
            list.departures = departures;
            list.is_truncated |= is_truncated;
            return Ok(());
        }
        let looks = fleet.looks;
        let gone = fleet.known.extract_if(|_, known| known.entry.is_none() && known.look != looks);
        gone.for_each(|(name, _)| tell(&name, None));
        fleet.ended = Some(EndedList { passed, removals, departures, is_truncated });
        Ok(())
    }

    /// Reads the jobs and calls `tell` for each.
    async fn show<T: Send + 'static>(
        &self,
        fleet: &mut Fleet,
        unread: Vec<Unread>,
        show: fn(&Sight) -> T,
        tell: &mut (impl FnMut(&str, Option<T>) + Send),
    ) -> Result<(), Error> {
        let read = stream::iter(unread).map(|unread| self.read(unread)).buffer_unordered(READ_AT_ONCE);
        let mut batches = read.filter_map(|read| ready(read.transpose())).try_chunks(BATCH);
        while let Some(batch) = batches.next().await {
            // What was read before a failure is told all the same.
            let (batch, failure) = match batch {
                Ok(batch) => (batch, None),
                Err(failure) => (failure.0, Some(failure.1)),
            };
            let statistics = Arc::clone(&fleet.statistics);
            let sights = off_thread(move || {
                let shown = |(sight, known): (Sight, Known)| (sight.view.row.name.to_string(), show(&sight), known);
                sights(batch, statistics.as_ref()).map(shown).collect::<Vec<_>>()
            });
            for (name, shown, mut known) in sights.await? {
                known.look = fleet.looks;
                tell(&name, Some(shown));
                if let Some(mut before) = fleet.known.insert(name, known) {
                    // The trail is kept.
                    before.entry = None;
                }
            }
            if let Some(failure) = failure {
                return Err(failure);
            }
        }
        Ok(())
    }
}

fn unread_ended(fleet: &Fleet, row: JobRow) -> Unread {
    let pulse = Pulse::of_ended(&row);
    let known = fleet.known.get(row.name.as_str()).filter(|known| known.pulse.is_same_job(&pulse));
    let decisions = known.map(|known| known.decisions.clone()).unwrap_or_default();
    Unread { pulse, decisions, subject: Subject::Ended(Box::new(row)) }
}

impl Read {
    fn new(view: JobView, mut past: Past, off_told: (usize, usize), damage: Option<Error>, known: Known) -> Self {
        let decision = past.decision.take();
        Self { view, recent: past.recent(off_told), decision, damage, known }
    }
}

fn sights(jobs: Vec<Read>, statistics: &dyn Backend) -> impl Iterator<Item = (Sight, Known)> {
    let subjects: Vec<(&JobView, &Recent)> = jobs.iter().map(|job| (&job.view, &job.recent)).collect();
    let healths = health::of(&subjects, statistics);
    jobs.into_iter().zip(healths).map(|(job, found)| {
        let Read { view, recent, decision, damage, known } = job;
        let broken = damage.map(|damage| Health { state: HealthState::Failed, reason: damage.to_string() });
        let glance = Glance { health: broken.unwrap_or(found), losses: recent.losses };
        (Sight { view, glance, decision }, known)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{NewJob, Order, Settings};
    use lrs_model::spec::{Group, Spec};
    use lrs_runtime::clock::SystemClock;
    use lrs_stats::cpu::Cpu;
    use lrs_store as store;

    struct Looking {
        engine: Engine,
        fleet: Fleet,
        limit: usize,
    }

    impl Looking {
        /// What is told of: names, with the state of what is there.
        async fn look(&mut self) -> Vec<String> {
            let mut told = Vec::new();
            let show: fn(&Sight) -> String = |sight| sight.view.row.state.to_string();
            let tell = |name: &str, shown: Option<String>| {
                let job = name.rsplit('/').next().unwrap();
                told.push(format!("{job} {}", shown.unwrap_or_else(|| "gone".to_owned())));
            };
            self.engine.look(&mut self.fleet, self.limit, show, tell).await.unwrap();
            told.sort_unstable();
            told
        }

        async fn register(&self, job: &str) -> JobName {
            let name = JobName::new("test", job).unwrap();
            let group = Group {
                name: "default".to_owned(),
                base_lr: 1.0,
                base_momentum: None,
                base_weight_decay: None,
                schedule: None,
            };
            let spec = Spec { groups: vec![group], ..Spec::default() };
            self.engine.create_job(NewJob { name: name.clone(), spec, order: Order::default() }).await.unwrap();
            name
        }
    }

    async fn looking(limit: usize) -> (Looking, tempfile::TempDir) {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", directory.path().join("lrs.db").display());
        let store = url.parse::<store::DatabaseUrl>().unwrap().open().await.unwrap();
        let engine = Engine::start(Settings::default(), store, Arc::new(SystemClock));
        engine.recovered().await.unwrap();
        (Looking { engine, fleet: Fleet::new(Arc::new(Cpu)), limit }, directory)
    }

    #[tokio::test]
    async fn what_has_not_changed_is_not_told_again() {
        let (mut looking, _data) = looking(10).await;
        let (a, b) = (looking.register("a").await, looking.register("b").await);
        assert_eq!(looking.look().await, ["a PENDING", "b PENDING"]);
        assert_eq!(looking.look().await, [""; 0]);

        looking.engine.complete_job(&a, State::Completed, Order::default()).await.unwrap();
        assert_eq!(looking.look().await, ["a COMPLETED"]);
        looking.engine.start_attempt(&b, "t".to_owned(), 0).await.unwrap();
        assert_eq!(looking.look().await, ["b RUNNING"]);
        assert_eq!(looking.look().await, [""; 0]);

        looking.engine.delete_job(&a, None, false, Order::default()).await.unwrap();
        looking.engine.delete_job(&b, None, true, Order::default()).await.unwrap();
        assert_eq!(looking.look().await, ["a gone", "b gone"]);
        assert!(looking.fleet.known.is_empty());
        looking.engine.shutdown().await;
    }

    #[tokio::test]
    async fn jobs_beyond_the_most_that_are_wanted_are_not_left_out_silently() {
        let (mut looking, _data) = looking(2).await;
        let a = looking.register("a").await;
        looking.engine.complete_job(&a, State::Failed, Order::default()).await.unwrap();
        let b = looking.register("b").await;
        looking.engine.complete_job(&b, State::Failed, Order::default()).await.unwrap();
        let c = looking.register("c").await;

        assert_eq!(looking.look().await, ["b FAILED", "c PENDING"], "those that run, and then what ended last");
        assert!(looking.fleet.is_truncated());

        looking.engine.delete_job(&b, None, false, Order::default()).await.unwrap();
        assert_eq!(looking.look().await, ["a FAILED", "b gone"]);
        assert!(!looking.fleet.is_truncated());
        for job in ["d", "e"] {
            looking.register(job).await;
        }
        assert_eq!(looking.look().await.len(), 1, "of three that run there is room for two");
        assert!(looking.fleet.is_truncated());
        looking.engine.delete_job(&c, None, true, Order::default()).await.unwrap();
        looking.look().await;
        looking.engine.shutdown().await;
    }
}
