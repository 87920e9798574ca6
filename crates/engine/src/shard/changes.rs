//! People's decisions: durable before anyone sees them, and in force after the last step that was given out.

use std::collections::BTreeMap;

use super::{Context, Owned, Reply, Shard};
use crate::{
    api::{Change, Error, Event, JobView, Order},
    commit::{Joint, join},
    compiled::{CompiledSpec, same_rates},
    lineage::Standing,
    meters,
    native::native,
    record,
    ticket::Ticket,
    timeline::Timeline,
};
use lrs_control::{self as control, settled};
use lrs_model::{
    change::{Change as Record, ChangeKind},
    decision::{Author, Decision, DecisionId, Effect, OverrideSetting, RateOverride, Topic},
    job::{JobRow, State, Timestamp},
    name::JobId,
    spec::Spec,
    violation::Violations,
};
use lrs_runtime::heavy::in_place;
use lrs_store::Write;

/// The most groups that a refusal names.
const NAMED_GROUPS: usize = 64;

/// A change on its way to the store.
struct Pending {
    decision: Option<Decision>,
    request_id: Option<String>,
    timeline: Option<Timeline>,
    row: Option<JobRow>,
    record: Record,
}

impl Shard {
    pub(super) fn change(
        &mut self,
        id: JobId,
        change: Change,
        order: Order,
        ticket: Ticket,
        joint: Option<Joint>,
        reply: Reply<(JobView, Option<Decision>)>,
    ) {
        let context = self.context.clone();
        let Some(owned) = self.jobs.get_mut(&id) else { return };
        let pending = match owned.prepare(change, order, context.settings.max_person_decisions, context.clock.now()) {
            Ok(Prepared::Commit(pending)) => *pending,
            Ok(Prepared::Known(decision)) => {
                let _ = reply.send(Ok((owned.view(&context), decision.map(|decision| *decision))));
                return;
            }
            Err(error) => {
                let writes = owned.release(&context);
                context.pipeline.submit_own(writes, &owned.entry);
                owned.entry.break_trail();
                let _ = reply.send(Err(error));
                return;
            }
        };
        let mut writes = Vec::new();
        if let Some(decision) = &pending.decision {
            writes.push(Write::RecordDecision(id, Box::new(decision.clone()), pending.request_id.clone()));
        }
        writes.push(record::write(&pending.record));
        if let Some(row) = &pending.row {
            writes.push(Write::UpdateJob(Box::new(row.clone())));
        } else {
            writes.push(Write::MarkActive(id, pending.record.create_time));
        }
        owned.changing = true;
        let committed = match joint {
            Some(joint) => join(joint, writes, ticket),
            None => context.pipeline.submit(id, writes, None, None, Some(ticket)),
        };
        self.after_commit(committed, move |shard, result| {
            let Some(owned) = shard.jobs.get_mut(&id) else { return };
            let decision = pending.decision.clone();
            let writes = match &result {
                Ok(()) => owned.apply(&shard.context, pending),
                Err(_) => owned.release(&shard.context),
            };
            shard.context.pipeline.submit_own(writes, &owned.entry);
            owned.entry.break_trail();
            let answer = result.map(|()| (owned.view(&shard.context), decision));
            let _ = reply.send(answer);
            shard.changed(id);
        });
    }
}

enum Prepared {
    /// To be written.
    Commit(Box<Pending>),
    /// Nothing has to change; the decision that changed it, if one did.
    Known(Option<Box<Decision>>),
}

impl Owned {
    fn prepare(&mut self, change: Change, order: Order, limit: usize, now: Timestamp) -> Result<Prepared, Error> {
        let change = match change {
            Change::Spec { spec, version } => {
                Change::Spec { spec: Box::new(settled(*spec, Some(&self.entry.row().spec))), version }
            }
            change => change,
        };
        if let Some(known) = self.known_request(&change, &order)? {
            return Ok(Prepared::Known(Some(Box::new(known))));
        }
        let row = self.entry.row();
        let wrong_state = |problem: &str| Error::WrongState {
            job: self.entry.name.clone(),
            state: row.state,
            problem: problem.to_owned(),
        };
        let (author, reason) = (order.author.clone(), order.reason.clone());
        let mut evidence = BTreeMap::new();
        let (effect, next_row) = match change {
            Change::Pause => match row.state {
                State::Paused => return Ok(Prepared::Known(None)),
                State::Running => (Effect::Pause, Some(self.with_state(now, State::Paused, author, reason))),
                _ => return Err(wrong_state("only a running job can be paused")),
            },
            Change::Resume => match row.state {
                State::Running => return Ok(Prepared::Known(None)),
                State::Paused => (Effect::Resume, Some(self.with_state(now, State::Running, author, reason))),
                _ => return Err(wrong_state("only a paused job can be resumed")),
            },
            Change::Override(rate_override) => {
                self.check_override(&rate_override)?;
                (Effect::Override(rate_override), None)
            }
            Change::ClearOverride => (Effect::ClearOverride, None),
            Change::AdviseStop { evidence: figures } => {
                evidence = figures;
                (Effect::Advice(Topic::Stop), None)
            }
            Change::WithdrawStop => (Effect::WithdrawAdvice(Topic::Stop), None),
            Change::Spec { spec, version } => {
                if version != row.version {
                    return Err(Error::EtagMismatch {
                        job: self.entry.name.clone(),
                        expected: lrs_model::etag::of(version),
                        found: lrs_model::etag::of(row.version),
                    });
                }
                check_spec_change(&row.spec, &spec)?;
                if *spec == row.spec {
                    return Ok(Prepared::Known(None));
                }
                let next_row = self.next_row(now, |row| row.spec = (*spec).clone());
                if same_rates(&row.spec, &spec) {
                    let detail = record::fields_changed(&row.spec, &spec);
                    let record = Record { detail, ..record::change(&row, ChangeKind::Updated, &order, now) };
                    let pending =
                        Pending { decision: None, request_id: None, timeline: None, row: Some(next_row), record };
                    return Ok(Prepared::Commit(Box::new(pending)));
                }
                (Effect::Spec(Box::new(native(&spec))), Some(next_row))
            }
        };
        if self.people.len() >= limit {
            return Err(Error::Overloaded { what: "the list of people's decisions about this job", limit });
        }

        let brings_controllers = matches!(&effect, Effect::Spec(spec) if control::all(spec).next().is_some());
        let effective_step = self.effective_step(brings_controllers);
        if let Effect::Override(RateOverride { end_step: Some(end), .. }) = &effect
            && *end <= effective_step
        {
            let mut violations = Violations::new();
            violations.refuse(
                "end_step",
                end,
                format_args!("after step {effective_step}, where the override would begin"),
            );
            return Err(Error::Invalid(violations));
        }
        let decision = Decision {
            id: DecisionId::Person { seq: self.last_seq() + 1 },
            attempt: self.entry.attempt(),
            step: effective_step.saturating_sub(1),
            effective_step,
            author: Author::Person(order.author.clone()),
            reason: order.reason.clone(),
            evidence,
            effect,
            create_time: now,
        };
        let record = record::of_decision(&row, &decision, &order, next_row.as_ref());
        let people = self.people.iter().map(|(decision, _)| decision).chain([&decision]);
        let standing = Standing::new(&self.attempts, self.entry.attempt());
        let timeline =
            in_place(|| Timeline::of_attempt(&row.initial_spec, people, &standing)).map_err(Error::Invalid)?;
        Ok(Prepared::Commit(Box::new(Pending {
            decision: Some(decision),
            request_id: order.request_id,
            timeline: Some(timeline),
            row: next_row,
            record,
        })))
    }

    /// The first step that the decision can change. Until the outcome of its commit is known, no step at or past it is
    /// given out.
    fn effective_step(&mut self, brings_controllers: bool) -> u64 {
        let Some(running) = &mut self.attempt else {
            // This job has given out no step. The steps that a fork shares were given out by its source.
            return self.entry.row().forked_from.as_ref().map_or(0, |point| point.step);
        };
        let given_end = running.cell.freeze();
        let effective_step = given_end.max(running.unknown_end).max(running.heart.decided_end(brings_controllers));
        running.heart.hold_at(effective_step);
        running.publish();
        effective_step
    }

    /// Ends the hold without a decision. Returns what the controllers decide on the records that were held back.
    fn release(&mut self, context: &Context) -> Vec<Write> {
        let Some(running) = &mut self.attempt else { return Vec::new() };
        let decisions = running.heart.release();
        running.cell.publish_timeline(running.heart.timeline());
        let writes = self.decided(context, decisions);
        self.publish();
        writes
    }

    /// Shows everyone the decision, which is durable. Returns what the controllers decide on the records that were held
    /// back.
    fn apply(&mut self, context: &Context, pending: Pending) -> Vec<Write> {
        let mut writes = Vec::new();
        record::tell(&pending.record);
        self.entry.touch(&*context.clock);
        self.entry.tell(|| Event::Change(Box::new(pending.record)));
        if let Some(row) = pending.row {
            self.entry.set_row(row);
            self.tell_job(context);
        }
        let (Some(decision), Some(timeline)) = (pending.decision, pending.timeline) else { return writes };
        if let Some(running) = &mut self.attempt {
            let decisions = running.heart.apply(&timeline);
            running.cell.publish_timeline(running.heart.timeline());
            running.cell.publish_order(decision.effective_step);
            writes = self.decided(context, decisions);
            self.publish();
        }
        meters::decided(&decision);
        self.timeline = timeline;
        self.entry.tell(|| Event::Decision(Box::new(decision.clone())));
        self.people.push((decision, pending.request_id));
        writes
    }

    fn known_request(&self, change: &Change, order: &Order) -> Result<Option<Decision>, Error> {
        let Some(request_id) = &order.request_id else { return Ok(None) };
        let known = self.people.iter().find(|(_, id)| id.as_ref() == Some(request_id));
        let Some((decision, _)) = known else { return Ok(None) };
        let same = match (change, &decision.effect) {
            (Change::Pause, Effect::Pause)
            | (Change::Resume, Effect::Resume)
            | (Change::ClearOverride, Effect::ClearOverride)
            | (Change::WithdrawStop, Effect::WithdrawAdvice(Topic::Stop)) => true,
            (Change::AdviseStop { evidence }, Effect::Advice(Topic::Stop)) => {
                bits(evidence).eq(bits(&decision.evidence))
            }
            (Change::Override(now), Effect::Override(then)) => now == then,
            (Change::Spec { spec: now, .. }, Effect::Spec(then)) => native(now) == **then,
            _ => false,
        };
        if same {
            return Ok(Some(decision.clone()));
        }
        Err(Error::RequestIdReused { job: self.entry.name.clone(), request_id: request_id.clone() })
    }

    fn check_override(&self, order: &RateOverride) -> Result<(), Error> {
        let mut violations = Violations::new();
        let allowed = "finite and at least 0";
        match &order.setting {
            OverrideSetting::Factor(factor) if !factor.is_finite() || *factor < 0.0 => {
                violations.refuse("factor", factor, allowed);
            }
            OverrideSetting::Factor(_) => {}
            OverrideSetting::Fixed(rates) => {
                let spec = self.timeline.last_spec().spec();
                let names: Vec<&str> = spec.groups.iter().map(|group| group.name.as_str()).collect();
                if rates.is_empty() {
                    violations.add("fixed.learning_rates", "must name at least one group");
                }
                for (group, rate) in rates {
                    let field = format!("fixed.learning_rates[{group:?}]");
                    if !names.contains(&group.as_str()) {
                        let more = if names.len() > NAMED_GROUPS { ", and so on" } else { "" };
                        let some = names.iter().take(NAMED_GROUPS).copied().collect::<Vec<_>>().join(", ");
                        violations.add(&field, format_args!("is not a group of this job: must be one of {some}{more}"));
                    }
                    if !rate.is_finite() || *rate < 0.0 {
                        violations.refuse(&field, rate, allowed);
                    }
                }
            }
        }
        violations.into_result(()).map_err(Error::Invalid)
    }

    fn with_state(&self, now: Timestamp, state: State, author: String, reason: String) -> JobRow {
        self.next_row(now, |row| {
            row.state = state;
            row.state_author = author;
            row.state_reason = reason;
        })
    }

    fn last_seq(&self) -> u64 {
        self.people.last().map_or(0, |(decision, _)| match decision.id {
            DecisionId::Person { seq } => seq,
            DecisionId::Controller { .. } => 0,
        })
    }
}

/// Figures by their bits, so that NaN equals NaN.
fn bits(figures: &BTreeMap<String, f64>) -> impl Iterator<Item = (&str, u64)> {
    figures.iter().map(|(name, figure)| (name.as_str(), figure.to_bits()))
}

/// What cannot change once a job is registered.
///
/// # Errors
/// Every violation.
pub fn check_spec_change(old: &Spec, new: &Spec) -> Result<(), Error> {
    let mut violations = in_place(|| CompiledSpec::admit(new.clone())).err().unwrap_or_default();
    let mut fixed = |field: &str, old: u64, new: u64| {
        if old != new {
            violations.refuse(field, new, format_args!("{old}, as registered: fork the job to change it"));
        }
    };
    fixed("decision_lag", old.decision_lag, new.decision_lag);
    fixed("reporting_ranks", old.reporting_ranks.into(), new.reporting_ranks.into());
    fixed("tier", old.tier.number().into(), new.tier.number().into());
    if new.base_lr_from.is_some() && new.base_lr_from != old.base_lr_from {
        violations.add("base_lr_from", "cannot change: it is read once, when a job is registered");
    }
    violations.into_result(()).map_err(Error::Invalid)
}
