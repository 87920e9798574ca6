//! The telemetry of an attempt, in the order of arrival.

use std::collections::BTreeMap;

use super::{Ailment, Diagnosis, PAGE};
use lrs_model::{
    job::{AttemptRow, JobRow},
    telemetry::{Agreement, Sample},
};
use lrs_store::{
    Chunk, Error,
    inspection::{ChunkRow, Inspection},
};

/// Problems of one attempt that are told one by one; the others are counted.
const MOST_DETAILS: usize = 5;

/// Reads the telemetry of an attempt and finds what cannot be right.
pub(super) async fn examine(
    database: &dyn Inspection,
    row: &JobRow,
    attempt: &AttemptRow,
    diagnosis: &mut Diagnosis,
) -> Result<ChunkCheck, Error> {
    let name = row.name.as_str();
    let mut check =
        ChunkCheck::new(attempt.resume_step, attempt.reporting_ranks.unwrap_or(row.initial_spec.reporting_ranks));
    let mut after = None;
    loop {
        let page = database.chunk_rows(row.id, attempt.attempt, after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.seq);
        for ChunkRow { seq, arrivals, chunk } in page {
            diagnosis.counts.chunks += 1;
            check.count(seq, arrivals.filter(|_| chunk.is_ok()));
            match chunk {
                Ok(chunk) => {
                    diagnosis.counts.samples += chunk.samples.len() as u64;
                    check.take(chunk);
                }
                Err(damage) => diagnosis.found(name, damage)?,
            }
        }
    }
    if row.telemetry_removed_time.is_none()
        && let Some(gap) = check.gap()
    {
        diagnosis.find(Some(name), Ailment::Gap, format!("attempt {}: {gap}", attempt.attempt));
    }
    let shown = check.problems.iter().take(MOST_DETAILS).map(String::as_str);
    let rest = check.problems.len().saturating_sub(MOST_DETAILS);
    let rest = (rest > 0).then(|| format!("{rest} more of the kind"));
    for problem in shown.chain(rest.as_deref()) {
        diagnosis.find(Some(name), Ailment::Overlap, format!("attempt {}: {problem}", attempt.attempt));
    }
    Ok(check)
}

/// What the chunks of an attempt said so far.
#[derive(Debug)]
pub(super) struct ChunkCheck {
    resume_step: u64,
    ranks: Vec<Rank>,
    /// How many chunks arrived, by the rows that say for how many they stand.
    arrived: i64,
    /// How many rows do not say for how many chunks they stand.
    uncounted: i64,
    last_seq: i64,
    problems: Vec<String>,
}

#[derive(Clone, Debug, Default)]
struct Rank {
    /// Steps below this are closed.
    through_end: u64,
    /// The samples of steps that are not closed.
    open: BTreeMap<u64, Sample>,
}

impl ChunkCheck {
    pub(super) fn new(resume_step: u64, ranks: u32) -> Self {
        let rank = Rank { through_end: resume_step, ..Rank::default() };
        let ranks = vec![rank; ranks as usize];
        Self { resume_step, ranks, arrived: 0, uncounted: 0, last_seq: -1, problems: Vec::new() }
    }

    /// Steps below this are complete.
    pub(super) fn complete_end(&self) -> u64 {
        self.ranks.iter().map(|rank| rank.through_end).min().unwrap_or(self.resume_step)
    }

    /// One more than the highest `seq`; 0 without chunks.
    pub(super) fn next_seq(&self) -> u64 {
        u64::try_from(self.last_seq + 1).unwrap_or(0)
    }

    /// A row that stands for `arrivals` chunks.
    fn count(&mut self, seq: i64, arrivals: Option<i64>) {
        self.last_seq = seq;
        match arrivals {
            Some(arrivals) => self.arrived += arrivals,
            None => self.uncounted += 1,
        }
    }

    /// The chunks that are missing, in words, if any are known to be.
    fn gap(&self) -> Option<String> {
        let wanted = self.last_seq + 1;
        let found = self.arrived + self.uncounted;
        let differs = if self.uncounted == 0 { found != wanted } else { found > wanted };
        differs.then(|| format!("{wanted} pieces of telemetry arrived, {found} are there"))
    }

    fn take(&mut self, chunk: Chunk) {
        let (rank, seq, ranks) = (chunk.rank, chunk.seq, self.ranks.len());
        let Some(known) = self.ranks.get_mut(rank as usize) else {
            self.problems.push(format!("chunk {seq} is of rank {rank}, of a job with {ranks} ranks"));
            return;
        };
        let place = |step| format!("chunk {seq} of rank {rank} has step {step}");
        for sample in chunk.samples {
            let step = sample.step;
            if step < self.resume_step {
                self.problems.push(format!("{}, below the first, {}", place(step), self.resume_step));
            } else if step < known.through_end {
                self.problems.push(format!("{}, which was closed before it came", place(step)));
            } else if let Some(before) = known.open.get_mut(&step) {
                if before.agreement(&sample) == Agreement::Conflict {
                    self.problems.push(format!("{}, which an earlier one says otherwise", place(step)));
                }
                before.merge(&sample);
            } else {
                known.open.insert(step, sample);
            }
        }
        let through_end = chunk.through_step.map_or(self.resume_step, |step| step + 1);
        if through_end < known.through_end {
            let (now, before) = (through_end, known.through_end);
            self.problems.push(format!(
                "chunk {seq} of rank {rank} closes the steps below {now}, the one before those below {before}"
            ));
        }
        known.through_end = known.through_end.max(through_end);
        known.open = known.open.split_off(&known.through_end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(step: u64, loss: f64) -> Sample {
        Sample { loss: Some(loss), ..Sample::new(step) }
    }

    fn chunk(seq: u64, through_step: u64, samples: Vec<Sample>) -> Chunk {
        Chunk { attempt: 1, rank: 0, seq, through_step: Some(through_step), samples }
    }

    fn checked(chunks: &[(Option<i64>, Chunk)]) -> ChunkCheck {
        let mut check = ChunkCheck::new(0, 1);
        for (arrivals, chunk) in chunks {
            check.count(i64::try_from(chunk.seq).unwrap(), *arrivals);
            check.take(chunk.clone());
        }
        check
    }

    #[test]
    fn a_step_that_is_completed_by_a_later_chunk_is_no_overlap() {
        let more = Sample { grad_norm: Some(2.0), ..sample(0, 1.0) };
        let check = checked(&[
            (Some(1), Chunk { through_step: None, ..chunk(0, 0, vec![sample(0, 1.0)]) }),
            (Some(1), chunk(1, 0, vec![more])),
        ]);
        assert_eq!((check.problems.len(), check.gap(), check.complete_end()), (0, None, 1));
    }

    #[test]
    fn a_chunk_that_is_missing_shows_in_the_count() {
        let (first, third) = (chunk(0, 0, vec![sample(0, 1.0)]), chunk(2, 2, vec![sample(2, 1.0)]));
        let merged = checked(&[(Some(1), first.clone()), (Some(2), third.clone())]);
        assert_eq!(merged.gap(), None);
        let unknown = checked(&[(Some(1), first.clone()), (None, third.clone())]);
        assert_eq!(unknown.gap(), None, "what was not counted may stand for any number");
        let missing = checked(&[(Some(1), first), (Some(1), third)]);
        assert_eq!(missing.gap().unwrap(), "3 pieces of telemetry arrived, 2 are there");
    }

    #[test]
    fn what_can_not_have_come_is_found() {
        let open = Chunk { through_step: None, ..chunk(0, 0, vec![sample(5, 1.0)]) };
        for (first, second, what) in [
            (chunk(0, 3, vec![]), chunk(1, 4, vec![sample(3, 1.0)]), "closed before"),
            (open, chunk(1, 9, vec![sample(5, 2.0)]), "otherwise"),
            (chunk(0, 9, vec![]), chunk(1, 4, vec![]), "the one before those below 10"),
            (chunk(0, 9, vec![]), Chunk { rank: 4, ..chunk(1, 9, vec![]) }, "of rank 4"),
        ] {
            let check = checked(&[(Some(1), first), (Some(1), second)]);
            assert!(check.problems.len() == 1 && check.problems[0].contains(what), "{what}: {:?}", check.problems);
        }
    }
}
