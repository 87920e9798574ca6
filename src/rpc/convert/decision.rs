//! Decisions, and the orders that become decisions.

use super::{int64, optional_whole, spec, time};
use lrs_engine::{JobView, warnings};
use lrs_model::{
    MAX_STEP,
    decision::{Author, BaseRateChange, Cooldown, Decision, Effect, OverrideSetting, RateOverride, RateShape, Topic},
    name::JobName,
    violation::Violations,
};
use lrs_proto as proto;
use lrs_proto::rate_override::Setting;

/// A decision of `job` on the wire.
#[must_use]
pub fn to_proto(job: &JobName, decision: &Decision) -> proto::Decision {
    proto::Decision {
        name: format!("{job}/decisions/{}", decision.id),
        attempt: decision.attempt.into(),
        step: int64(decision.step),
        effective_step: int64(decision.effective_step),
        reason: decision.reason.clone(),
        evidence: decision.evidence.clone(),
        create_time: Some(time::to_proto(decision.create_time)),
        author: Some(match &decision.author {
            Author::Person(name) => proto::decision::Author::Person(name.clone()),
            Author::Controller(name) => proto::decision::Author::Controller(name.clone()),
        }),
        effect: Some(effect_to_proto(&decision.effect)),
        expected_time: None,
        warnings: Vec::new(),
    }
}

/// The answer to an order about a job: the decision, when it is expected to be felt, and what is probably wrong with it.
#[must_use]
pub fn answer_to_proto(view: &JobView, decision: &Decision) -> proto::Decision {
    let pace = view.progress.as_ref().and_then(|progress| progress.pace).filter(|_| !view.is_stale());
    let expected = pace.and_then(|pace| pace.expected_time(decision.effective_step));
    proto::Decision {
        expected_time: expected.map(time::to_proto),
        warnings: warnings::of_order(&view.row.spec, decision.effective_step).into_iter().collect(),
        ..to_proto(&view.row.name, decision)
    }
}

/// A rate set by hand. The engine checks whether the job can have these groups and rates.
pub fn override_from_proto(order: proto::RateOverride, v: &mut Violations) -> RateOverride {
    let setting = match order.setting {
        Some(Setting::Fixed(fixed)) => OverrideSetting::Fixed(fixed.learning_rates),
        Some(Setting::Factor(factor)) => OverrideSetting::Factor(factor),
        None => {
            v.add("", "is required: exactly one of `fixed` and `factor`");
            OverrideSetting::Factor(1.0)
        }
    };
    RateOverride { setting, end_step: optional_whole(v, "end_step", order.end_step, 0, MAX_STEP) }
}

fn effect_to_proto(effect: &Effect) -> proto::decision::Effect {
    use proto::decision::Effect as Wire;
    match effect {
        Effect::BaseRates(change) => Wire::BaseRateChange(proto::BaseRateChange {
            groups: change.groups.iter().map(base_rate_to_proto).collect(),
            shape: shape_to_proto(&change.shape),
            restore: change.restore.clone().unwrap_or_default(),
        }),
        Effect::Advice(topic) => Wire::Advice(advice_to_proto(*topic, false)),
        Effect::WithdrawAdvice(topic) => Wire::Advice(advice_to_proto(*topic, true)),
        Effect::Override(order) => Wire::RateOverride(override_to_proto(order)),
        Effect::ClearOverride => Wire::OverrideCleared(proto::OverrideCleared {}),
        Effect::Pause => Wire::SchedulePaused(proto::SchedulePaused {}),
        Effect::Resume => Wire::ScheduleResumed(proto::ScheduleResumed {}),
        Effect::Spec(spec) => Wire::SpecChange(proto::SpecChange { spec: Some(spec::to_proto(spec)) }),
    }
}

fn base_rate_to_proto(change: &BaseRateChange) -> proto::GroupBaseRate {
    proto::GroupBaseRate {
        group: change.group.clone(),
        previous_base_lr: change.previous_base_lr,
        base_lr: change.base_lr,
    }
}

/// The shape of rates; `None` for rates that stay as they are.
fn shape_to_proto(shape: &RateShape) -> Option<proto::RateShape> {
    (*shape != RateShape::default()).then(|| proto::RateShape {
        is_flat: shape.is_flat,
        ramp_steps: int64(shape.ramp_steps),
        cooldown_share: shape.cooldown_share,
        cooldown: shape.cooldown.map(|Cooldown { start_step, steps }| proto::RateCooldown {
            start_step: int64(start_step),
            steps: int64(steps),
        }),
    })
}

fn advice_to_proto(topic: Topic, is_withdrawn: bool) -> proto::Advice {
    proto::Advice { topic: topic_to_proto(topic).into(), is_withdrawn }
}

fn topic_to_proto(topic: Topic) -> proto::advice::Topic {
    proto::advice::Topic::from_str_name(topic.name()).unwrap_or_default()
}

fn override_to_proto(order: &RateOverride) -> proto::RateOverride {
    proto::RateOverride {
        end_step: order.end_step.map(int64),
        setting: Some(match &order.setting {
            OverrideSetting::Fixed(rates) => Setting::Fixed(proto::FixedRates { learning_rates: rates.clone() }),
            OverrideSetting::Factor(factor) => Setting::Factor(*factor),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use lrs_model::{
        decision::{DecisionId, RateMove},
        job::Timestamp,
    };

    #[test]
    fn a_decision_is_named_below_its_job() {
        let decision = Decision {
            id: DecisionId::Controller { attempt: 1, step: 40, controller: 0 },
            attempt: 1,
            step: 40,
            effective_step: 41,
            author: Author::Controller("0/reduce_lr_on_plateau".into()),
            reason: "no improvement".into(),
            evidence: BTreeMap::from([("best".into(), f64::NAN)]),
            effect: Effect::BaseRates(RateMove {
                groups: vec![BaseRateChange { group: "default".into(), previous_base_lr: 1.0, base_lr: 0.1 }],
                ..RateMove::default()
            }),
            create_time: Timestamp(0),
        };
        let wire = to_proto(&JobName::new("a", "b").unwrap(), &decision);
        assert_eq!(wire.name, "namespaces/a/jobs/b/decisions/a1-s40-c0");
        assert!(wire.evidence["best"].is_nan());
        let Some(proto::decision::Effect::BaseRateChange(change)) = wire.effect else { panic!("{:?}", wire.effect) };
        assert_eq!(change.groups[0].base_lr.to_bits(), 0.1_f64.to_bits());
    }

    #[test]
    fn every_topic_is_known_on_both_sides() {
        let wire: Vec<_> = (1..).map_while(|number| proto::advice::Topic::try_from(number).ok()).collect();
        let topics: Vec<_> = Topic::ALL.iter().map(|&topic| topic_to_proto(topic)).collect();
        assert_eq!(topics, wire);
    }

    #[test]
    fn an_override_survives_the_wire() {
        let order = RateOverride {
            setting: OverrideSetting::Fixed(BTreeMap::from([("default".into(), 0.25)])),
            end_step: Some(100),
        };
        let mut violations = Violations::new();
        assert_eq!(override_from_proto(override_to_proto(&order), &mut violations), order);
        assert!(violations.is_empty());
    }

    #[test]
    fn an_override_without_a_setting_is_refused() {
        let mut violations = Violations::new();
        override_from_proto(proto::RateOverride { end_step: Some(-1), setting: None }, &mut violations);
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["", "end_step"]);
    }
}
