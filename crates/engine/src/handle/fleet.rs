//! All jobs at a glance, for someone who looks again and again. Each look reads only what has changed since the last
//! one; of jobs in memory it reads from there, and of idle ones no more than their rows.

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
    moment::Moment,
    trail::Past,
};
use lrs_model::{
    decision::Decision,
    filter::{JobCursor, JobOrder, JobQuery, OrderKey},
    job::{Idle, JobRow},
    name::JobName,
};
use lrs_stats::Backend;
use lrs_store::ListedJob;

/// Jobs that are read from the store at once.
const READ_AT_ONCE: usize = 8;
/// Jobs that are prepared at once: enough for a batch that is worth a device's while.
const BATCH: usize = 1024;
/// Jobs listed, or decisions read, at once.
const PAGE: u32 = 1000;
/// Jobs listed at once of those that came or ended since.
const FEW: u32 = 100;
/// How often all jobs that are not in memory are listed again. They change only when time goes by or telemetry is
/// removed; a job's registration, end or deletion is noticed at once.
const STORED_AGAIN: Duration = Duration::from_mins(1);

/// What was seen of all jobs.
pub struct Fleet {
    /// Computes how the jobs fare.
    statistics: Arc<dyn Backend>,
    known: HashMap<String, Known>,
    looks: u64,
    stored: Option<StoredList>,
    /// There are more jobs than were wanted.
    is_truncated: bool,
}

/// When the jobs that are not in memory were listed.
struct StoredList {
    /// How much time had passed.
    passed: Duration,
    removals: u64,
    changes: u64,
    is_truncated: bool,
}

/// What was seen of a job.
struct Known {
    pulse: Pulse,
    /// `None` of a job that is not in memory.
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
    Loaded(Arc<Entry>),
    Stored(Box<ListedJob>),
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
        Self { statistics, known: HashMap::new(), looks: 0, stored: None, is_truncated: false }
    }

    /// Forgets all that was seen.
    pub fn forget(&mut self) {
        *self = Self::new(Arc::clone(&self.statistics));
    }

    /// Whether there are more jobs than the most that were wanted.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.is_truncated || self.stored.as_ref().is_some_and(|list| list.is_truncated)
    }
}

impl Engine {
    /// Looks at all jobs, at most `limit` of them: first at those in memory, then at the others, those that changed last
    /// first. Calls `tell` with the name of each job
    /// that changed since the last look and what `show` makes of it, off the threads that answer calls; for a job that
    /// is gone, with the name alone.
    ///
    /// What was told before a failure or a cancellation is not told again.
    ///
    /// # Errors
    /// If the store is away and something has to be read. For jobs in memory, only the first look reads.
    pub async fn look<T: Send + 'static>(
        &self,
        fleet: &mut Fleet,
        limit: usize,
        show: fn(&Sight) -> T,
        mut tell: impl FnMut(&str, Option<T>) + Send,
    ) -> Result<(), Error> {
        let changed = self.changed(fleet, limit);
        self.show(fleet, changed, show, &mut tell).await?;
        let mut unread = Vec::new();
        for (name, job) in self.left(fleet).await? {
            if let Some(job) = job {
                unread.extend(self.unread_after_leaving(fleet, &name, job));
            } else {
                fleet.known.remove(&name);
                tell(&name, None);
            }
        }
        self.show(fleet, unread, show, &mut tell).await?;
        self.look_at_stored(fleet, limit, show, &mut tell).await
    }

    /// The jobs in memory that have changed since they were seen.
    fn changed(&self, fleet: &mut Fleet, limit: usize) -> Vec<Unread> {
        fleet.looks += 1;
        fleet.is_truncated = false;
        let moment = self.0.context.moment();
        let mut changed = Vec::new();
        let mut room = limit.saturating_sub(fleet.known.values().filter(|known| known.entry.is_some()).count());
        for entry in self.0.context.directory.entries() {
            let pulse = entry.pulse(moment);
            let known = fleet.known.get_mut(entry.name.as_str());
            let decisions = match known {
                // Of one that was not in memory, all is told again.
                Some(known) if known.entry.is_some() || known.pulse.is_same_job(&pulse) => {
                    known.look = fleet.looks;
                    // Another engine, after this server began anew, has other entries.
                    if known.pulse == pulse && known.entry.as_ref().is_some_and(|seen| Arc::ptr_eq(seen, &entry)) {
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
            changed.push(Unread { pulse, decisions, subject: Subject::Loaded(entry) });
        }
        changed
    }

    /// The jobs that were in memory when they were seen last and are not any more, with their row if there is one.
    async fn left(&self, fleet: &Fleet) -> Result<Vec<(String, Option<JobRow>)>, Error> {
        let has_left = |known: &Known| known.entry.is_some() && known.look != fleet.looks;
        let names: Vec<String> =
            fleet.known.iter().filter(|(_, known)| has_left(known)).map(|(name, _)| name.clone()).collect();
        let read = |name: String| async move {
            let Ok(parsed) = name.parse::<JobName>() else { return Ok((name, None)) };
            let row = self.0.reads.job(&parsed).await?;
            Ok((name, row))
        };
        stream::iter(names).map(read).buffer_unordered(READ_AT_ONCE).try_collect().await
    }

    /// A job that has left memory, if it has to be shown anew. One that has only become idle is shown as it was.
    fn unread_after_leaving(&self, fleet: &mut Fleet, name: &str, row: JobRow) -> Option<Unread> {
        let moment = self.0.context.moment();
        let known = fleet.known.get_mut(name)?;
        let entry = known.entry.as_ref().filter(|entry| entry.id == row.id);
        let (attempt, active_time) = entry.map_or((0, row.update_time), |entry| (entry.attempt(), entry.active_time()));
        let is_as_shown = !row.state.is_ended() && entry.is_some_and(|entry| entry.pulse(moment) == known.pulse);
        let job = ListedJob { row, attempt, active_time };
        if is_as_shown {
            known.pulse = pulse_of(&job, moment);
            let entry = known.entry.take();
            if let Some(entry) = entry {
                entry.set_trail(None);
            }
            known.look = fleet.looks;
            return None;
        }
        Some(unread_stored(fleet, job, moment))
    }

    /// Lists the jobs that are not in memory if it is time to, and looks at those that are new.
    async fn look_at_stored<T: Send + 'static>(
        &self,
        fleet: &mut Fleet,
        limit: usize,
        show: fn(&Sight) -> T,
        tell: &mut (impl FnMut(&str, Option<T>) + Send),
    ) -> Result<(), Error> {
        let context = &self.0.context;
        let (passed, removals) = (context.clock.monotonic(), self.0.removals.load(SeqCst));
        let changes = context.directory.changes_outside();
        let is_recent = |list: &&StoredList| passed.saturating_sub(list.passed) < STORED_AGAIN;
        let listed = fleet.stored.as_ref().filter(|list| list.removals == removals).filter(is_recent);
        if listed.is_some_and(|list| list.changes == changes) {
            return Ok(());
        }
        // New jobs push the others out, which only a list of all of them shows.
        let is_all = listed.is_none() || fleet.known.len() >= limit + limit / 8;
        let moment = context.moment();
        let mut room = limit.saturating_sub(fleet.known.values().filter(|known| known.entry.is_some()).count());
        let page = if is_all { PAGE } else { FEW };
        let mut query = JobQuery {
            namespace: None,
            conditions: Vec::new(),
            order: JobOrder { key: OrderKey::UpdateTime, descending: true },
            after: None,
            limit: page,
        };
        let mut is_truncated = false;
        loop {
            let jobs = self.0.reads.list_jobs(&query).await?;
            let is_full = jobs.len() == page as usize;
            query.after = jobs.last().map(|job| JobCursor::Time(job.row.update_time, job.row.id));
            let mut unread = Vec::new();
            for job in jobs {
                let known = fleet.known.get_mut(job.row.name.as_str());
                if known.as_ref().is_some_and(|known| known.entry.is_some()) {
                    continue;
                }
                if room == 0 {
                    is_truncated = true;
                    break;
                }
                room -= 1;
                let pulse = pulse_of(&job, moment);
                match known {
                    Some(known) if known.pulse == pulse => known.look = fleet.looks,
                    _ => unread.push(unread_stored(fleet, job, moment)),
                }
            }
            // Pages of jobs that changed since, until a page has no new one. A job behind a page of known ones is found
            // within a minute.
            let is_enough = !is_all && unread.is_empty();
            self.show(fleet, unread, show, tell).await?;
            if !is_full || is_truncated || is_enough {
                break;
            }
        }
        if let Some(list) = fleet.stored.as_mut().filter(|_| !is_all) {
            list.changes = changes;
            list.is_truncated |= is_truncated;
            return Ok(());
        }
        let looks = fleet.looks;
        let gone = fleet.known.extract_if(|_, known| known.entry.is_none() && known.look != looks);
        gone.for_each(|(name, _)| tell(&name, None));
        fleet.stored = Some(StoredList { passed, removals, changes, is_truncated });
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

fn pulse_of(job: &ListedJob, moment: Moment) -> Pulse {
    let idle = if job.row.state.is_ended() { Idle::Active } else { moment.before().idle(job.active_time) };
    Pulse::of_stored(&job.row, idle)
}

fn unread_stored(fleet: &Fleet, job: ListedJob, moment: Moment) -> Unread {
    let pulse = pulse_of(&job, moment);
    let known = fleet.known.get(job.row.name.as_str()).filter(|known| known.pulse.is_same_job(&pulse));
    let decisions = known.map(|known| known.decisions.clone()).unwrap_or_default();
    Unread { pulse, decisions, subject: Subject::Stored(Box::new(job)) }
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
    use lrs_model::{
        job::State,
        spec::{Group, Spec},
    };
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
        looking.engine.start_attempt(&b, "t".to_owned(), 0, None).await.unwrap();
        assert_eq!(looking.look().await, ["b RUNNING"]);
        assert_eq!(looking.look().await, [""; 0]);

        looking.engine.delete_job(&a, None, false, Order::default()).await.unwrap();
        looking.engine.delete_job(&b, None, true, Order::default()).await.unwrap();
        assert_eq!(looking.look().await, ["a gone", "b gone"]);
        assert!(looking.fleet.known.is_empty());
        looking.engine.shutdown().await;
    }

    #[tokio::test]
    async fn a_job_that_was_deleted_before_it_trained_is_gone() {
        let (mut looking, _data) = looking(10).await;
        let (a, _) = (looking.register("a").await, looking.register("b").await);
        assert_eq!(looking.look().await, ["a PENDING", "b PENDING"]);

        looking.engine.delete_job(&a, None, true, Order::default()).await.unwrap();

        assert_eq!(looking.look().await, ["a gone"]);
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

        assert_eq!(looking.look().await, ["b FAILED", "c PENDING"], "those that changed last");
        assert!(looking.fleet.is_truncated());

        looking.engine.delete_job(&b, None, false, Order::default()).await.unwrap();
        assert_eq!(looking.look().await, ["a FAILED", "b gone"]);
        assert!(!looking.fleet.is_truncated());
        for job in ["d", "e"] {
            looking.register(job).await;
        }
        assert_eq!(looking.look().await, ["a gone", "c gone", "d PENDING", "e PENDING"], "there is room for two");
        assert!(looking.fleet.is_truncated());
        looking.engine.delete_job(&c, None, true, Order::default()).await.unwrap();
        looking.look().await;
        looking.engine.shutdown().await;
    }
}
