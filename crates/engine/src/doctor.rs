//! The doctor: looks through everything that a database has of every job, and says what cannot be right.
//!
//! It checks rows against what the engine does with them, nothing more: it reads them, counts what arrived, takes
//! telemetry in the order of arrival, and lets the pure heart decide once more. It changes nothing.

mod chunks;
mod decisions;
mod snapshot;

use std::{collections::BTreeMap, fmt};

use serde::Serialize;

use super::{lineage::Standing, recover, timeline::Timeline};
use chunks::ChunkCheck;
use lrs_model::{
    decision::{Author, Decision, DecisionId},
    job::{AttemptRow, JobRow},
    name::JobId,
};
use lrs_runtime::error::chain;
use lrs_store::{
    Error, LoadedJob,
    inspection::{Inspection, Misplaced, Orphans},
};

/// Rows read at once.
const PAGE: u32 = 500;
/// Rows of a table and a job that are named when their owners were replaced.
const MOST_MISPLACED: u32 = 5;

/// What is wrong, as a word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ailment {
    /// The database's own files are damaged.
    File,
    /// An index is missing. Reads are slow, and without a unique index writes are not safe.
    Index,
    /// Rows belong to a job or an attempt that is not there.
    Orphan,
    /// A row cannot be understood.
    Unreadable,
    /// Telemetry or a decision was stored and is gone.
    Gap,
    /// Telemetry contradicts itself about a step, or is stored in an order in which it cannot have come.
    Overlap,
    /// The decisions do not follow from the telemetry.
    Decision,
    /// The saved job does not fit the telemetry.
    Snapshot,
    /// The job's row contradicts its other rows.
    Job,
    /// A row was stored by a server that another one had replaced by then, or the row of `ownership` is not right.
    Owner,
}

impl fmt::Display for Ailment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::File => "file",
            Self::Index => "index",
            Self::Orphan => "orphan",
            Self::Unreadable => "unreadable",
            Self::Gap => "gap",
            Self::Overlap => "overlap",
            Self::Decision => "decision",
            Self::Snapshot => "snapshot",
            Self::Job => "job",
            Self::Owner => "owner",
        })
    }
}

/// Something that cannot be right.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The job's name, or its identity where it has none; `None` for the database as a whole.
    pub job: Option<String>,
    /// What kind of thing it is.
    pub ailment: Ailment,
    /// What was found, in words.
    pub detail: String,
}

/// How much was looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Jobs.
    pub jobs: u64,
    /// Jobs whose telemetry has been removed, so that their decisions cannot be recomputed.
    pub jobs_without_telemetry: u64,
    /// Attempts.
    pub attempts: u64,
    /// Decisions.
    pub decisions: u64,
    /// Decisions by controllers that were recomputed.
    pub recomputed_decisions: u64,
    /// Decisions by controllers that are not on record yet, because a process ended before it wrote them. The next
    /// start writes them.
    pub unrecorded_decisions: u64,
    /// Chunks of telemetry.
    pub chunks: u64,
    /// Samples in them.
    pub samples: u64,
}

/// What an examination found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// How much was looked at.
    pub counts: Counts,
    /// What was found; the database's own first, then job by job.
    pub findings: Vec<Finding>,
}

/// Looks through the whole database.
///
/// # Errors
/// If it does not answer.
pub async fn examine(database: &dyn Inspection) -> Result<Diagnosis, Error> {
    let mut diagnosis = Diagnosis::default();
    for damage in database.file_damage().await? {
        diagnosis.find(None, Ailment::File, damage);
    }
    for index in database.missing_indices().await? {
        diagnosis.find(None, Ailment::Index, format!("index {index} is missing, or cannot be used"));
    }
    for Orphans { table, job_id, count } in database.orphans().await? {
        let detail = format!("{count} rows of {table} belong to no job");
        diagnosis.find(Some(&JobId(job_id).to_string()), Ailment::Orphan, detail);
    }
    let owners = database.owner_count().await?;
    if owners != 1 {
        let detail = format!("the table ownership has {owners} rows, not 1: no server can open the database");
        diagnosis.find(None, Ailment::Owner, detail);
    }
    let mut after = None;
    loop {
        let page = database.all_jobs(after, PAGE).await?;
        let Some(last) = page.last() else { return Ok(diagnosis) };
        after = Some(last.id);
        for LoadedJob { name, row, .. } in page {
            diagnosis.counts.jobs += 1;
            match row {
                Ok(row) => examine_job(database, &row, &mut diagnosis).await?,
                Err(damage) => diagnosis.found(&name, damage)?,
            }
        }
    }
}

impl Diagnosis {
    fn find(&mut self, job: Option<&str>, ailment: Ailment, detail: String) {
        self.findings.push(Finding { job: job.map(ToOwned::to_owned), ailment, detail });
    }

    /// A row of `job` that cannot be understood; any other error ends the examination.
    fn found(&mut self, job: &str, error: Error) -> Result<(), Error> {
        match error {
            Error::Inconsistent { .. } => {
                self.find(Some(job), Ailment::Unreadable, chain(&error));
                Ok(())
            }
            other => Err(other),
        }
    }
}

/// A job under examination.
struct Patient<'a> {
    row: &'a JobRow,
    attempts: Vec<AttemptRow>,
    decisions: Vec<Decision>,
    timeline: Timeline,
    /// What the readable chunks of each attempt said.
    chunks: BTreeMap<u32, ChunkCheck>,
}

async fn examine_job(database: &dyn Inspection, row: &JobRow, diagnosis: &mut Diagnosis) -> Result<(), Error> {
    let name = row.name.as_str();
    let attempts = match database.attempts(row.id).await {
        Ok(attempts) => attempts,
        Err(damage) => return diagnosis.found(name, damage),
    };
    diagnosis.counts.attempts += attempts.len() as u64;
    check_row(row, &attempts, diagnosis);
    check_owners(database, row, diagnosis).await?;
    let before = diagnosis.findings.len();
    let decisions = read_decisions(database, row, &attempts, diagnosis).await?;
    let people = decisions.iter().filter(|decision| matches!(decision.author, Author::Person(_)));
    let standing = Standing::new(&attempts, attempts.last().map_or(0, |row| row.attempt));
    let timeline = match Timeline::of_attempt(&row.initial_spec, people, &standing) {
        Ok(timeline) => timeline,
        Err(violations) => {
            diagnosis.find(Some(name), Ailment::Unreadable, format!("its spec is not valid: {violations}"));
            return Ok(());
        }
    };
    for attempt in database.attempts_of_telemetry(row.id).await? {
        if !attempts.iter().any(|row| i64::from(row.attempt) == attempt) {
            let detail = format!("telemetry of attempt {attempt}, which is not there");
            diagnosis.find(Some(name), Ailment::Orphan, detail);
        }
    }
    let mut patient = Patient { row, attempts, decisions, timeline, chunks: BTreeMap::new() };
    for attempt in &patient.attempts {
        let check = chunks::examine(database, row, attempt, diagnosis).await?;
        patient.chunks.insert(attempt.attempt, check);
    }
    if row.telemetry_removed_time.is_some() {
        diagnosis.counts.jobs_without_telemetry += 1;
        return Ok(());
    }
    let is_readable = diagnosis.findings[before..].iter().all(|finding| finding.ailment != Ailment::Unreadable);
    if is_readable {
        decisions::examine(database, &patient, diagnosis).await?;
        snapshot::examine(database, &patient, diagnosis).await?;
    }
    Ok(())
}

/// Whether the job's row and its attempts fit together.
fn check_row(row: &JobRow, attempts: &[AttemptRow], diagnosis: &mut Diagnosis) {
    let name = Some(row.name.as_str());
    if row.state.is_ended() != row.end_time.is_some() {
        let detail = match row.end_time {
            None => format!("it is {}, but has no end_time", row.state),
            Some(time) => format!("it is {}, but ended at {time}", row.state),
        };
        diagnosis.find(name, Ailment::Job, detail);
    }
    if row.telemetry_removed_time.is_some() && !row.state.is_ended() {
        let detail = format!("it is {}, but its telemetry has been removed", row.state);
        diagnosis.find(name, Ailment::Job, detail);
    }
    for (place, attempt) in (1..).zip(attempts) {
        let AttemptRow { attempt: number, parent_attempt, resume_step, reserved_end, .. } = attempt;
        if *number != place {
            let detail = format!("attempt {place} is missing: attempt {number} is in its place");
            return diagnosis.find(name, Ailment::Gap, detail);
        }
        if *parent_attempt + 1 != place {
            let detail = format!("attempt {place} goes on from attempt {parent_attempt}, not from the one before");
            diagnosis.find(name, Ailment::Job, detail);
        }
        if reserved_end < resume_step {
            let detail =
                format!("attempt {place} begins at step {resume_step}, past its reserved block's end {reserved_end}");
            diagnosis.find(name, Ailment::Job, detail);
        }
    }
}

/// Whether each row of the job is of the owner of its time.
async fn check_owners(database: &dyn Inspection, row: &JobRow, diagnosis: &mut Diagnosis) -> Result<(), Error> {
    for Misplaced { table, row: which, epoch, lowest } in database.misplaced(row.id, MOST_MISPLACED).await? {
        let detail = if epoch < lowest {
            format!("{which} in {table} is of the owner of epoch {epoch}, which that of epoch {lowest} had replaced")
        } else {
            format!("{which} in {table} is of the owner of epoch {epoch}, and the database has had none")
        };
        diagnosis.find(Some(row.name.as_str()), Ailment::Owner, detail);
    }
    Ok(())
}

/// The decisions that can be read. Notes unreadable and missing ones.
async fn read_decisions(
    database: &dyn Inspection,
    row: &JobRow,
    attempts: &[AttemptRow],
    diagnosis: &mut Diagnosis,
) -> Result<Vec<Decision>, Error> {
    let name = row.name.as_str();
    let newest = attempts.last().map_or(0, |row| row.attempt);
    let mut decisions = Vec::new();
    let mut after = None;
    loop {
        let page = database.decision_rows(row.id, after, PAGE).await?;
        let Some((last, _)) = page.last() else { break };
        after = Some(*last);
        for (_, read) in page {
            diagnosis.counts.decisions += 1;
            match read {
                Ok(read) if read.decision.attempt > newest => {
                    let detail = format!(
                        "decision {} of attempt {}, which is not there",
                        read.decision.id, read.decision.attempt
                    );
                    diagnosis.find(Some(name), Ailment::Orphan, detail);
                }
                Ok(read) => decisions.push(read.decision),
                Err(damage) => diagnosis.found(name, damage)?,
            }
        }
    }
    // A fork has no copy of its source's decisions that lie past it.
    if row.forked_from.is_none() {
        let mut seqs: Vec<u64> = decisions
            .iter()
            .filter_map(|decision| match decision.id {
                DecisionId::Person { seq } => Some(seq),
                DecisionId::Controller { .. } => None,
            })
            .collect();
        seqs.sort_unstable();
        for (wanted, seq) in (1..).zip(seqs) {
            if wanted != seq {
                let detail = format!("decision p{wanted} is missing, while p{seq} is there");
                diagnosis.find(Some(name), Ailment::Gap, detail);
                break;
            }
        }
    }
    Ok(decisions)
}

impl Patient<'_> {
    fn name(&self) -> &str {
        self.row.name.as_str()
    }

    fn people(&self) -> impl Iterator<Item = &Decision> {
        self.decisions.iter().filter(|decision| matches!(decision.author, Author::Person(_)))
    }

    /// Steps of `attempt` below this were shown to the controllers: they are complete, or the next attempt closed them.
    fn taken_end(&self, attempt: u32) -> u64 {
        let complete_end = self.chunks.get(&attempt).map_or(0, ChunkCheck::complete_end);
        let resumed = self.attempts.iter().filter(|row| row.parent_attempt == attempt).map(|row| row.resume_step);
        resumed.max().unwrap_or(0).max(complete_end)
    }
}
