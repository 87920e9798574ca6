//! Directives and plans.

use super::int64;
use lrs_engine::{Curve, Directive, DirectiveAnswer, GroupRate, Source};
use lrs_model::decision::Action;
use lrs_proto as proto;

/// The rates of one group at one step.
#[must_use]
pub fn rate_to_proto(rate: &GroupRate) -> proto::GroupRate {
    proto::GroupRate {
        group: rate.group.as_ref().to_owned(),
        learning_rate: rate.learning_rate,
        momentum: rate.momentum,
        weight_decay: rate.weight_decay,
    }
}

/// The directive of a step for the trainer.
#[must_use]
pub fn to_proto(directive: &Directive, is_final: bool) -> proto::Directive {
    proto::Directive {
        step: int64(directive.step),
        rates: directive.rates.iter().map(rate_to_proto).collect(),
        is_final,
        source: match directive.source {
            Source::Schedule => proto::directive::Source::Schedule,
            Source::Override => proto::directive::Source::Override,
            Source::Pause => proto::directive::Source::Pause,
        }
        .into(),
        clip_norm: directive.told.bound.clip_norm,
        skip_above_norm: directive.told.bound.skip_above_norm,
        actions: directive.told.actions.iter().map(action_to_proto).collect(),
        stop_advice: directive.told.stop_advice.as_deref().unwrap_or_default().to_owned(),
    }
}

fn action_to_proto(action: &Action) -> proto::Action {
    use proto::action::Kind;
    proto::Action {
        kind: Some(match action {
            Action::Keep(id) => Kind::Snapshot(id.clone()),
            Action::Restore(id) => Kind::Restore(id.clone()),
            Action::Forget(id) => Kind::Forget(id.clone()),
        }),
    }
}

/// The complete answer to a call for a step.
#[must_use]
pub fn answer_to_proto(answer: &DirectiveAnswer) -> proto::GetLearningRateResponse {
    let plan = answer.plan.first().map(|first| proto::RatePlan {
        first_step: int64(first.step),
        final_steps: i32::try_from(answer.final_steps).unwrap_or(i32::MAX),
        groups: columns(&answer.plan),
    });
    proto::GetLearningRateResponse {
        attempt: answer.attempt.into(),
        directive: Some(to_proto(&answer.directive, answer.is_final)),
        plan,
    }
}

/// A curve.
#[must_use]
pub fn curve_to_proto(curve: &Curve) -> proto::PreviewScheduleResponse {
    proto::PreviewScheduleResponse {
        step: curve.steps.iter().copied().map(int64).collect(),
        groups: columns(&curve.directives),
        expanded_spec: Some(super::spec::to_proto(&curve.expanded)),
    }
}

/// Turns directives into columns, one set for each group. All directives must have the same groups in the same order.
fn columns(directives: &[Directive]) -> Vec<proto::GroupPlan> {
    let Some(first) = directives.first() else { return Vec::new() };
    let mut groups: Vec<_> = first
        .rates
        .iter()
        .map(|rate| proto::GroupPlan {
            group: rate.group.as_ref().to_owned(),
            learning_rate: Vec::with_capacity(directives.len()),
            momentum: Vec::with_capacity(if rate.momentum.is_some() { directives.len() } else { 0 }),
            weight_decay: Vec::with_capacity(if rate.weight_decay.is_some() { directives.len() } else { 0 }),
        })
        .collect();
    for directive in directives {
        for (column, rate) in groups.iter_mut().zip(&directive.rates) {
            column.learning_rate.push(rate.learning_rate);
            column.momentum.extend(rate.momentum);
            column.weight_decay.extend(rate.weight_decay);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_engine::Told;

    fn directive(step: u64, learning_rate: f64) -> Directive {
        let rate = GroupRate { group: "all".into(), learning_rate, momentum: Some(0.9), weight_decay: None };
        Directive { step, rates: vec![rate], source: Source::Pause, told: Told::default() }
    }

    #[test]
    fn a_plan_comes_in_columns_and_only_those_that_are_scheduled() {
        let answer = DirectiveAnswer {
            attempt: 2,
            directive: directive(5, 0.5),
            is_final: true,
            plan: vec![directive(6, 0.25), directive(7, 0.125)],
            final_steps: 1,
        };
        let response = answer_to_proto(&answer);
        let first = response.directive.unwrap();
        assert_eq!((first.step, first.is_final, first.source()), (5, true, proto::directive::Source::Pause));
        let plan = response.plan.unwrap();
        assert_eq!((plan.first_step, plan.final_steps), (6, 1));
        assert_eq!(plan.groups[0].learning_rate, [0.25, 0.125]);
        assert_eq!(plan.groups[0].momentum, [0.9, 0.9]);
        assert!(plan.groups[0].weight_decay.is_empty());
    }

    #[test]
    fn no_plan_is_sent_when_none_was_asked_for() {
        let answer = DirectiveAnswer {
            attempt: 1,
            directive: directive(0, 0.5),
            is_final: false,
            plan: Vec::new(),
            final_steps: 0,
        };
        assert_eq!(answer_to_proto(&answer).plan, None);
    }
}
