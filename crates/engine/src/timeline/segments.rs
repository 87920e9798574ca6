//! People's decisions laid out over the steps.
//!
//! Of two decisions of a kind, the one that was taken later is in force wherever both would be: so an order given after
//! a rewind is not undone by an older one that lies ahead.

use std::sync::Arc;

use crate::compiled::CompiledSpec;
use lrs_model::{decision::RateOverride, spec::Spec};

/// A stretch of steps with the same people's decisions in force.
#[derive(Clone, Debug)]
pub struct Segment {
    /// The first step.
    pub start: u64,
    /// What the schedule's clock shows at the first step.
    pub clock: u64,
    /// The step from which the clock has stood still, if it does.
    pub paused_at: Option<u64>,
    pub spec: Arc<CompiledSpec>,
    pub rate_override: Option<Arc<RateOverride>>,
    /// Why a person advises to stop.
    pub stop_advice: Option<Arc<str>>,
    /// For each group the step at which a person last set its base rate. Controllers' moves count from there on.
    pub base_since: Arc<[u64]>,
    /// The step at which the controllers with an opening began.
    pub opened_at: u64,
}

/// What a person ordered, where it takes effect.
pub struct Ordered {
    /// The first step at which it is in force.
    pub step: u64,
    /// Its place among the decisions of people.
    pub seq: u64,
    /// The order.
    pub kind: Kind,
}

/// What was ordered.
pub enum Kind {
    /// Another spec.
    Spec(Arc<CompiledSpec>),
    /// An override, or none.
    Override(Option<Arc<RateOverride>>),
    /// The override of the same `seq` is over.
    OverrideEnds,
    /// A pause, or its end.
    Paused(bool),
    /// Advice to stop, or its withdrawal.
    Stop(Option<Arc<str>>),
}

/// Segments from orders by rising step; the first order is a spec at step 0.
pub fn lay_out(orders: Vec<Ordered>) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    let (mut spec_seq, mut override_seq, mut pause_seq, mut stop_seq) = (0, 0, 0, 0);
    for Ordered { step, seq, kind } in orders {
        let mut now = match segments.last() {
            None => match &kind {
                Kind::Spec(spec) => Segment {
                    start: 0,
                    clock: 0,
                    paused_at: None,
                    spec: spec.clone(),
                    rate_override: None,
                    stop_advice: None,
                    base_since: vec![0; spec.spec().groups.len()].into(),
                    opened_at: 0,
                },
                _ => continue,
            },
            Some(last) => Segment {
                start: step,
                clock: if last.paused_at.is_some() { last.clock } else { last.clock + (step - last.start) },
                ..last.clone()
            },
        };
        match kind {
            Kind::Spec(spec) if seq >= spec_seq => {
                spec_seq = seq;
                now.base_since = base_since(&now, &spec);
                if spec.opening().is_some() && !goes_on(&now, &spec) {
                    now.opened_at = now.start;
                    now.base_since = vec![now.start; spec.spec().groups.len()].into();
                }
                now.spec = spec;
            }
            Kind::Override(order) if seq >= override_seq => {
                override_seq = seq;
                now.rate_override = order;
            }
            Kind::OverrideEnds if seq == override_seq => now.rate_override = None,
            Kind::Paused(paused) if seq >= pause_seq => {
                pause_seq = seq;
                now.paused_at = paused.then(|| now.paused_at.unwrap_or(now.start));
            }
            Kind::Stop(advice) if seq >= stop_seq => {
                stop_seq = seq;
                now.stop_advice = advice;
            }
            // A later order is in force already.
            _ => continue,
        }
        segments.pop_if(|last| last.start == now.start);
        segments.push(now);
    }
    segments
}

/// The step from which controllers' moves count for each group when `next` follows on `now`. A base rate that a person
/// changes starts afresh, and so does a group that is added at the end. With other groups all base rates start afresh.
fn base_since(now: &Segment, next: &CompiledSpec) -> Arc<[u64]> {
    let (old, new) = (&now.spec.spec().groups, &next.spec().groups);
    let goes_on = old.len() <= new.len() && old.iter().zip(new).all(|(a, b)| a.name == b.name);
    new.iter()
        .enumerate()
        .map(|(i, group)| {
            let before = old.get(i).filter(|before| goes_on && before.base_lr.to_bits() == group.base_lr.to_bits());
            if before.is_some() { now.base_since[i] } else { now.start }
        })
        .collect()
}

/// Whether the controllers of `now` that have an opening go on under `next`: they and everything they began with stay
/// the same. Groups may be added at the end.
fn goes_on(now: &Segment, next: &CompiledSpec) -> bool {
    let (old, new) = (now.spec.spec(), next.spec());
    let steered_by = |spec: &Spec| spec.objective.as_ref().map(|one| (one.metric.clone(), one.mode));
    let same_loop = old.controllers == new.controllers && steered_by(old) == steered_by(new);
    same_loop && new.groups.starts_with(&old.groups) && old.schedule == new.schedule
}
