//! The median rule: which jobs of an experiment are not worth training on.
//!
//! At a rung, a step of the training, a job's best value so far is compared with the median of the running means of the
//! jobs that began before it; strictly worse is out. Golovin et al., "Google Vizier: A Service for Black-Box
//! Optimization", KDD 2017, section 3.2.1. A job that is out counts with its value at that rung, whether it trains on
//! or not; a job that has ended counts with its last value.
//!
//! The judgement of a job at a rung depends on the telemetry up to that step alone, the job's own and that of the jobs
//! that began before it. It does not depend on when or how often it is asked for, or on how fast the jobs are.

/// A job's objective over its steps so far. Costs: lower is better.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Standing {
    best: f64,
    sum: f64,
    count: u32,
}

impl Default for Standing {
    fn default() -> Self {
        Self { best: f64::INFINITY, sum: 0.0, count: 0 }
    }
}

impl Standing {
    /// Takes the value of the next step that has one. A value that is not finite is as bad as can be.
    pub(super) fn push(&mut self, cost: f64) {
        let cost = if cost.is_finite() { cost } else { f64::INFINITY };
        self.best = self.best.min(cost);
        self.sum += cost;
        self.count += 1;
    }

    fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / f64::from(self.count))
    }
}

/// A job's standing at the rungs it has reached, and whether it is out.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Contender {
    /// By rung. A job that has ended has one more, at the rung that it did not reach: its last standing.
    pub(super) standings: Vec<Standing>,
    /// Whether the job has ended.
    pub(super) has_ended: bool,
    /// The rung at which it was advised to stop.
    pub(super) out_at: Option<usize>,
}

impl Contender {
    /// Its standing at `rung`, which other jobs are compared with; `None` if it has not come so far yet.
    fn at(&self, rung: usize) -> Option<&Standing> {
        let rung = self.out_at.map_or(rung, |out_at| rung.min(out_at));
        self.standings.get(rung).or_else(|| self.standings.last().filter(|_| self.has_ended))
    }
}

/// Why a job is out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Out {
    /// Its best value: a cost.
    pub(super) best: f64,
    /// The median that it is worse than: a cost.
    pub(super) median: f64,
    /// How many jobs the median is taken over.
    pub(super) jobs: usize,
}

/// The judgement of a job at a rung.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Judgement {
    /// It is worth training on.
    In,
    /// It is not worth training on.
    Out(Out),
    /// An earlier job has not reached the rung yet.
    NotYet,
}

/// Judges a job that has `standing` at `rung` by those that began `before` it, if at least `min_jobs` of them have a
/// value there.
pub(super) fn judge<'a>(
    standing: &Standing,
    rung: usize,
    before: impl IntoIterator<Item = &'a Contender>,
    min_jobs: usize,
) -> Judgement {
    let mut means = Vec::new();
    for contender in before {
        match contender.at(rung) {
            Some(standing) => means.extend(standing.mean()),
            None => return Judgement::NotYet,
        }
    }
    let Some(median) = median(&mut means).filter(|_| means.len() >= min_jobs && standing.count > 0) else {
        return Judgement::In;
    };
    if standing.best > median {
        Judgement::Out(Out { best: standing.best, median, jobs: means.len() })
    } else {
        Judgement::In
    }
}

fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let upper = *values.get(values.len() / 2)?;
    let lower = if values.len().is_multiple_of(2) { values[values.len() / 2 - 1] } else { upper };
    // Not the half of their sum, which two infinities or very large costs would not survive alike.
    Some(if lower.to_bits() == upper.to_bits() { upper } else { lower / 2.0 + upper / 2.0 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn standing(costs: &[f64]) -> Standing {
        let mut standing = Standing::default();
        for cost in costs {
            standing.push(*cost);
        }
        standing
    }

    fn contender(rungs: &[&[f64]]) -> Contender {
        Contender { standings: rungs.iter().map(|costs| standing(costs)).collect(), ..Contender::default() }
    }

    #[test]
    fn a_best_value_worse_than_the_median_of_the_means_is_out() {
        // Means 2, 3 and 10.
        let before = [contender(&[&[3.0, 1.0]]), contender(&[&[3.0]]), contender(&[&[10.0]])];
        assert_eq!(judge(&standing(&[9.0, 3.0]), 0, &before, 3), Judgement::In, "as good as the median is good enough");
        let out = Out { best: 3.5, median: 3.0, jobs: 3 };
        assert_eq!(judge(&standing(&[3.5, 9.0]), 0, &before, 3), Judgement::Out(out));
        assert_eq!(judge(&standing(&[3.5]), 0, &before, 4), Judgement::In, "too few to compare with");
    }

    #[test]
    fn what_diverged_is_worse_than_any_number() {
        let before = [contender(&[&[1.0]]), contender(&[&[f64::NAN]]), contender(&[&[2.0]])];
        let Judgement::Out(out) = judge(&standing(&[f64::NAN, f64::NEG_INFINITY]), 0, &before, 1) else { panic!("in") };
        assert_eq!((out.best, out.median), (f64::INFINITY, 2.0));
        let all_diverged = [contender(&[&[f64::NAN]]), contender(&[&[f64::INFINITY]])];
        assert_eq!(judge(&standing(&[f64::NAN]), 0, &all_diverged, 1), Judgement::In);
    }

    #[test]
    fn nothing_is_said_before_those_that_began_earlier_are_there() {
        let before = [contender(&[&[1.0], &[1.0]]), contender(&[&[1.0]])];
        assert_eq!(judge(&standing(&[9.0]), 1, &before, 1), Judgement::NotYet);
        let ended = Contender { has_ended: true, ..before[1].clone() };
        assert!(matches!(judge(&standing(&[9.0]), 1, &[before[0].clone(), ended], 1), Judgement::Out(_)));
    }

    #[test]
    fn a_job_that_is_out_counts_with_what_it_had_then() {
        let mut trained_on = contender(&[&[4.0], &[4.0, 0.0], &[4.0, 0.0, 0.0]]);
        trained_on.out_at = Some(0);
        let stopped = Contender { out_at: Some(0), ..contender(&[&[4.0]]) };
        for before in [trained_on, stopped] {
            assert_eq!(judge(&standing(&[3.0]), 2, [&before], 1), Judgement::In);
        }
    }

    #[test]
    fn a_job_without_a_value_is_neither_judged_nor_counted() {
        assert_eq!(judge(&standing(&[]), 0, &[contender(&[&[1.0]])], 1), Judgement::In);
        assert_eq!(judge(&standing(&[9.0]), 0, &[contender(&[&[]])], 1), Judgement::In);
    }

    proptest! {
        #[test]
        fn the_order_of_the_others_makes_no_difference(costs in prop::collection::vec(-1e3..1e3f64, 1..12), own in -1e3..1e3f64) {
            let mut before: Vec<Contender> = costs.iter().map(|cost| contender(&[&[*cost]])).collect();
            let verdict = judge(&standing(&[own]), 0, &before, 1);
            before.reverse();
            prop_assert_eq!(verdict, judge(&standing(&[own]), 0, &before, 1));
        }

        #[test]
        fn a_better_job_is_never_out_where_a_worse_one_is_in(
            costs in prop::collection::vec(-1e3..1e3f64, 1..12), a in -1e3..1e3f64, b in -1e3..1e3f64,
        ) {
            let before: Vec<Contender> = costs.iter().map(|cost| contender(&[&[*cost]])).collect();
            let is_in = |cost| judge(&standing(&[cost]), 0, &before, 1) == Judgement::In;
            let (better, worse) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(!is_in(worse) || is_in(better));
        }
    }
}
