//! From a written schedule to an expression: one walk that checks every parameter, expands named forms and counts
//! parts.

use super::{
    chain::{self, Chain, Link},
    check::{self, list_fits},
    compat,
    cycles::Cycles,
    decline::{self, Geometric, PowerLaw},
    ease::{self, Ease},
    horizon::Horizon,
    named,
    node::Node,
    pace::{self, Pace},
    pointwise::Clamp,
    repeat::{self, Limit, Repeat},
    seq,
    time::{self, Shift, Stair},
    training::Training,
};
use lrs_model::{
    schedule::{self as spec, NamedForm, ScheduleSpec},
    violation::Violations,
};

/// The most levels a schedule may be nested.
pub const MAX_DEPTH: usize = 32;
/// The most nodes a schedule may have once it is written out in the algebra.
pub const MAX_NODES: usize = 10_000;
/// The most evaluations of a node that the chains of a schedule may take to compute, at some 10 ns each.
const MAX_CHAIN_WORK: u64 = 20_000_000;

/// Checks and expands `spec` for a training. Where something is wrong, the result has the base rate.
pub(super) fn build(spec: &ScheduleSpec, training: Training, v: &mut Violations) -> Node {
    Builder { training, depth: 0, nodes: 0, in_chain: false, chain_work: 0 }.form(
        spec,
        Horizon::new(training.total_steps),
        v,
    )
}

/// The walk, and how large the schedule has become so far.
struct Builder {
    training: Training,
    depth: usize,
    nodes: usize,
    in_chain: bool,
    chain_work: u64,
}

impl Builder {
    /// A whole form, which begins `left` before the end of the job.
    fn form(&mut self, spec: &ScheduleSpec, left: Horizon, v: &mut Violations) -> Node {
        // The schedule is refused already.
        if self.nodes > MAX_NODES {
            return Node::BASE;
        }
        self.depth += 1;
        let node = if self.has_room(1, 1, v) { self.in_room(spec, left, v) } else { Node::BASE };
        self.depth -= 1;
        node
    }

    /// A form that there is room for.
    fn in_room(&mut self, spec: &ScheduleSpec, left: Horizon, v: &mut Violations) -> Node {
        use ScheduleSpec as S;
        match spec {
            S::Constant(value) => {
                check::finite("constant", *value, v);
                Node::Constant(*value)
            }
            S::Base(factor) => {
                check::finite("base", *factor, v);
                Node::Base(*factor)
            }
            S::Ease(form) => v.within("ease", |v| self.ease(form, left, v)),
            S::Geometric(form) => v.within("geometric", |v| self.geometric(form, left, v)),
            S::PowerLaw(form) => v.within("power_law", |v| self.power_law(form, left, v)),
            S::Seq(form) => v.within("seq", |v| self.seq(form, left, v)),
            S::Repeat(form) => v.within("repeat", |v| self.repeat(form, left, v)),
            S::Stair(form) => v.within("stair", |v| self.stair(form, left, v)),
            S::Shift(form) => v.within("shift", |v| self.shift(form, left, v)),
            S::Product { factors } => {
                v.within("product", |v| Node::Product(self.list("factors", factors, |_| left, v)))
            }
            S::Sum { terms } => v.within("sum", |v| Node::Sum(self.list("terms", terms, |_| left, v))),
            S::Clamp(form) => v.within("clamp", |v| self.clamp(form, left, v)),
            S::Pace(form) => v.within("pace", |v| self.pace(form, left, v)),
            S::Chain(form) => v.within("chain", |v| self.chain(form, left, v)),
            S::Library(form) => self.library(form, left, v),
            S::Named(form) => v.within(&form.form, |v| self.named(form, left, v)),
            S::Missing => {
                v.add(
                    "",
                    "is required: exactly one form, such as `base` or `cosine`, or a `library` and its `scheduler`",
                );
                Node::BASE
            }
        }
    }

    /// A named form; what it expands to counts.
    fn named(&mut self, form: &NamedForm, left: Horizon, v: &mut Violations) -> Node {
        let nodes_before = self.nodes;
        let mut build = |field: &str, spec: &ScheduleSpec, left, v: &mut Violations| self.child(field, spec, left, v);
        let node = named::expand(form, left, &mut build, v);
        // The form itself has been counted, and so have the schedules in it. Past the limit, they have said so.
        let counted = 1 + self.nodes - nodes_before;
        if self.nodes <= MAX_NODES {
            self.has_room(node.size().saturating_sub(counted), node.depth(), v);
        }
        node
    }

    /// A schedule in `field`.
    fn child(&mut self, field: &str, spec: &ScheduleSpec, left: Horizon, v: &mut Violations) -> Node {
        v.within(field, |v| self.form(spec, left, v))
    }

    /// The schedules in the list `field`, number `i` beginning `left(i)` before the end of the job.
    fn list(
        &mut self,
        field: &str,
        specs: &[ScheduleSpec],
        left: impl Fn(usize) -> Horizon,
        v: &mut Violations,
    ) -> Vec<Node> {
        if specs.is_empty() {
            v.add(field, "must have at least one entry");
        }
        if !list_fits(field, specs.len(), v) {
            return Vec::new();
        }
        specs.iter().enumerate().map(|(i, spec)| self.child(&format!("{field}[{i}]"), spec, left(i), v)).collect()
    }

    fn ease(&mut self, ease: &spec::Ease, left: Horizon, v: &mut Violations) -> Node {
        ease::check(ease, v);
        Node::Ease(Box::new(Ease {
            start: self.child("start", &ease.start, left, v),
            end: self.child("end", &ease.end, left, v),
            over: ease.over,
            shape: ease.shape,
            past: ease.past,
            warp: ease.warp,
        }))
    }

    fn geometric(&mut self, form: &spec::Geometric, left: Horizon, v: &mut Violations) -> Node {
        decline::check_geometric(form, v);
        let value = self.child("value", &form.value, left, v);
        Node::Geometric(Box::new(Geometric { value, rate: form.rate, every: form.every }))
    }

    fn power_law(&mut self, form: &spec::PowerLaw, left: Horizon, v: &mut Violations) -> Node {
        decline::check_power_law(form, v);
        let value = self.child("value", &form.value, left, v);
        Node::PowerLaw(Box::new(PowerLaw { value, tau: form.tau, exponent: form.exponent }))
    }

    fn seq(&mut self, seq: &spec::Sequence, left: Horizon, v: &mut Violations) -> Node {
        if list_fits("boundaries", seq.boundaries.len(), v) {
            seq::check(&seq.boundaries, seq.parts.len(), v);
        }
        let begin = |i: usize| i.checked_sub(1).and_then(|i| seq.boundaries.get(i)).copied().unwrap_or(0.0);
        let parts = self.list("parts", &seq.parts, |i| left.later(begin(i)), v);
        Node::seq(seq.boundaries.clone(), parts)
    }

    fn repeat(&mut self, repeat: &spec::Repeat, left: Horizon, v: &mut Violations) -> Node {
        let wrong_before = v.len();
        repeat::check(repeat, v);
        let cycles = Cycles { first: repeat.first, growth: repeat.growth };
        // Only cycles that passed the check can be added up.
        let limit = repeat.limit.filter(|_| v.len() == wrong_before).map(|count| Limit::new(count, cycles));
        Node::Repeat(Box::new(Repeat {
            body: self.child("body", &repeat.body, Horizon::CYCLE, v),
            cycles,
            scale: repeat.scale,
            limit,
            after: self.child("after", &repeat.after, limit.map_or(Horizon::OPEN, |limit| left.later(limit.end)), v),
        }))
    }

    fn stair(&mut self, stair: &spec::Stair, left: Horizon, v: &mut Violations) -> Node {
        time::check_stair(stair, v);
        let schedule = self.child("schedule", &stair.schedule, left, v);
        Node::Stair(Box::new(Stair { schedule, every: stair.every }))
    }

    fn shift(&mut self, shift: &spec::Shift, left: Horizon, v: &mut Violations) -> Node {
        time::check_shift(shift, v);
        let schedule = self.child("schedule", &shift.schedule, left.later(-shift.steps), v);
        Node::Shift(Box::new(Shift { schedule, steps: shift.steps }))
    }

    fn clamp(&mut self, clamp: &spec::Clamp, left: Horizon, v: &mut Violations) -> Node {
        Node::Clamp(Box::new(Clamp {
            schedule: self.child("schedule", &clamp.schedule, left, v),
            min: clamp.min.as_ref().map(|min| self.child("min", min, left, v)),
            max: clamp.max.as_ref().map(|max| self.child("max", max, left, v)),
        }))
    }

    fn pace(&mut self, pace: &spec::Pace, left: Horizon, v: &mut Violations) -> Node {
        pace::check(pace, v);
        let (units, steps) = pace::clock(pace, self.training, v);
        // In a unit that only the form knows, forms without a length cannot take what is left of the job.
        let left = if pace.unit.is_some() { left.paced(units, steps) } else { Horizon::OPEN };
        let schedule = self.child("schedule", &pace.schedule, left, v);
        Node::Pace(Box::new(Pace { schedule, units, steps, whole: pace.whole }))
    }

    fn chain(&mut self, chain: &spec::Chain, left: Horizon, v: &mut Violations) -> Node {
        let wrong_before = v.len();
        chain::check(chain, v);
        if self.in_chain {
            v.add("", "is not allowed within another chain");
        }
        self.in_chain = true;
        let nodes_before = self.nodes;
        let mut links = Vec::new();
        for (i, link) in chain.links.iter().enumerate() {
            links.push(Link {
                schedule: v.within(format!("links[{i}]"), |v| self.child("schedule", &link.schedule, left, v)),
                floor: link.floor,
                running: link.running,
                resets: link.resets.clone(),
                always_resets: link.always_resets,
            });
        }
        self.in_chain = false;
        let nodes = (self.nodes - nodes_before) as u64;
        self.chain_work = self.chain_work.saturating_add(chain.steps.saturating_mul(nodes));
        if self.chain_work > MAX_CHAIN_WORK {
            let found = format!("{} steps over links of {nodes} forms", chain.steps);
            v.refuse("steps", found, format!("at most {MAX_CHAIN_WORK} steps times forms in all chains together"));
        }
        if v.len() == wrong_before { Node::Chain(Chain::new(links, chain.steps)) } else { Node::BASE }
    }

    /// A library's scheduler: its translation, built.
    fn library(&mut self, form: &spec::LibrarySchedule, left: Horizon, v: &mut Violations) -> Node {
        let Some(translation) = compat::translate(form, self.training, v) else { return Node::BASE };
        let mut wrong = Violations::new();
        let node = self.form(&translation.rate, left, &mut wrong);
        if !wrong.is_empty() {
            let (library, scheduler) = (&form.call.library, &form.call.scheduler);
            v.add("params", format!("make of {library}'s {scheduler} what is not allowed: {wrong}"));
        }
        node
    }

    /// Counts `nodes` more, which go `levels` deep from here. Over a limit, adds a violation and answers false.
    fn has_room(&mut self, nodes: usize, levels: usize, v: &mut Violations) -> bool {
        self.nodes += nodes;
        let too_deep = self.depth + levels - 1 > MAX_DEPTH;
        let too_many = self.nodes > MAX_NODES;
        if too_deep {
            v.add("", format!("is nested too deep: at most {MAX_DEPTH} levels are allowed"));
        }
        if too_many {
            v.add(
                "",
                format!("is one part too many: at most {MAX_NODES} are allowed, named forms counted as they expand"),
            );
        }
        !too_deep && !too_many
    }
}
