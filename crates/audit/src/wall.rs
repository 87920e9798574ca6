//! When steps were trained. Telemetry has no times: only the starts of the attempts and the end of the job are known.

use lrs_model::job::Timestamp;
use lrs_model::number::exact;

/// A stretch of a history: the steps that one attempt trained of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// Its first step.
    pub start_step: u64,
    /// When the attempt was started.
    pub start_time: Timestamp,
}

/// Seconds since the first attempt of a history was started, by step. The time of a stretch is divided evenly over its
/// steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Wall {
    /// Steps and seconds, rising.
    anchors: Vec<(f64, f64)>,
}

impl Wall {
    /// From the stretches of a history, the step after its last, and the end of the job. Nothing is known while the job
    /// has not ended.
    pub(super) fn new(stretches: &[Stretch], end_step: u64, end_time: Option<Timestamp>) -> Self {
        let (Some(first), Some(end_time)) = (stretches.first(), end_time) else { return Self::default() };
        let seconds = |time: Timestamp| (exact(time.0) - exact(first.start_time.0)) / 1e6;
        let starts = stretches.iter().map(|stretch| (exact(stretch.start_step), seconds(stretch.start_time)));
        let mut anchors: Vec<(f64, f64)> = Vec::new();
        for (step, seconds) in starts.chain([(exact(end_step), seconds(end_time))]) {
            // Clocks may have been set back.
            if anchors.last().is_none_or(|last| step >= last.0 && seconds >= last.1) {
                anchors.push((step, seconds));
            }
        }
        Self { anchors }
    }

    /// Seconds from the first attempt's start to the job's end.
    pub(super) fn total(&self) -> Option<f64> {
        self.anchors.last().filter(|_| self.anchors.len() > 1).map(|(_, seconds)| *seconds)
    }

    /// Seconds until all steps below `step` had been trained.
    pub(super) fn until(&self, step: u64) -> Option<f64> {
        let step = exact(step);
        let pair = self.anchors.windows(2).find(|pair| step <= pair[1].0)?;
        let ((from, begin), (to, end)) = (pair[0], pair[1]);
        Some(if to > from { begin + (end - begin) * ((step - from) / (to - from)).max(0.0) } else { end })
    }

    /// Seconds in these ranges of steps.
    pub(super) fn within(&self, stretches: &[(u64, u64)]) -> Option<f64> {
        stretches.iter().map(|&(from, to)| Some(self.until(to)? - self.until(from)?)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(start_step: u64, seconds: i64) -> Stretch {
        Stretch { start_step, start_time: Timestamp(seconds * 1_000_000) }
    }

    #[test]
    fn the_time_of_each_stretch_is_shared_out_over_its_steps() {
        let wall = Wall::new(&[stretch(0, 1000), stretch(50, 1100)], 100, Some(Timestamp(1_120_000_000)));
        assert_eq!(wall.total(), Some(120.0));
        assert_eq!([0, 25, 50, 75, 100].map(|step| wall.until(step)), [0.0, 50.0, 100.0, 110.0, 120.0].map(Some));
        assert_eq!(wall.within(&[(0, 25), (75, 100)]), Some(60.0));
        assert_eq!(wall.until(101), None);
    }

    #[test]
    fn a_job_that_has_not_ended_has_no_wall_time() {
        let wall = Wall::new(&[stretch(0, 1000)], 100, None);
        assert_eq!((wall.total(), wall.until(5), wall.within(&[(0, 5)])), (None, None, None));
        assert_eq!(Wall::new(&[], 0, Some(Timestamp(0))).total(), None);
    }

    #[test]
    fn a_clock_that_was_set_back_gives_no_negative_time() {
        let wall = Wall::new(&[stretch(0, 1000), stretch(50, 900)], 100, Some(Timestamp(1_100_000_000)));
        assert_eq!((wall.total(), wall.until(50)), (Some(100.0), Some(50.0)));
    }
}
