//! The data that survives a crash: a database in memory that does what the statements of the real stores do.

use std::collections::{BTreeMap, BTreeSet};

use lrs_model::{
    change::Change,
    decision::{Decision, DecisionId},
    job::{JobRow, Timestamp},
    name::{JobId, JobName},
    telemetry::Sample,
};
use lrs_store::{ChangeRow, Chunk, DecisionRow, Error, ExpiredJob, Outcome, Removal, StateRow, Write};

use crate::ownership::Ownership;
use crate::promises::Stored;

/// Everything committed.
#[derive(Clone, Default)]
pub struct Durable {
    /// Who owns the data.
    pub ownership: Ownership,
    jobs: BTreeMap<JobId, (Stored, Option<StateRow>)>,
    position: u64,
    /// Jobs whose telemetry was removed because its retention was over.
    emptied: BTreeSet<JobId>,
    changes: Vec<ChangeRow>,
}

impl Durable {
    /// Commits all of `batch`, or nothing.
    pub fn commit(&mut self, batch: &[Write]) -> Result<Vec<Outcome>, Error> {
        self.check(batch)?;
        Ok(batch.iter().map(|write| self.apply(write)).collect())
    }

    /// Checks the constraints: a token belongs to one attempt, everything that a fork shares must exist, and what is
    /// there already is the same.
    fn check(&self, batch: &[Write]) -> Result<(), Error> {
        let mut new = BTreeSet::new();
        for write in batch {
            if let Write::ForkJob { row, source, .. } = write
                && !self.jobs.contains_key(&row.id)
                && self.job(*source).is_some_and(|source| source.row.telemetry_removed_time.is_some())
            {
                let problem = format!("the telemetry of job {source}, which it would share, has been removed");
                return Err(Error::refused("to fork a job", problem));
            }
            self.check_same(write)?;
            let Write::StartAttempt(job, row) = write else { continue };
            let known = self.jobs.get(job).is_some_and(|(stored, _)| {
                stored.attempts.iter().any(|other| other.token == row.token && other.attempt != row.attempt)
            });
            if known || !new.insert((*job, row.token.clone())) {
                let problem = "UNIQUE constraint failed: attempts.job_id, attempts.token".to_owned();
                return Err(Error::refused("to commit", problem));
            }
        }
        Ok(())
    }

    /// Checks that a row that is there already is what is to be written.
    fn check_same(&self, write: &Write) -> Result<(), Error> {
        let stored = |job: &JobId| self.jobs.get(job).map(|(stored, _)| stored);
        let differs = match write {
            Write::StartAttempt(job, row) => stored(job)
                .and_then(|stored| stored.attempts.iter().find(|known| known.attempt == row.attempt))
                .filter(|known| (&known.token, known.resume_step) != (&row.token, row.resume_step))
                .map(|known| ("attempts", format!("attempt {} has the token {}", row.attempt, known.token))),
            Write::AppendTelemetry(job, chunk) => stored(job)
                .and_then(|stored| stored.chunks.iter().find(|c| (c.attempt, c.seq) == (chunk.attempt, chunk.seq)))
                .filter(|known| format!("{known:?}") != format!("{chunk:?}"))
                .map(|_| ("telemetry", format!("chunk {} of attempt {}", chunk.seq, chunk.attempt))),
            Write::RecordDecision(job, decision, _) => stored(job)
                .and_then(|stored| stored.decisions.iter().find(|row| row.decision.id == decision.id))
                .filter(|row| {
                    (&row.decision.effect, row.decision.effective_step) != (&decision.effect, decision.effective_step)
                })
                .map(|_| ("decisions", format!("decision {}", decision.id))),
            _ => None,
        };
        differs.map_or(Ok(()), |(table, what)| Err(Error::differs(table, what, "it has other contents")))
    }

    fn apply(&mut self, write: &Write) -> Outcome {
        match write {
            Write::CreateJob(row) => return self.create(row),
            Write::ForkJob { row, source, source_attempt } => {
                let is_repeat = self.jobs.contains_key(&row.id);
                if !is_repeat && !self.jobs.contains_key(source) {
                    return Outcome::SourceGone;
                }
                let outcome = self.create(row);
                if outcome == Outcome::Done && !is_repeat {
                    self.copy(row, *source, *source_attempt);
                }
                return outcome;
            }
            Write::DeleteJob(job) => drop(self.jobs.remove(job)),
            Write::UpdateJob(row) => {
                if let Some((stored, _)) = self.jobs.get_mut(&row.id) {
                    let JobRow { id, name, initial_spec, create_time, telemetry_removed_time, .. } = stored.row.clone();
                    let changed = JobRow::clone(row);
                    stored.row = JobRow { id, name, initial_spec, create_time, telemetry_removed_time, ..changed };
                }
            }
            Write::StartAttempt(job, row) => {
                if let Some((stored, _)) = self.jobs.get_mut(job)
                    && !stored.attempts.iter().any(|known| known.attempt == row.attempt)
                {
                    stored.attempts.push(row.clone());
                }
            }
            Write::Reserve { job, attempt, reserved_end } => {
                let attempts = self.jobs.get_mut(job).map(|(stored, _)| &mut stored.attempts);
                if let Some(row) = attempts.and_then(|rows| rows.iter_mut().find(|row| row.attempt == *attempt)) {
                    row.reserved_end = *reserved_end;
                }
            }
            Write::AppendTelemetry(job, chunk) => {
                if let Some((stored, _)) = self.jobs.get_mut(job) {
                    insert(&mut stored.chunks, chunk.clone());
                }
            }
            Write::RecordDecision(job, decision, request_id) => self.record(*job, decision, request_id.clone()),
            // The activity of a job is for people to read; no promise is made about it.
            Write::MarkActive(..) => {}
            Write::RecordChange { change, of } => {
                let is_known = self.changes.iter().any(|row| row.change.id == change.id);
                if self.jobs.contains_key(of) && !is_known {
                    let position = self.changes.last().map_or(1, |row| row.position + 1);
                    self.changes.push(ChangeRow { position, change: Change::clone(change) });
                }
            }
            Write::SaveState(job, state) => {
                if let Some((_, known)) = self.jobs.get_mut(job) {
                    *known = Some(state.clone());
                }
            }
        }
        Outcome::Done
    }

    fn create(&mut self, row: &JobRow) -> Outcome {
        if self.jobs.contains_key(&row.id) {
            return Outcome::Done;
        }
        if let Some(other) = self.by_name(&row.name) {
            return Outcome::NameTaken(Box::new(other.row.clone()));
        }
        let stored = Stored { row: row.clone(), attempts: Vec::new(), chunks: Vec::new(), decisions: Vec::new() };
        self.jobs.insert(row.id, (stored, None));
        Outcome::Done
    }

    fn copy(&mut self, row: &JobRow, source: JobId, source_attempt: u32) {
        let Some((source, _)) = self.jobs.get(&source).cloned() else { return };
        let step = row.forked_from.as_ref().map_or(u64::MAX, |point| point.step);
        let Some((stored, _)) = self.jobs.get_mut(&row.id) else { return };
        for mut attempt in source.attempts.into_iter().filter(|row| row.attempt <= source_attempt) {
            attempt.token.insert_str(0, "of the job forked: ");
            stored.attempts.push(attempt);
        }
        stored.chunks = source.chunks.into_iter().filter(|chunk| chunk.attempt <= source_attempt).collect();
        for DecisionRow { decision, request_id, .. } in source.decisions {
            let is_older_order = matches!(decision.id, DecisionId::Person { .. }) && decision.attempt < source_attempt;
            if decision.attempt <= source_attempt && (decision.effective_step < step || is_older_order) {
                self.record(row.id, &decision, request_id);
            }
        }
    }

    fn record(&mut self, job: JobId, decision: &Decision, request_id: Option<String>) {
        let Some((stored, _)) = self.jobs.get_mut(&job) else { return };
        if !stored.decisions.iter().any(|row| row.decision.id == decision.id) {
            self.position += 1;
            let row = DecisionRow { position: self.position, decision: decision.clone(), request_id };
            stored.decisions.push(row);
        }
    }

    /// All changes, in the order in which they were recorded.
    pub fn changes(&self) -> &[ChangeRow] {
        &self.changes
    }

    pub fn job(&self, id: JobId) -> Option<&Stored> {
        self.jobs.get(&id).map(|(stored, _)| stored)
    }

    pub fn by_name(&self, name: &JobName) -> Option<&Stored> {
        self.jobs.values().map(|(stored, _)| stored).find(|stored| stored.row.name == *name)
    }

    pub fn state(&self, id: JobId) -> Option<StateRow> {
        self.jobs.get(&id).and_then(|(_, state)| state.clone())
    }

    /// The jobs, by rising identity.
    pub fn jobs(&self) -> impl Iterator<Item = &Stored> {
        self.jobs.values().map(|(stored, _)| stored)
    }

    /// Merges the first two or more neighbouring chunks of a rank that have at most `target` samples together; returns
    /// how many chunks went away.
    pub fn merge(&mut self, job: JobId, attempt: u32, below_seq: u64, target: usize) -> u64 {
        let Some((stored, _)) = self.jobs.get_mut(&job) else { return 0 };
        let ranks: BTreeSet<u32> = stored.chunks.iter().map(|chunk| chunk.rank).collect();
        for rank in ranks {
            let mut run: Vec<Chunk> = Vec::new();
            let mine = |chunk: &&Chunk| chunk.attempt == attempt && chunk.rank == rank && chunk.seq < below_seq;
            for chunk in stored.chunks.iter().filter(mine) {
                let fits = run.iter().map(|chunk| chunk.samples.len()).sum::<usize>() + chunk.samples.len() <= target;
                match (fits, run.len()) {
                    (true, _) => run.push(chunk.clone()),
                    (false, 0 | 1) => run = vec![chunk.clone()],
                    (false, _) => break,
                }
            }
            if run.len() < 2 {
                continue;
            }
            let last = run[run.len() - 1].clone();
            let gone: BTreeSet<u64> = run.iter().map(|chunk| chunk.seq).collect();
            let mut samples: BTreeMap<u64, Sample> = BTreeMap::new();
            for sample in run.into_iter().flat_map(|chunk| chunk.samples) {
                samples.entry(sample.step).and_modify(|known| known.merge(&sample)).or_insert(sample);
            }
            stored.chunks.retain(|chunk| chunk.attempt != attempt || !gone.contains(&chunk.seq));
            insert(&mut stored.chunks, Chunk { samples: samples.into_values().collect(), ..last });
            return gone.len() as u64 - 1;
        }
        0
    }

    /// Jobs with telemetry that ended before a time, earliest end first. Jobs with the same end come by name, because
    /// identifiers are random.
    pub fn expired(&self, ended_before: Timestamp) -> Vec<ExpiredJob> {
        let ended = self.jobs().filter(|stored| !self.emptied.contains(&stored.row.id));
        let mut ended: Vec<_> = ended
            .filter_map(|stored| Some((stored.row.end_time?, stored.row.name.to_string(), stored.row.id)))
            .filter(|(end, ..)| *end < ended_before)
            .collect();
        ended.sort_unstable();
        ended.into_iter().map(|(_, name, id)| ExpiredJob { id: id.0, name }).collect()
    }

    /// Removes up to `limit` chunks of a job that has ended, and with the last chunk the job's snapshot. Marks the job,
    /// unless `marks` is false (a planted bug).
    pub fn remove(&mut self, job: JobId, now: Timestamp, limit: usize, marks: bool) -> Removal {
        let Some((stored, state)) = self.jobs.get_mut(&job).filter(|(stored, _)| stored.row.state.is_ended()) else {
            return Removal { chunks: 0, is_complete: true };
        };
        if marks {
            stored.row.telemetry_removed_time.get_or_insert(now);
        }
        let gone = stored.chunks.drain(..limit.min(stored.chunks.len())).count();
        let is_complete = gone < limit;
        if is_complete {
            *state = None;
            self.emptied.insert(job);
        }
        Removal { chunks: gone as u64, is_complete }
    }

    /// A bug: replaces the first value that a rank reported by another value.
    pub fn overwrite(&mut self, name: &JobName, attempt: u32, rank: u32, sample: &Sample) {
        let Some(id) = self.by_name(name).map(|stored| stored.row.id) else { return };
        let Some((stored, _)) = self.jobs.get_mut(&id) else { return };
        let chunks = stored.chunks.iter_mut().filter(|chunk| chunk.attempt == attempt && chunk.rank == rank);
        for known in chunks.flat_map(|chunk| &mut chunk.samples).filter(|known| known.step == sample.step) {
            known.loss = sample.loss;
        }
    }
}

/// Inserts a chunk that is not there yet, in the order of arrival.
fn insert(chunks: &mut Vec<Chunk>, chunk: Chunk) {
    let key = |chunk: &Chunk| (chunk.attempt, chunk.seq);
    if let Err(place) = chunks.binary_search_by_key(&key(&chunk), key) {
        chunks.insert(place, chunk);
    }
}
