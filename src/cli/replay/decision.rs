//! Decisions from messages to the model's values.

use crate::cli::{failure::Failure, heart};
use lrs_model::{
    decision::{Author, BaseRateChange, Cooldown, Decision, DecisionId, Effect, RateMove, RateShape, Topic},
    job::Timestamp,
};
use lrs_proto as proto;
use lrs_proto::decision as wire;

/// The decision in `message`.
///
/// # Errors
/// If this release does not know its effect or its author.
pub(in crate::cli) fn from_proto(message: proto::Decision) -> Result<Decision, Failure> {
    let name = message.name.clone();
    let wrong = |what: &str| Failure::invalid(format!("decision {name:?}: {what}"));
    let step = |value: i64| u64::try_from(value).map_err(|_| wrong("a step is negative"));
    let author = match message.author {
        Some(wire::Author::Person(person)) => Author::Person(person),
        Some(wire::Author::Controller(controller)) => Author::Controller(controller),
        None => return Err(wrong("it has no author")),
    };
    let effect = message.effect.ok_or_else(|| unknown(&name))?;
    Ok(Decision {
        id: id(&message.name).ok_or_else(|| wrong("this is no name of a decision"))?,
        attempt: u32::try_from(message.attempt).map_err(|_| wrong("its attempt is out of range"))?,
        step: step(message.step)?,
        effective_step: step(message.effective_step)?,
        author,
        reason: message.reason,
        evidence: message.evidence,
        effect: effect_from_proto(effect, &name)?,
        create_time: Timestamp(0),
    })
}

fn effect_from_proto(effect: wire::Effect, name: &str) -> Result<Effect, Failure> {
    let refused = |violations| Failure::violated(format!("decision {name:?} is not valid:"), &violations);
    Ok(match effect {
        wire::Effect::BaseRateChange(change) => Effect::BaseRates(rate_move(change, name)?),
        wire::Effect::Advice(advice) => {
            let topic = Topic::by_name(advice.topic().as_str_name()).ok_or_else(|| unknown(name))?;
            if advice.is_withdrawn { Effect::WithdrawAdvice(topic) } else { Effect::Advice(topic) }
        }
        wire::Effect::RateOverride(order) => Effect::Override(heart::rate_override(order).map_err(refused)?),
        wire::Effect::OverrideCleared(_) => Effect::ClearOverride,
        wire::Effect::SchedulePaused(_) => Effect::Pause,
        wire::Effect::ScheduleResumed(_) => Effect::Resume,
        wire::Effect::SpecChange(change) => {
            Effect::Spec(Box::new(heart::spec(change.spec.unwrap_or_default()).map_err(refused)?))
        }
    })
}

fn unknown(name: &str) -> Failure {
    Failure::invalid(format!("decision {name:?}: its effect is not known to this release"))
}

fn rate_move(change: proto::BaseRateChange, name: &str) -> Result<RateMove, Failure> {
    let shape = change.shape.unwrap_or_default();
    let whole = |field: &str, number: i64| {
        u64::try_from(number).map_err(|_| Failure::invalid(format!("decision {name:?}: its {field} is negative")))
    };
    let ramp_steps = whole("ramp_steps", shape.ramp_steps)?;
    let cooldown = match shape.cooldown {
        Some(cooldown) => Some(Cooldown {
            start_step: whole("cooldown.start_step", cooldown.start_step)?,
            steps: whole("cooldown.steps", cooldown.steps)?,
        }),
        None => None,
    };
    Ok(RateMove {
        groups: change.groups.into_iter().map(group).collect(),
        shape: RateShape { is_flat: shape.is_flat, ramp_steps, cooldown_share: shape.cooldown_share, cooldown },
        restore: Some(change.restore).filter(|restore| !restore.is_empty()),
    })
}

fn group(group: proto::GroupBaseRate) -> BaseRateChange {
    BaseRateChange { group: group.group, previous_base_lr: group.previous_base_lr, base_lr: group.base_lr }
}

/// The identifier at the end of a decision's name.
fn id(name: &str) -> Option<DecisionId> {
    DecisionId::parse(name.rsplit('/').next()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decision_comes_back_with_all_it_says() {
        let message = proto::Decision {
            name: "namespaces/a/jobs/b/decisions/a1-s4-c0".to_owned(),
            attempt: 1,
            step: 4,
            effective_step: 5,
            author: Some(wire::Author::Controller("0/reduce_lr_on_plateau".to_owned())),
            effect: Some(wire::Effect::BaseRateChange(proto::BaseRateChange {
                groups: vec![proto::GroupBaseRate { group: "g".to_owned(), previous_base_lr: 0.1, base_lr: 0.01 }],
                ..Default::default()
            })),
            ..Default::default()
        };
        let decision = from_proto(message).unwrap();
        assert_eq!((decision.step, decision.effective_step), (4, 5));
        let change = BaseRateChange { group: "g".to_owned(), previous_base_lr: 0.1, base_lr: 0.01 };
        assert_eq!(decision.effect, Effect::BaseRates(RateMove { groups: vec![change], ..RateMove::default() }));
    }

    #[test]
    fn a_decision_without_an_effect_is_refused() {
        let message = proto::Decision {
            name: "p1".to_owned(),
            author: Some(wire::Author::Person("ada".to_owned())),
            ..Default::default()
        };
        assert!(from_proto(message).unwrap_err().message.contains("not known to this release"));
    }
}
