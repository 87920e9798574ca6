//! The effect of each decision: the slope of the loss before and after.

use std::collections::{BTreeSet, VecDeque};

use lrs_model::decision::{Author, Decision, Effect};
use lrs_stats::{order::median, rank::theil_sen};

use lrs_model::number::exact;

/// The most decisions of a job that get figures of their own.
pub const MAX_DECISIONS: usize = 100;
/// The most losses on each side of a decision.
const WINDOW: usize = 200;
/// The fewest finite losses on a side that a slope is computed from.
const MIN_WINDOW: usize = 8;

/// A job's decisions, gathered before its losses are read.
#[derive(Clone, Debug, Default)]
pub struct DecisionLog {
    by_controllers: u64,
    by_people: u64,
    advice: u64,
    shown: Vec<Decision>,
    /// The steps at which rates changed: no window reaches across such a step.
    boundaries: BTreeSet<u64>,
}

impl DecisionLog {
    /// Takes the next decision of the reported history, in the order of recording.
    pub fn take(&mut self, decision: Decision) {
        match (&decision.author, &decision.effect) {
            (_, Effect::Advice(_)) => self.advice += 1,
            (Author::Controller(_), _) => self.by_controllers += 1,
            (Author::Person(_), _) => self.by_people += 1,
        }
        if !matches!(decision.effect, Effect::Advice(_)) {
            self.boundaries.insert(decision.effective_step);
        }
        if self.shown.len() < MAX_DECISIONS {
            self.shown.push(decision);
        }
    }
}

/// A job's decisions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Decisions {
    /// Changes of rate by controllers.
    pub by_controllers: u64,
    /// Changes by people.
    pub by_people: u64,
    /// Advice, which changes no rate.
    pub advice: u64,
    /// The first [`MAX_DECISIONS`], by the step they take effect.
    pub shown: Vec<DecisionFigures>,
}

impl Decisions {
    /// The number of all decisions.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.by_controllers + self.by_people + self.advice
    }
}

/// A decision and the loss around it.
#[derive(Clone, Debug, PartialEq)]
pub struct DecisionFigures {
    /// The decision.
    pub decision: Decision,
    /// The loss before it took effect: the last 200 losses at most, none from before the change of rate before it.
    pub before: Option<Slope>,
    /// The loss after it: the first 200 losses at most, none from after the next change of rate.
    pub after: Option<Slope>,
    /// How the two compare; `None` for advice.
    pub change: Option<SlopeChange>,
}

/// The level and the slope of the loss over a window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slope {
    /// How many losses.
    pub count: u64,
    /// Their median.
    pub median: f64,
    /// Theil and Sen's slope, in losses a step.
    pub slope: f64,
    /// The lower end of its 95% interval.
    pub low: f64,
    /// The upper end.
    pub high: f64,
}

/// How a slope changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlopeChange {
    /// The loss fell faster: the interval after lies below the one before.
    Faster,
    /// The loss fell more slowly, or rose: the interval after lies above the one before.
    Slower,
    /// The intervals overlap.
    Unclear,
    /// One of the sides has fewer than 8 finite losses.
    TooFew,
}

/// The losses around changes of rate.
#[derive(Clone, Debug)]
pub(super) struct DecisionTally {
    known: DecisionLog,
    /// Boundaries that have not been reached.
    ahead: VecDeque<u64>,
    /// The boundary that the current segment begins at.
    since: Option<u64>,
    first: Vec<(u64, f64)>,
    last: VecDeque<(u64, f64)>,
    before: std::collections::BTreeMap<u64, Slope>,
    after: std::collections::BTreeMap<u64, Slope>,
}

impl DecisionTally {
    pub(super) fn new(log: DecisionLog) -> Self {
        Self {
            ahead: log.boundaries.iter().copied().collect(),
            known: log,
            since: None,
            first: Vec::new(),
            last: VecDeque::new(),
            before: std::collections::BTreeMap::new(),
            after: std::collections::BTreeMap::new(),
        }
    }

    pub(super) fn push(&mut self, step: u64, loss: f64) {
        while let Some(boundary) = self.ahead.pop_front_if(|boundary| *boundary <= step) {
            self.close(Some(boundary));
        }
        if !loss.is_finite() {
            return;
        }
        if self.first.len() < WINDOW {
            self.first.push((step, loss));
        }
        if self.last.len() == WINDOW {
            self.last.pop_front();
        }
        self.last.push_back((step, loss));
    }

    /// Ends the segment at `boundary`, or at the end of the run.
    fn close(&mut self, boundary: Option<u64>) {
        let is_shown = |step: &u64| self.known.shown.iter().any(|decision| decision.effective_step == *step);
        if let Some(since) = self.since.filter(is_shown)
            && let Some(slope) = slope(&self.first)
        {
            self.after.insert(since, slope);
        }
        if let Some(boundary) = boundary.filter(is_shown)
            && let Some(slope) = slope(self.last.make_contiguous())
        {
            self.before.insert(boundary, slope);
        }
        self.since = boundary;
        self.first.clear();
        self.last.clear();
    }

    pub(super) fn figures(mut self) -> Decisions {
        self.close(None);
        let DecisionLog { by_controllers, by_people, advice, mut shown, .. } = self.known;
        shown.sort_by_key(|decision| (decision.effective_step, decision.id));
        let figures = |decision: Decision| {
            if matches!(decision.effect, Effect::Advice(_)) {
                return DecisionFigures { decision, before: None, after: None, change: None };
            }
            let step = decision.effective_step;
            let (before, after) = (self.before.get(&step).copied(), self.after.get(&step).copied());
            DecisionFigures { decision, before, after, change: Some(change(before, after)) }
        };
        Decisions { by_controllers, by_people, advice, shown: shown.into_iter().map(figures).collect() }
    }
}

fn change(before: Option<Slope>, after: Option<Slope>) -> SlopeChange {
    match (before, after) {
        (Some(before), Some(after)) if after.high < before.low => SlopeChange::Faster,
        (Some(before), Some(after)) if after.low > before.high => SlopeChange::Slower,
        (Some(_), Some(_)) => SlopeChange::Unclear,
        _ => SlopeChange::TooFew,
    }
}

/// The slope of losses at rising steps, taken as evenly spaced between the first and the last.
fn slope(points: &[(u64, f64)]) -> Option<Slope> {
    let (first, last) = (points.first()?, points.last()?);
    if points.len() < MIN_WINDOW {
        return None;
    }
    let values: Vec<f64> = points.iter().map(|(_, loss)| *loss).collect();
    let count = points.len() as u64;
    let spacing = exact(last.0 - first.0) / exact(count - 1);
    let found = theil_sen(&values)?;
    Some(Slope {
        count,
        median: median(&values),
        slope: found.slope / spacing,
        low: found.low / spacing,
        high: found.high / spacing,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::{
        decision::{BaseRateChange, DecisionId, RateMove, Topic},
        job::Timestamp,
    };

    fn decision(effective_step: u64, effect: Effect) -> Decision {
        let step = effective_step - 1;
        Decision {
            id: DecisionId::Controller { attempt: 1, step, controller: 0 },
            attempt: 1,
            step,
            effective_step,
            author: Author::Controller("0/auto".to_owned()),
            reason: String::new(),
            evidence: std::collections::BTreeMap::new(),
            effect,
            create_time: Timestamp(0),
        }
    }

    fn cut(effective_step: u64) -> Decision {
        let change = BaseRateChange { group: "default".to_owned(), previous_base_lr: 1.0, base_lr: 0.5 };
        decision(effective_step, Effect::BaseRates(RateMove { groups: vec![change], ..RateMove::default() }))
    }

    fn figures(decisions: Vec<Decision>, losses: impl IntoIterator<Item = f64>) -> Decisions {
        let mut log = DecisionLog::default();
        for decision in decisions {
            log.take(decision);
        }
        let mut tally = DecisionTally::new(log);
        for (step, loss) in (0..).zip(losses) {
            tally.push(step, loss);
        }
        tally.figures()
    }

    #[test]
    fn a_cut_after_which_the_loss_falls_faster_is_told_from_one_after_which_it_stands() {
        let loss = |i: u32| match i {
            0..300 => 4.0 - 0.001 * f64::from(i),
            300..600 => 3.7 - 0.005 * f64::from(i - 300),
            _ => 2.2,
        };
        let found = figures(vec![cut(300), cut(600)], (0..900).map(loss));
        assert_eq!(
            found.shown.iter().map(|shown| shown.change).collect::<Vec<_>>(),
            [Some(SlopeChange::Faster), Some(SlopeChange::Slower)]
        );
        let (before, after) = (found.shown[0].before.unwrap(), found.shown[0].after.unwrap());
        assert_eq!((before.count, after.count), (200, 200));
        assert!((before.slope + 0.001).abs() < 1e-12 && (after.slope + 0.005).abs() < 1e-12, "{before:?} {after:?}");
        assert_eq!((found.by_controllers, found.total()), (2, 2));
    }

    #[test]
    fn no_window_reaches_across_another_change_of_rate() {
        let found = figures(vec![cut(100), cut(120)], (0..1000).map(f64::from));
        let counts = |side: fn(&DecisionFigures) -> Option<Slope>| -> Vec<_> {
            found.shown.iter().map(|shown| side(shown).map(|slope| slope.count)).collect()
        };
        assert_eq!(counts(|shown| shown.before), [Some(100), Some(20)]);
        assert_eq!(counts(|shown| shown.after), [Some(20), Some(200)]);
    }

    #[test]
    fn noise_that_goes_on_is_no_change_and_few_losses_are_too_few() {
        let noise = |i: u32| f64::from((i * 31) % 17);
        let found = figures(vec![cut(100), cut(196)], (0..200).map(noise));
        assert_eq!(
            found.shown.iter().map(|shown| shown.change).collect::<Vec<_>>(),
            [Some(SlopeChange::Unclear), Some(SlopeChange::TooFew)]
        );
        assert_eq!(figures(vec![cut(500)], (0..200).map(noise)).shown[0].change, Some(SlopeChange::TooFew));
    }

    #[test]
    fn a_slope_is_by_the_step_whatever_the_spacing() {
        let points: Vec<(u64, f64)> = (0..20).map(|i| (i * 10, exact(i))).collect();
        assert!((slope(&points).unwrap().slope - 0.1).abs() < 1e-15);
    }

    #[test]
    fn advice_has_no_slopes_and_ends_no_window() {
        let found = figures(vec![decision(100, Effect::Advice(Topic::Stop)), cut(150)], (0..300).map(f64::from));
        assert_eq!((found.shown[0].change, found.advice, found.by_controllers), (None, 1, 1));
        assert_eq!(found.shown[1].before.unwrap().count, 150);
    }

    #[test]
    fn only_the_first_decisions_are_looked_at_and_all_are_counted() {
        let found = figures((1..=150).map(|i| cut(i * 10)).collect(), (0..2000).map(f64::from));
        assert_eq!((found.shown.len(), found.total()), (MAX_DECISIONS, 150));
        assert_eq!(found.shown[99].after.unwrap().count, 10);
    }
}
