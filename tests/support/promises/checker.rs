//! The checker of DESIGN.md, section 3: compares what was given out, sent and acknowledged with what is stored.
//!
//! The checker knows only what callers know and what a database holds; it does not know the engine. It computes rates
//! and decisions again with [`oracle`], slowly and in another way.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod oracle;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use lrs_engine::{TelemetryAnswer, Told};
use lrs_model::{
    decision::{Decision, DecisionId, Effect, Topic},
    job::{AttemptRow, JobRow, Timestamp},
    name::JobName,
    spec::Spec,
    telemetry::{LOSS, Report, Sample},
};
use lrs_store::{Chunk, DecisionQuery, DecisionRow, Error, Store};

use oracle::{Oracle, Part, Past};

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Its number in DESIGN.md, section 3.
    pub promise: u8,
    /// What happened.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "promise {}: {}", self.promise, self.what)
    }
}

fn broken(promise: u8, what: String) -> Checked {
    Err(Violation { promise, what })
}

/// The result of a check.
pub type Checked = Result<(), Violation>;

/// Everything that a database holds about a job.
#[derive(Clone, Debug)]
pub struct Stored {
    pub row: JobRow,
    pub attempts: Vec<AttemptRow>,
    pub chunks: Vec<Chunk>,
    pub decisions: Vec<DecisionRow>,
}

impl Stored {
    /// Reads a job from a store; `None` if there is no such job.
    pub async fn read(store: &dyn Store, name: &JobName) -> Result<Option<Self>, Error> {
        let Some(row) = store.job(name).await? else { return Ok(None) };
        let attempts = store.attempts(row.id).await?;
        let mut chunks = Vec::new();
        for attempt in &attempts {
            let mut from = 0;
            loop {
                let page = store.telemetry(row.id, attempt.attempt, from, 1000).await?;
                let Some(last) = page.last() else { break };
                from = last.seq + 1;
                chunks.extend(page);
            }
        }
        let mut decisions: Vec<DecisionRow> = Vec::new();
        loop {
            let after = decisions.last().map(|row| row.position);
            let page =
                store.decisions(row.id, &DecisionQuery { after, limit: 1000, ..DecisionQuery::default() }).await?;
            if page.is_empty() {
                break;
            }
            decisions.extend(page);
        }
        Ok(Some(Self { row, attempts, chunks, decisions }))
    }

    fn samples(&self) -> impl Iterator<Item = (u32, u32, &Sample)> {
        self.chunks.iter().flat_map(|chunk| chunk.samples.iter().map(|sample| (chunk.attempt, chunk.rank, sample)))
    }

    /// People's decisions that count in `attempt`.
    fn people(&self, attempt: u32) -> impl Iterator<Item = &Decision> {
        let decisions = self.decisions.iter().map(|row| &row.decision);
        decisions.filter(move |d| matches!(d.id, DecisionId::Person { .. }) && d.attempt <= attempt)
    }

    fn controllers(&self) -> impl Iterator<Item = &Decision> {
        let decisions = self.decisions.iter().map(|row| &row.decision);
        decisions.filter(|decision| matches!(decision.id, DecisionId::Controller { .. }))
    }
}

/// Totals for people to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Samples that were acknowledged as durable.
    pub acknowledged: u64,
    /// Rates compared with an earlier answer for the same step, or with the oracle.
    pub compared: u64,
    /// Rates that were given out as final.
    pub given: u64,
    /// Orders that were acknowledged.
    pub orders: u64,
    /// Decisions by controllers that were compared with the oracle.
    pub decisions: u64,
    /// Decisions of these kinds: searches that came to their end, raises that were tried, raises that were taken back,
    /// cuts on a plateau, divergences, and advice to stop.
    pub searches: u64,
    pub raises: u64,
    pub cuts: u64,
    pub divergences: u64,
    pub stops: u64,
    /// Copies that trainers kept, and copies that they restored.
    pub kept: u64,
    pub restored: u64,
    /// Steps that were given out with a person's or a controller's advice to stop.
    pub advised: u64,
    /// Jobs whose telemetry was removed when its retention was over.
    pub removed: u64,
    /// How often the database went back to an earlier state.
    pub lost_tails: u64,
    /// Samples and orders that were acknowledged and went with the database, when it came back older.
    pub lost_with_database: u64,
    /// Rates that had been given out for a step before its database came back older, and are others now.
    pub changed_with_database: u64,
}

impl Counts {
    /// Adds other totals to these.
    pub fn add(&mut self, more: &Self) {
        self.acknowledged += more.acknowledged;
        self.compared += more.compared;
        self.given += more.given;
        self.orders += more.orders;
        self.decisions += more.decisions;
        self.searches += more.searches;
        self.raises += more.raises;
        self.cuts += more.cuts;
        self.divergences += more.divergences;
        self.stops += more.stops;
        self.kept += more.kept;
        self.restored += more.restored;
        self.advised += more.advised;
        self.removed += more.removed;
        self.lost_tails += more.lost_tails;
        self.lost_with_database += more.lost_with_database;
        self.changed_with_database += more.changed_with_database;
    }

    /// Counts a controller's decision, by the figures in its evidence.
    fn decided(&mut self, decision: &Decision) {
        self.decisions += 1;
        let has = |figure| u64::from(decision.evidence.contains_key(figure));
        match &decision.effect {
            Effect::BaseRates(_) => {
                self.searches += has("best_scale");
                self.raises += has("evaluation");
                self.cuts += has("best_step");
                self.divergences += has("median_loss");
            }
            effect => self.stops += u64::from(*effect == Effect::Advice(Topic::Stop)),
        }
    }
}

/// Everything that callers have seen of every job.
#[derive(Default)]
pub struct History {
    jobs: BTreeMap<JobName, JobHistory>,
    /// The store is read only once everything is over.
    is_late: bool,
    pub counts: Counts,
}

struct JobHistory {
    /// The spec as the operator wrote it.
    spec: Spec,
    /// The newest attempt that was copied from another job; 0 for none.
    inherited: u32,
    tokens: BTreeMap<String, u32>,
    sent: BTreeMap<(u32, u64), BTreeMap<u32, Sample>>,
    /// Steps below this were closed, by attempt and rank.
    closed: BTreeMap<(u32, u32), u64>,
    /// Steps below this were acknowledged, by attempt and rank.
    acknowledged: BTreeMap<(u32, u32), u64>,
    given: BTreeMap<(u32, u64), Gift>,
    /// Steps below this were given out or reported, in any attempt.
    furthest: u64,
    orders: BTreeMap<u64, Decision>,
    /// How many decisions by people were stored at the last look.
    seen_orders: usize,
    /// An attempt's record when the next attempt began: its history from then on.
    frozen: BTreeMap<u32, Past>,
    oracles: BTreeMap<u32, (usize, Oracle)>,
    /// Decisions of controllers that were compared with the oracle when they were stored.
    verified: BTreeSet<DecisionId>,
    /// Someone asked to delete the job.
    gone: bool,
    /// Someone asked to end the job.
    ended: bool,
    /// The retention of its telemetry is over, and the telemetry is being removed or is gone.
    removed: bool,
    /// Samples that were acknowledged and may have gone with the database, by attempt, step and rank.
    at_risk: BTreeSet<(u32, u64, u32)>,
    /// Rates that were given out and may have gone with the database.
    given_at_risk: BTreeMap<(u32, u64), Gift>,
    /// Attempts that were answered and may have gone with the database, with their tokens: the number may be given out
    /// again, to another token.
    attempts_at_risk: BTreeMap<u32, String>,
}

/// What a job's callers had been told at a moment.
#[derive(Clone, Default)]
struct ToldBy {
    tokens: BTreeMap<String, u32>,
    acknowledged: BTreeMap<(u32, u32), u64>,
    given: BTreeMap<(u32, u64), Gift>,
}

/// What all callers had been told at a moment, for [`History::went_back`].
pub struct Mark(BTreeMap<JobName, ToldBy>);

/// The answer for a step: the bits of all groups' rates, and the other contents of the directive.
#[derive(Clone, Debug, PartialEq)]
struct Gift(Vec<u64>, Told);

impl fmt::Display for Gift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rates: Vec<String> = self.0.iter().map(|bits| format!("{:?}", f64::from_bits(*bits))).collect();
        write!(f, "rate {}", rates.join(", "))?;
        if self.1 == Told::default() { Ok(()) } else { write!(f, " and {:?}", self.1) }
    }
}

impl History {
    /// The history of a service whose store cannot be read while it runs: the answers are compared with the store at
    /// the end.
    pub fn after_the_fact() -> Self {
        Self { is_late: true, ..Self::default() }
    }

    /// Notes a job that will be registered with `spec`. A fork begins with the history of `inherited` attempts of
    /// another job.
    pub fn register(&mut self, job: &JobName, spec: &Spec, inherited: u32) {
        let history = JobHistory {
            spec: spec.clone(),
            inherited,
            tokens: BTreeMap::new(),
            sent: BTreeMap::new(),
            closed: BTreeMap::new(),
            acknowledged: BTreeMap::new(),
            given: BTreeMap::new(),
            furthest: 0,
            orders: BTreeMap::new(),
            seen_orders: 0,
            frozen: BTreeMap::new(),
            oracles: BTreeMap::new(),
            verified: BTreeSet::new(),
            gone: false,
            ended: false,
            removed: false,
            at_risk: BTreeSet::new(),
            given_at_risk: BTreeMap::new(),
            attempts_at_risk: BTreeMap::new(),
        };
        self.jobs.insert(job.clone(), history);
    }

    /// What callers have been told so far. The database holds all of it.
    pub fn mark(&self) -> Mark {
        let told = |job: &JobHistory| ToldBy {
            tokens: job.tokens.clone(),
            acknowledged: job.acknowledged.clone(),
            given: job.given.clone(),
        };
        Mark(self.jobs.iter().map(|(name, job)| (name.clone(), told(job))).collect())
    }

    /// Notes that the database is as it was at `mark`: what callers have been told since may be lost.
    pub fn went_back(&mut self, mark: &Mark) {
        for (name, job) in &mut self.jobs {
            let mut then = mark.0.get(name).cloned().unwrap_or_default();
            let ends: Vec<_> = job.acknowledged.iter().map(|(place, end)| (*place, *end)).collect();
            for ((attempt, rank), end) in ends {
                let from = then.acknowledged.get(&(attempt, rank)).copied().unwrap_or(0);
                job.risk(attempt, rank, from, end);
            }
            let lost = job.tokens.iter().filter(|(token, _)| !then.tokens.contains_key(*token));
            job.attempts_at_risk.extend(lost.map(|(token, attempt)| (*attempt, token.clone())));
            // A rate may be given out before the telemetry that it depends on is stored.
            let ranks = 0..job.spec.reporting_ranks;
            let stored_end =
                |attempt| ranks.clone().map(|rank| then.acknowledged.get(&(attempt, rank)).copied()).min().flatten();
            let lag = job.spec.decision_lag;
            then.given.retain(|(attempt, step), _| *step < stored_end(*attempt).unwrap_or(0) + lag);
            job.given_at_risk.extend(job.given.iter().map(|(place, gift)| (*place, gift.clone())));
            (job.tokens, job.acknowledged, job.given) = (then.tokens, then.acknowledged, then.given);
        }
    }

    /// Notes an attempt that was answered by a server that did not know yet that its database was older.
    pub fn attempt_in_vain(&mut self, job: &JobName, token: &str, attempt: u32) {
        let history = self.job(job);
        if history.tokens.values().any(|known| *known == attempt) {
            return;
        }
        let before = history.attempts_at_risk.insert(attempt, token.to_owned());
        if before.is_some_and(|other| other != token) {
            history.forget_attempt(attempt);
        }
    }

    /// Notes an acknowledgement by a server that did not know yet that its database was older.
    pub fn acknowledged_in_vain(&mut self, job: &JobName, attempt: u32, rank: u32, through: u64) {
        let job = self.job(job);
        let from = job.acknowledged.get(&(attempt, rank)).copied().unwrap_or(0);
        job.risk(attempt, rank, from, through + 1);
    }

    /// Notes that someone asks to delete a job: from now on nothing of it needs to be stored.
    pub fn forget(&mut self, job: &JobName) {
        self.job(job).gone = true;
    }

    /// Notes that someone asks to end a job.
    pub fn end(&mut self, job: &JobName) {
        self.job(job).ended = true;
    }

    /// Checks that a call may be told that the job has ended or does not exist.
    pub fn turned_away(&mut self, job: &JobName, is_gone: bool) -> Checked {
        let history = self.job(job);
        if history.gone || (history.ended && !is_gone) {
            return Ok(());
        }
        broken(2, format!("{job} was registered, nobody removed or ended it, and it is not served"))
    }

    /// Whether someone asked to end a job.
    pub fn is_ended(&self, job: &JobName) -> bool {
        self.jobs.get(job).is_none_or(|history| history.ended || history.gone)
    }

    /// The newest attempt that a caller was told of, with the steps of it that were given out.
    pub fn given_steps(&self, job: &JobName) -> Vec<(u32, u64)> {
        let Some(history) = self.jobs.get(job) else { return Vec::new() };
        let newest = history.tokens.values().chain(history.attempts_at_risk.keys()).copied().max().unwrap_or(0);
        history.given.keys().filter(|(attempt, _)| *attempt == newest).copied().collect()
    }

    fn job(&mut self, job: &JobName) -> &mut JobHistory {
        self.jobs.get_mut(job).unwrap_or_else(|| panic!("{job} was never registered"))
    }

    /// The jobs that were registered and not deleted.
    pub fn names(&self) -> Vec<JobName> {
        self.jobs.iter().filter(|(_, job)| !job.gone).map(|(name, _)| name.clone()).collect()
    }

    /// Notes a report that a trainer sends, perhaps again. If a sample comes again with other values, the first values
    /// count.
    pub fn sending(&mut self, job: &JobName, attempt: u32, rank: u32, report: &Report) {
        let job = self.job(job);
        for sample in &report.samples {
            let ranks = job.sent.entry((attempt, sample.step)).or_default();
            match ranks.get_mut(&rank) {
                Some(known) => known.merge(sample),
                None => drop(ranks.insert(rank, sample.clone())),
            }
        }
        if let Some(through) = report.through_step {
            let end = job.closed.entry((attempt, rank)).or_default();
            *end = (*end).max(through + 1);
            job.furthest = job.furthest.max(through + 1 + job.spec.decision_lag);
        }
    }

    /// Checks an attempt that a caller was told of, where the store cannot be read now.
    pub fn attempt_unseen(&mut self, job: &JobName, token: &str, attempt: u32) -> Checked {
        let history = self.job(job);
        if history.attempts_at_risk.remove(&attempt).is_some_and(|other| other != token) {
            history.forget_attempt(attempt);
        }
        let other = history.tokens.iter().find(|(known, number)| **number == attempt && *known != token);
        if let Some((other, _)) = other {
            return broken(1, format!("{job}: attempt {attempt} is of token {other:?}, and now of {token:?} too"));
        }
        let first = *history.tokens.entry(token.to_owned()).or_insert(attempt);
        if first == attempt {
            return Ok(());
        }
        broken(1, format!("{job}: token {token:?} was attempt {first}, and is {attempt} now"))
    }

    /// Checks an attempt that a caller was told of.
    pub fn attempt_started(&mut self, job: &JobName, row: &AttemptRow, stored: Option<&Stored>) -> Checked {
        let history = self.job(job);
        if history.gone {
            return Ok(());
        }
        let first = *history.tokens.entry(row.token.clone()).or_insert(row.attempt);
        if first != row.attempt {
            let token = &row.token;
            return broken(1, format!("{job}: token {token:?} was attempt {first}, and is {} now", row.attempt));
        }
        let is_stored = stored.is_some_and(|stored| {
            stored
                .attempts
                .iter()
                .any(|a| a.attempt == row.attempt && a.token == row.token && a.resume_step == row.resume_step)
        });
        if is_stored {
            Ok(())
        } else {
            broken(2, format!("{job}: attempt {} was answered and is not stored", row.attempt))
        }
    }

    /// Checks that every step up to `through` is durable, because a rank was told so.
    pub fn acknowledged(
        &mut self,
        job: &JobName,
        attempt: u32,
        rank: u32,
        through: u64,
        stored: Option<&Stored>,
    ) -> Checked {
        let history = self.jobs.get_mut(job).unwrap_or_else(|| panic!("{job} was never registered"));
        if history.gone || history.removed {
            return Ok(());
        }
        let before = history.acknowledged.get(&(attempt, rank)).copied().unwrap_or(0);
        if through < before {
            return Ok(());
        }
        let Some(stored) = stored else { return broken(2, format!("{job}: acknowledged, and not stored at all")) };
        let (lost, checked) = history.missing(stored, attempt, rank, before..through + 1);
        if let Some(step) = lost.first() {
            let what = format!("step {step} of rank {rank} in attempt {attempt} was acknowledged and is not stored");
            return broken(2, format!("{job}: {what}"));
        }
        history.acknowledged.insert((attempt, rank), through + 1);
        self.counts.acknowledged += checked;
        Ok(())
    }

    /// The same, for a store that cannot be read now: [`History::finished`] reads it.
    pub fn acknowledged_unseen(&mut self, job: &JobName, attempt: u32, rank: u32, through: u64) {
        let history = self.jobs.get_mut(job).unwrap_or_else(|| panic!("{job} was never registered"));
        let end = history.acknowledged.entry((attempt, rank)).or_default();
        let sent = history.sent.range((attempt, *end)..=(attempt, through.max(*end)));
        let more = sent.filter(|((_, step), ranks)| *step <= through && ranks.contains_key(&rank)).count();
        *end = (*end).max(through + 1);
        self.counts.acknowledged += more as u64;
    }

    /// Notes that the database has gone back to `stored`: what was acknowledged and is not there counts as acknowledged
    /// no more, and trainers send it again.
    pub fn lose_tail(&mut self, stored: &Stored) {
        let Some(history) = self.jobs.get_mut(&stored.row.name) else { return };
        let ends: Vec<_> = history.acknowledged.iter().map(|(place, end)| (*place, *end)).collect();
        for ((attempt, rank), end) in ends {
            if let Some(first) = history.missing(stored, attempt, rank, 0..end).0.first() {
                history.acknowledged.insert((attempt, rank), *first);
            }
        }
    }

    /// Checks rates that were given out as final for a step, and the other contents of the directive.
    pub fn given(
        &mut self,
        job: &JobName,
        attempt: u32,
        step: u64,
        rates: &[f64],
        told: &Told,
        stored: Option<&Stored>,
    ) -> Checked {
        let gift = Gift(rates.iter().map(|rate| rate.to_bits()).collect(), told.clone());
        let history = self.jobs.get_mut(job).unwrap_or_else(|| panic!("{job} was never registered"));
        if history.gone {
            return Ok(());
        }
        self.counts.given += 1;
        self.counts.advised += u64::from(told.stop_advice.is_some());
        if let Some(first) = history.given.get(&(attempt, step)) {
            self.counts.compared += 1;
            if *first == gift {
                return Ok(());
            }
            return broken(1, format!("{job}: step {step} of attempt {attempt} had {first}, and now {gift}"));
        }
        let is_other = history.given_at_risk.remove(&(attempt, step)).is_some_and(|before| before != gift);
        self.counts.changed_with_database += u64::from(is_other);
        history.given.insert((attempt, step), gift.clone());
        history.furthest = history.furthest.max(step + 1);
        let Some(stored) = stored else { return Ok(()) };
        self.counts.compared += 1;
        history.check_gift(job, attempt, step, &gift, stored)
    }

    /// Notes that a trainer kept or restored a copy as told.
    pub fn obeyed(&mut self, is_restore: bool) {
        if is_restore {
            self.counts.restored += 1;
        } else {
            self.counts.kept += 1;
        }
    }

    /// Checks that a job's telemetry may be removed now; no clock has shown a later time than `latest`.
    pub fn removing(&mut self, stored: &Stored, latest: Timestamp, kept_for: Duration) -> Checked {
        let job = &stored.row.name;
        let Some(history) = self.jobs.get_mut(job).filter(|history| !history.gone) else { return Ok(()) };
        let term = i64::try_from(kept_for.as_micros()).unwrap_or(i64::MAX);
        let is_over = stored.row.end_time.is_some_and(|end| end.0.saturating_add(term) < latest.0);
        if !(stored.row.state.is_ended() && history.ended && is_over) {
            return broken(2, format!("{job}: telemetry is removed within its time: {:?}", stored.row.end_time));
        }
        self.counts.removed += u64::from(!std::mem::replace(&mut history.removed, true));
        Ok(())
    }

    /// The steps of the newest attempt whose losses are acknowledged by all ranks, see [`History::read`].
    pub fn readable(&self, job: &JobName) -> (u32, BTreeSet<u64>) {
        let Some(history) = self.jobs.get(job) else { return Default::default() };
        let newest = history.tokens.values().copied().max().unwrap_or(0);
        let ends = (0..history.spec.reporting_ranks).map(|rank| history.acknowledged.get(&(newest, rank)).copied());
        let end = ends.map(Option::unwrap_or_default).min().unwrap_or(0);
        let sent = history.sent.range((newest, 0)..(newest, end));
        let with_loss = sent.filter(|(_, ranks)| ranks.values().any(|sample| sample.loss.is_some()));
        (newest, with_loss.map(|((_, step), _)| *step).collect())
    }

    /// Checks an answer to a reader: it must have all telemetry that was [readable](History::readable) when the reader
    /// asked.
    pub fn read(job: &JobName, wanted: &(u32, BTreeSet<u64>), answer: &TelemetryAnswer) -> Checked {
        let found = answer.series.get(LOSS).map(|(steps, _)| steps.as_slice()).unwrap_or_default();
        match wanted.1.iter().find(|step| found.binary_search(step).is_err()) {
            Some(step) if answer.next_step.is_none() => {
                let what =
                    format!("step {step} of attempt {} was acknowledged and is left out of what is read", wanted.0);
                broken(2, format!("{job}: {what}"))
            }
            _ => Ok(()),
        }
    }

    /// Checks an order by a person that was answered.
    pub fn ordered(&mut self, job: &JobName, decision: &Decision, stored: Option<&Stored>) -> Checked {
        let history = self.jobs.get_mut(job).unwrap_or_else(|| panic!("{job} was never registered"));
        let DecisionId::Person { seq } = decision.id else { return Ok(()) };
        if history.gone {
            return Ok(());
        }
        self.counts.orders += 1;
        if let Some(first) = history.orders.insert(seq, decision.clone())
            && first != *decision
        {
            return broken(2, format!("{job}: order {seq} was {first:?}, and is {decision:?} now"));
        }
        let Some(stored) = stored else { return Ok(()) };
        if stored.people(u32::MAX).any(|known| known == decision) {
            return Ok(());
        }
        broken(2, format!("{job}: order {seq} was answered and is not stored"))
    }

    /// Checks a job after a commit: the stored data must be what was sent, and what follows from it.
    pub fn committed(&mut self, job: &JobName, stored: &Stored) -> Checked {
        let Some(history) = self.jobs.get_mut(job).filter(|history| !history.gone) else { return Ok(()) };
        history.check_samples(job, stored)?;
        history.check_frozen(job, stored)?;
        if !self.is_late {
            history.check_new_orders(job, stored)?;
        }
        let inherited = history.inherited;
        for decision in stored.controllers().filter(|decision| decision.attempt > inherited) {
            if history.verified.insert(decision.id) {
                self.counts.decided(decision);
                history.check_decision(job, decision, stored)?;
            }
        }
        Ok(())
    }

    /// Checks at the end everything that was acknowledged or given out, and everything that follows from it.
    pub fn finished(&mut self, job: &JobName, stored: &Stored) -> Checked {
        let lost = self.job(job).settle_risks(stored);
        self.counts.lost_with_database += lost;
        self.committed(job, stored)?;
        let history = self.job(job);
        for (token, attempt) in &history.tokens {
            if !stored.attempts.iter().any(|row| row.attempt == *attempt && row.token == *token) {
                return broken(
                    2,
                    format!("{job}: attempt {attempt} was answered for token {token:?} and is not stored"),
                );
            }
        }
        for (&(attempt, rank), &end) in history.acknowledged.iter().filter(|_| !history.removed) {
            if let Some(step) = history.missing(stored, attempt, rank, 0..end).0.first() {
                let what = format!("step {step} of rank {rank} in attempt {attempt} was acknowledged and is lost");
                return broken(2, format!("{job}: {what}"));
            }
        }
        for order in history.orders.values() {
            if !stored.people(u32::MAX).any(|known| known == order) {
                return broken(2, format!("{job}: order {:?} was answered and is lost", order.id));
            }
        }
        if history.removed && history.inherited > 0 {
            // Only the telemetry of the history that the job shares with another job is known.
            return Ok(());
        }
        let given: Vec<_> = history.given.iter().map(|(place, gift)| (*place, gift.clone())).collect();
        let compared = given.len() as u64;
        for ((attempt, step), gift) in given {
            history.check_gift(job, attempt, step, &gift, stored)?;
        }
        let checked = if history.removed { Ok(()) } else { history.check_all_decisions(job, stored) };
        self.counts.compared += compared;
        checked
    }
}

impl JobHistory {
    /// Notes that samples that were acknowledged may be lost.
    fn risk(&mut self, attempt: u32, rank: u32, from: u64, end: u64) {
        let sent = self.sent.range((attempt, from)..(attempt, end.max(from)));
        let sent = sent.filter(|(_, ranks)| ranks.contains_key(&rank));
        self.at_risk.extend(sent.map(|((attempt, step), _)| (*attempt, *step, rank)));
    }

    /// Forgets an attempt that went with the database, whose number is another attempt's now.
    fn forget_attempt(&mut self, gone: u32) {
        self.sent.retain(|(attempt, _), _| *attempt != gone);
        self.closed.retain(|(attempt, _), _| *attempt != gone);
        self.acknowledged.retain(|(attempt, _), _| *attempt != gone);
        self.given.retain(|(attempt, _), _| *attempt != gone);
        self.given_at_risk.retain(|(attempt, _), _| *attempt != gone);
    }

    /// Takes the samples that went with the database as never sent. Returns how many those are.
    fn settle_risks(&mut self, stored: &Stored) -> u64 {
        let known: BTreeSet<_> = stored.samples().map(|(attempt, rank, sample)| (attempt, sample.step, rank)).collect();
        let lost: Vec<_> = std::mem::take(&mut self.at_risk).difference(&known).copied().collect();
        for (attempt, step, rank) in &lost {
            if let Some(ranks) = self.sent.get_mut(&(*attempt, *step)) {
                ranks.remove(rank);
            }
        }
        self.sent.retain(|_, ranks| !ranks.is_empty());
        lost.len() as u64
    }

    /// The steps of `steps` that are not stored as the rank sent them, and how many steps were compared.
    fn missing(&self, stored: &Stored, attempt: u32, rank: u32, steps: std::ops::Range<u64>) -> (Vec<u64>, u64) {
        let mut known: BTreeMap<u64, Sample> = BTreeMap::new();
        for (_, _, sample) in
            stored.samples().filter(|(a, r, s)| *a == attempt && *r == rank && steps.contains(&s.step))
        {
            known.entry(sample.step).and_modify(|first| first.merge(sample)).or_insert_with(|| sample.clone());
        }
        let sent = self.sent.range((attempt, steps.start)..(attempt, steps.end));
        let sent: Vec<_> = sent.filter_map(|((_, step), ranks)| Some((*step, ranks.get(&rank)?))).collect();
        let looked_at = sent.len() as u64;
        let lost = sent.into_iter().filter(|(step, sample)| known.get(step) != Some(*sample));
        (lost.map(|(step, _)| step).collect(), looked_at)
    }

    /// Checks that every sample is stored once, with the values that were sent first.
    fn check_samples(&self, job: &JobName, stored: &Stored) -> Checked {
        let mut seen = BTreeSet::new();
        for (attempt, rank, sample) in stored.samples().filter(|(attempt, ..)| *attempt > self.inherited) {
            let at = format_args!("step {} of rank {rank} in attempt {attempt}", sample.step);
            let sent = self.sent.get(&(attempt, sample.step)).and_then(|ranks| ranks.get(&rank));
            // A sample may come in pieces, each with all values that came before; a piece that adds nothing is a
            // repeat.
            let mut is_new = sample.values().next().is_none();
            for (name, bits) in sample.values() {
                is_new |= seen.insert((attempt, rank, sample.step, name));
                if sent.and_then(|sent| sent.metric(name)).map(f64::to_bits) != Some(bits) {
                    let value = f64::from_bits(bits);
                    return broken(
                        2,
                        format!("{job}: {name} of {at} is stored as {value}, which is not what was sent first"),
                    );
                }
            }
            if !is_new {
                return broken(2, format!("{job}: {at} is stored twice"));
            }
        }
        Ok(())
    }

    /// Checks that the history of an attempt has not changed since the next attempt began.
    fn check_frozen(&mut self, job: &JobName, stored: &Stored) -> Checked {
        for next in stored.attempts.iter().filter(|next| next.parent_attempt != 0) {
            let parent = next.parent_attempt;
            let now = Past::of(&stored.chunks, parent);
            match self.frozen.get(&parent) {
                None => drop(self.frozen.insert(parent, now)),
                Some(then) if *then == now || self.removed => {}
                Some(_) => {
                    let attempt = next.attempt;
                    return broken(
                        1,
                        format!("{job}: the telemetry of attempt {parent} changed after {attempt} began"),
                    );
                }
            }
        }
        Ok(())
    }

    /// Checks that a person's decision takes effect after everything that was given out before it.
    fn check_new_orders(&mut self, job: &JobName, stored: &Stored) -> Checked {
        let people: Vec<&Decision> = stored.people(u32::MAX).collect();
        for decision in people.iter().skip(self.seen_orders) {
            let from = (decision.attempt, decision.effective_step);
            let given = self.given.range(from..=(decision.attempt, u64::MAX)).next_back();
            if let Some(((attempt, step), _)) = given.filter(|_| decision.attempt > self.inherited) {
                let effective_step = decision.effective_step;
                let what = format!("a decision takes effect at step {effective_step} of attempt {attempt}");
                return broken(1, format!("{job}: {what}, and step {step} had been given out as final"));
            }
        }
        self.seen_orders = people.len();
        Ok(())
    }

    /// The oracle of an attempt, with the stored decisions by people.
    fn oracle(&mut self, attempt: u32, stored: &Stored) -> &mut Oracle {
        let people: Vec<&Decision> = stored.people(attempt).collect();
        let count = people.len();
        if self.oracles.get(&attempt).is_none_or(|(known, _)| *known != count) {
            self.oracles.insert(attempt, (count, Oracle::new(&self.spec, &people, &stored.attempts, attempt)));
        }
        let Some((_, oracle)) = self.oracles.get_mut(&attempt) else { unreachable!("it was just made") };
        let (sent, closed, inherited, frozen) = (&self.sent, &self.closed, self.inherited, &self.frozen);
        let ranks = self.spec.reporting_ranks;
        // Up to the last step that anyone asked for or reported, and past the step at which the trainer begins.
        oracle.advance(self.furthest + 1 + self.spec.decision_lag, |part, step| {
            let mine = part.attempt == attempt && attempt > inherited;
            if mine {
                let complete = (0..ranks).all(|rank| closed.get(&(attempt, rank)).is_some_and(|end| *end > step));
                return complete.then(|| sent.get(&(attempt, step)).map(oracle::record)).ok_or(());
            }
            match frozen.get(&part.attempt) {
                Some(past) => Ok(past.record(step)),
                None if part.attempt <= inherited => Ok(Past::of(&stored.chunks, part.attempt).record(step)),
                None => Err(()),
            }
        });
        oracle
    }

    /// The oracle of the newest attempt, from the store alone.
    fn replayed(&self, stored: &Stored, newest: u32) -> Oracle {
        let people: Vec<&Decision> = stored.people(newest).collect();
        let parts = Part::lineage(&stored.attempts, newest);
        let histories: BTreeMap<u32, Past> =
            parts.iter().map(|part| (part.attempt, Past::of(&stored.chunks, part.attempt))).collect();
        let closed = |rank: u32| {
            let chunks = stored.chunks.iter().filter(|chunk| chunk.attempt == newest && chunk.rank == rank);
            chunks.filter_map(|chunk| chunk.through_step).max().map_or(0, |step| step + 1)
        };
        let complete = (0..self.spec.reporting_ranks).map(closed).min().unwrap_or(0);
        let mut oracle = Oracle::new(&self.spec, &people, &stored.attempts, newest);
        let end = histories.values().filter_map(Past::last_step).max().unwrap_or(0) + self.spec.decision_lag + 1;
        oracle.advance(end, |part, step| {
            if part.attempt == newest && step >= complete { Err(()) } else { Ok(histories[&part.attempt].record(step)) }
        });
        oracle
    }

    fn check_gift(&mut self, job: &JobName, attempt: u32, step: u64, gift: &Gift, stored: &Stored) -> Checked {
        let at = format!("{job}: step {step} of attempt {attempt}");
        match self.oracle(attempt, stored).gift(step).map(|(rates, told)| Gift(rates, told)) {
            Some(expected) if expected == *gift => Ok(()),
            Some(expected) => broken(3, format!("{at} was given {gift}; spec, decisions and telemetry say {expected}")),
            None => broken(3, format!("{at} was given out as final before the telemetry was sent that it depends on")),
        }
    }

    /// Checks that a controller's decision is the oracle's, in the decision's attempt or in an attempt that continues
    /// it.
    fn check_decision(&mut self, job: &JobName, decision: &Decision, stored: &Stored) -> Checked {
        let newest = stored.attempts.last().map_or(0, |row| row.attempt);
        // A fork's first attempt decides on records that it shares before anyone asks for a step.
        self.furthest = self.furthest.max(decision.effective_step);
        let mut expected = None;
        for attempt in decision.attempt..=newest {
            let Some(found) = self.oracle(attempt, stored).decision(decision.id) else { continue };
            if found.is(decision) {
                return Ok(());
            }
            expected = Some(format!("{found:?}"));
        }
        let expected = expected.unwrap_or_else(|| "none".to_owned());
        let (id, from, effect) = (decision.id, decision.effective_step, &decision.effect);
        broken(3, format!("{job}: decision {id} is {effect:?} from step {from} on; the telemetry says {expected}"))
    }

    /// Checks that the decisions in the newest attempt's history are exactly those that follow from its telemetry.
    fn check_all_decisions(&mut self, job: &JobName, stored: &Stored) -> Checked {
        let Some(newest) = stored.attempts.last().map(|row| row.attempt) else { return Ok(()) };
        if newest <= self.inherited {
            return Ok(());
        }
        let parts = Part::lineage(&stored.attempts, newest);
        let oracle = self.replayed(stored, newest);
        for expected in oracle.decisions() {
            let found = stored.controllers().find(|decision| decision.id == expected.id);
            match found {
                Some(found) if expected.is(found) => {}
                Some(found) => {
                    return broken(
                        3,
                        format!("{job}: decision {} is {found:?}; a replay says {expected:?}", expected.id),
                    );
                }
                None => return broken(3, format!("{job}: decision {} is not stored: {expected:?}", expected.id)),
            }
        }
        for found in stored.controllers() {
            let DecisionId::Controller { attempt, .. } = found.id else { continue };
            let step = found.effective_step;
            let counts = parts.iter().any(|part| part.attempt == attempt && (part.start..part.end).contains(&step));
            if counts && oracle.decision(found.id).is_none() {
                return broken(3, format!("{job}: decision {} is stored, and a replay does not make it", found.id));
            }
        }
        Ok(())
    }
}
