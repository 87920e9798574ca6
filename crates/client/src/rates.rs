//! The rates of each step: the final directive if the client has it, else the plan, else the rates of the step before.
//!
//! A pure value: it takes in the server's answers and gives the best rates known so far.

use std::collections::BTreeMap;

use lrs_proto as proto;
use lrs_proto::{GetLearningRateResponse, GroupPlan, GroupRate};

/// The most final directives kept ahead of the trainer. The server hands out fewer (`JobSpec.commit_ahead` is at most
/// 1024).
const AHEAD: usize = 4096;

/// The rates to train a step at.
#[derive(Clone, Debug, PartialEq)]
pub struct Directive {
    /// The step.
    pub step: u64,
    /// The rates of each parameter group, in the order of the spec; never empty.
    pub rates: Vec<GroupRate>,
    /// How certain the rates are.
    pub standing: Standing,
}

impl Directive {
    /// The learning rate of the first group.
    #[must_use]
    pub fn learning_rate(&self) -> f64 {
        self.rates.first().map_or(f64::NAN, |rate| rate.learning_rate)
    }
}

/// How certain the rates of a directive are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// Final: every rank gets the same rates for this step, for ever.
    Final,
    /// From the service's provisional plan, because the final rates did not come in time.
    Planned,
    /// The rates of the step before, because there was no plan for the step either.
    Held,
}

#[derive(Debug)]
pub(super) struct RateBook {
    finals: BTreeMap<u64, Vec<GroupRate>>,
    plan: Plan,
    // The rates of the newest step; never empty.
    last: Vec<GroupRate>,
    next_step: u64,
}

/// Rates of the steps from `first_step` on; they hold until a final directive contradicts them.
#[derive(Debug, Default)]
struct Plan {
    first_step: u64,
    rates: Vec<Vec<GroupRate>>,
    asked_at: u64,
}

impl Plan {
    fn at(&self, step: u64) -> Option<&Vec<GroupRate>> {
        self.rates.get(usize::try_from(step.checked_sub(self.first_step)?).ok()?)
    }

    fn end(&self) -> u64 {
        self.first_step + self.rates.len() as u64
    }
}

impl RateBook {
    /// Begins with the answer for the first step; `None` if the answer has no rates.
    pub(super) fn try_new(answer: GetLearningRateResponse) -> Option<Self> {
        let first = answer.directive.as_ref().filter(|directive| !directive.rates.is_empty())?;
        let next_step = u64::try_from(first.step).ok()?;
        let mut book = Self { finals: BTreeMap::new(), plan: Plan::default(), last: first.rates.clone(), next_step };
        book.take_plan(answer);
        Some(book)
    }

    /// Takes a directive from the stream.
    pub(super) fn take_final(&mut self, directive: proto::Directive) {
        let Ok(step) = u64::try_from(directive.step) else { return };
        if !directive.is_final || directive.rates.is_empty() || step < self.next_step {
            return;
        }
        if self.plan.at(step).is_some_and(|planned| *planned != directive.rates) {
            // A decision was taken after the plan was made, so the rest of the plan is no longer valid.
            self.plan.rates.clear();
        }
        if self.finals.len() < AHEAD {
            self.finals.insert(step, directive.rates);
        }
    }

    /// Takes the answer to a request for a step and the steps after it.
    pub(super) fn take_plan(&mut self, answer: GetLearningRateResponse) {
        let Some(directive) = answer.directive.filter(|directive| !directive.rates.is_empty()) else { return };
        let Ok(step) = u64::try_from(directive.step) else { return };
        let mut rates = vec![directive.rates.clone()];
        let plan = answer.plan.unwrap_or_default();
        if plan.first_step == directive.step + 1 {
            rates.extend(by_step(&plan.groups));
        }
        let final_steps = usize::try_from(plan.final_steps).unwrap_or(0);
        let finals: Vec<_> = rates.iter().skip(1).take(final_steps).cloned().collect();
        self.plan = Plan { first_step: step, rates, asked_at: step };
        let after = directive.step + 1;
        self.take_final(directive);
        for (rates, later) in finals.into_iter().zip(after..) {
            self.take_final(proto::Directive { step: later, rates, is_final: true, ..Default::default() });
        }
    }

    /// The final directive of a step, if it has come. Earlier steps are forgotten.
    pub(super) fn take_directive(&mut self, step: u64) -> Option<Directive> {
        self.advance_to(step);
        let rates = self.finals.remove(&step)?;
        self.last.clone_from(&rates);
        Some(Directive { step, rates, standing: Standing::Final })
    }

    /// The rates to go on with when the final directive of a step has not come.
    pub(super) fn fall_back(&mut self, step: u64) -> Directive {
        self.advance_to(step);
        let (rates, standing) = match self.plan.at(step) {
            Some(rates) => (rates.clone(), Standing::Planned),
            None => (self.last.clone(), Standing::Held),
        };
        self.last.clone_from(&rates);
        Directive { step, rates, standing }
    }

    /// The newest step asked for, or the first step.
    pub(super) fn next_step(&self) -> u64 {
        self.next_step
    }

    /// The step from which to ask for a new plan, if the present plan is contradicted or ends within `margin` steps.
    pub(super) fn wants_plan(&self, margin: u64) -> Option<u64> {
        let step = self.next_step;
        let short = self.plan.end() < step.saturating_add(margin);
        // A plan that is short right after it was asked for reaches to the end of what the server knows: do not ask
        // again and again.
        (self.plan.rates.is_empty() || short && step >= self.plan.asked_at.saturating_add(margin)).then_some(step)
    }

    fn advance_to(&mut self, step: u64) {
        self.next_step = self.next_step.max(step);
        self.finals = self.finals.split_off(&self.next_step);
    }
}

/// Turns columns of each group into rates of each step.
fn by_step(groups: &[GroupPlan]) -> Vec<Vec<GroupRate>> {
    let steps = groups.iter().map(|group| group.learning_rate.len()).min().unwrap_or(0);
    let rate = |group: &GroupPlan, index: usize| GroupRate {
        group: group.group.clone(),
        learning_rate: group.learning_rate.get(index).copied().unwrap_or(f64::NAN),
        momentum: group.momentum.get(index).copied(),
        weight_decay: group.weight_decay.get(index).copied(),
    };
    (0..steps).map(|index| groups.iter().map(|group| rate(group, index)).collect()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::RatePlan;

    fn rates(learning_rate: f64) -> Vec<GroupRate> {
        vec![GroupRate { group: "default".to_owned(), learning_rate, momentum: None, weight_decay: None }]
    }

    fn directive(step: i64, learning_rate: f64) -> proto::Directive {
        proto::Directive { step, rates: rates(learning_rate), is_final: true, ..Default::default() }
    }

    /// A provisional answer for `step`, with these rates from `step` on; `final_steps` steps after the first are final.
    fn answer(step: i64, planned: &[f64], final_steps: i32) -> GetLearningRateResponse {
        let group = GroupPlan {
            group: "default".to_owned(),
            learning_rate: planned[1..].to_vec(),
            momentum: vec![],
            weight_decay: vec![],
        };
        GetLearningRateResponse {
            attempt: 1,
            directive: Some(proto::Directive { is_final: false, ..directive(step, planned[0]) }),
            plan: Some(RatePlan { first_step: step + 1, final_steps, groups: vec![group] }),
        }
    }

    fn book(planned: &[f64], final_steps: i32) -> RateBook {
        RateBook::try_new(answer(0, planned, final_steps)).unwrap()
    }

    fn summary(directive: impl Into<Option<Directive>>) -> Option<(f64, Standing)> {
        directive.into().map(|directive| (directive.learning_rate(), directive.standing))
    }

    #[test]
    fn an_answer_without_rates_is_no_beginning() {
        assert!(RateBook::try_new(GetLearningRateResponse::default()).is_none());
        let empty = proto::Directive { rates: vec![], ..directive(0, 0.1) };
        assert!(
            RateBook::try_new(GetLearningRateResponse { directive: Some(empty), ..answer(0, &[0.1], 0) }).is_none()
        );
    }

    #[test]
    fn the_final_directive_outranks_the_plan() {
        let mut book = book(&[0.1, 0.2], 0);
        assert_eq!(book.take_directive(0), None);
        book.take_final(directive(0, 0.1));
        assert_eq!(summary(book.take_directive(0)), Some((0.1, Standing::Final)));
    }

    #[test]
    fn without_a_final_directive_the_plan_is_followed_and_after_it_the_last_rate_is_held() {
        let mut book = book(&[0.1, 0.2], 0);
        assert_eq!(summary(book.fall_back(0)), Some((0.1, Standing::Planned)));
        assert_eq!(summary(book.fall_back(1)), Some((0.2, Standing::Planned)));
        assert_eq!(summary(book.fall_back(2)), Some((0.2, Standing::Held)));
    }

    #[test]
    fn a_plan_that_a_final_directive_contradicts_is_no_longer_followed() {
        let mut book = book(&[0.4, 0.4, 0.4], 0);
        book.take_final(directive(1, 0.2));
        assert_eq!(summary(book.take_directive(1)), Some((0.2, Standing::Final)));
        assert_eq!(summary(book.fall_back(2)), Some((0.2, Standing::Held)));
        assert_eq!(book.wants_plan(1), Some(2));
    }

    #[test]
    fn the_final_part_of_a_plan_is_final() {
        let mut book = book(&[0.1, 0.2, 0.3], 1);
        assert_eq!(summary(book.take_directive(1)), Some((0.2, Standing::Final)));
        assert_eq!(book.take_directive(2), None);
    }

    #[test]
    fn a_directive_of_the_past_changes_nothing() {
        let mut book = book(&[0.1; 8], 0);
        assert_eq!(summary(book.fall_back(5)), Some((0.1, Standing::Planned)));
        book.take_final(directive(4, 0.9));
        assert_eq!(summary(book.fall_back(6)), Some((0.1, Standing::Planned)));
    }

    #[test]
    fn a_new_plan_is_wanted_before_the_old_one_runs_out_but_not_in_a_circle() {
        let mut book = book(&[0.1; 8], 0);
        assert_eq!(book.wants_plan(4), None);
        book.fall_back(5);
        assert_eq!(book.wants_plan(4), Some(5));
        book.take_plan(answer(5, &[0.1; 2], 0));
        assert_eq!(book.wants_plan(4), None, "the server has no more to say about steps this far");
    }

    #[test]
    fn final_directives_ahead_of_the_trainer_are_bounded() {
        let mut book = book(&[0.1], 0);
        for step in 0..10_000 {
            book.take_final(directive(step, 0.1));
        }
        assert_eq!(book.finals.len(), AHEAD);
    }
}
