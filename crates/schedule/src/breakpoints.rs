//! The steps at which a curve must be sampled to show every jump.

use std::collections::{BTreeSet, VecDeque};

use super::{chain::Chain, ease::Ease, node::Node, pace::Pace, repeat::Repeat};
use lrs_model::{
    number::exact,
    schedule::{Past, Shape},
};

/// The most steps that [`Schedule::breakpoints`](crate::Schedule::breakpoints) names.
pub const MAX_BREAKPOINTS: usize = 10_000;
/// The most nodes that are visited; a node within a `repeat` counts once for each cycle.
const MAX_VISITS: usize = 100_000;
/// A sum of fractions may miss a whole step by a rounding: a boundary this near to a step is on it.
const NEAR: f64 = 1e-6;

/// The breakpoints of `root` in `0..=end`.
pub(super) fn of(root: &Node, end: u64) -> Vec<u64> {
    let mut search = Search { end, found: BTreeSet::from([0, end]), views: VecDeque::new(), visits: 0 };
    search.enter(root, View { origin: 0.0, unit: 1.0, from: 0.0, to: exact(end) });
    // Breadth first, so that where there are too many the outer ones are found.
    while let Some((node, view)) = search.views.pop_front() {
        search.visit(node, view);
    }
    search.found.into_iter().collect()
}

/// Where a node's time lies and how much of it is seen: its time `t` is step `origin + t * unit`, for `t` in
/// `from..=to`.
#[derive(Clone, Copy)]
struct View {
    origin: f64,
    unit: f64,
    from: f64,
    to: f64,
}

impl View {
    /// The step at time `t`, perhaps between two.
    fn step(self, t: f64) -> f64 {
        self.origin + t * self.unit
    }

    /// The view of a child whose time 0 is `begin` of this time, whose unit is `unit` of this time, and which is seen
    /// from `from` to `to` of this time; `None` if nothing of it is seen.
    fn child(self, begin: f64, unit: f64, from: f64, to: f64) -> Option<Self> {
        let (from, to) = (from.max(self.from), to.min(self.to));
        (from <= to).then(|| Self {
            origin: self.step(begin),
            unit: self.unit * unit,
            from: ((from - begin) / unit).max(0.0),
            to: (to - begin) / unit,
        })
    }
}

struct Search<'a> {
    end: u64,
    found: BTreeSet<u64>,
    views: VecDeque<(&'a Node, View)>,
    visits: usize,
}

impl<'a> Search<'a> {
    /// Puts a view on the list of those to visit, while there is room.
    fn enter(&mut self, node: &'a Node, view: impl Into<Option<View>>) {
        let smooth = matches!(node, Node::Constant(_) | Node::Base(_));
        if let Some(view) = view.into()
            && !smooth
            && self.visits < MAX_VISITS
        {
            self.visits += 1;
            self.views.push_back((node, view));
        }
    }

    fn visit(&mut self, node: &'a Node, view: View) {
        match node {
            Node::Constant(_) | Node::Base(_) => {}
            Node::Ease(ease) => {
                self.mark_phases(ease, view);
                self.enter(&ease.start, view);
                self.enter(&ease.end, view);
            }
            Node::Geometric(geometric) => self.enter(&geometric.value, view),
            Node::PowerLaw(power_law) => self.enter(&power_law.value, view),
            Node::Seq(seq) => {
                for &boundary in &seq.boundaries {
                    self.mark(boundary, view);
                }
                for (i, part) in seq.parts.iter().enumerate() {
                    let (begin, end) = (seq.begin(i), seq.boundaries.get(i).copied().unwrap_or(f64::MAX));
                    let from = if i == 0 { 0.0 } else { begin };
                    self.enter(part, view.child(begin, 1.0, from, end));
                }
            }
            Node::Repeat(repeat) => self.visit_repeat(repeat, view),
            // The schedule inside shows only where a stair begins.
            Node::Stair(stair) => {
                let (first, last) = ((view.from / stair.every).floor(), (view.to / stair.every).floor());
                for stairs in self.selection(first, last) {
                    self.mark(stairs * stair.every, view);
                }
            }
            Node::Shift(shift) => {
                self.mark(-shift.steps, view);
                let from = (-shift.steps).max(0.0);
                self.enter(&shift.schedule, view.child(-shift.steps, 1.0, from, f64::MAX));
            }
            Node::Pace(other) => self.visit_pace(other, view),
            Node::Chain(chain) => self.visit_chain(chain, view),
            Node::Product(parts) | Node::Sum(parts) => {
                for part in parts {
                    self.enter(part, view);
                }
            }
            Node::Clamp(clamp) => {
                self.enter(&clamp.schedule, view);
                for bound in [&clamp.min, &clamp.max].into_iter().flatten() {
                    self.enter(bound, view);
                }
            }
        }
    }

    /// The end of an ease, or all ends of a cosine that goes up and down for ever.
    fn mark_phases(&mut self, ease: &Ease<Node>, view: View) {
        let endless = ease.past == Past::Continue && matches!(ease.shape, Shape::Cosine | Shape::CosinePower(_));
        if endless && ease.over > 0.0 {
            for phases in self.selection((view.from / ease.over).floor(), (view.to / ease.over).floor()) {
                self.mark(phases * ease.over, view);
            }
        } else {
            self.mark(ease.over, view);
        }
    }

    fn visit_pace(&mut self, pace: &'a Pace<Node>, at: View) {
        if pace.whole {
            for units in self.selection(pace.time(at.from), pace.time(at.to)) {
                self.mark(pace.step_of(units), at);
            }
        }
        self.enter(&pace.schedule, at.child(0.0, pace.step_of(1.0), 0.0, f64::MAX));
    }

    fn visit_chain(&mut self, chain: &'a Chain<Node>, view: View) {
        self.mark(exact(chain.steps), view);
        for link in &chain.links {
            for &step in &link.resets {
                self.mark(exact(step), view);
            }
            self.enter(&link.schedule, view);
        }
    }

    fn visit_repeat(&mut self, repeat: &'a Repeat<Node>, view: View) {
        let end = repeat.limit.map_or(f64::MAX, |limit| limit.end);
        let (first, last) = (repeat.cycles.at(view.from).index, repeat.cycles.at(view.to).index);
        let last = repeat.limit.map_or(last, |limit| last.min(exact(limit.count) - 1.0));
        for index in self.selection(first, last) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and at least 0")]
            let index = index as u64;
            let (begin, next) = (repeat.cycles.start_of(index), repeat.cycles.start_of(index.saturating_add(1)));
            self.mark(begin, view);
            self.enter(&repeat.body, view.child(begin, next - begin, begin, next));
        }
        self.mark(end, view);
        self.enter(&repeat.after, view.child(end, 1.0, end, f64::MAX));
    }

    /// The whole numbers from `first` to `last`; if there is no room for all of them, an even selection.
    fn selection(&self, first: f64, last: f64) -> impl Iterator<Item = f64> + use<> {
        #[expect(clippy::cast_precision_loss, reason = "at most MAX_BREAKPOINTS")]
        let room = ((MAX_BREAKPOINTS - self.found.len()) / 2) as f64;
        let count = last - first + 1.0;
        // Half of the room: the other half is for what lies within each.
        let stride = if count <= room { 1.0 } else { (2.0 * count / room.max(1.0)).ceil() };
        std::iter::successors(Some(first), move |index| Some(index + stride))
            .take_while(move |index| *index <= last)
            .take(MAX_BREAKPOINTS)
    }

    /// Adds the first step at or after `t` and the step before it, if this view sees `t`.
    fn mark(&mut self, t: f64, view: View) {
        let boundary = view.step(t);
        let (from, to) = (view.step(view.from).max(0.0), view.step(view.to).min(exact(self.end)));
        let is_seen = from - NEAR <= boundary && boundary <= to + NEAR;
        if !is_seen || self.found.len() + 2 > MAX_BREAKPOINTS {
            return;
        }
        let whole = boundary.round();
        let at = if (boundary - whole).abs() < NEAR { whole } else { boundary.ceil() };
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole, and at least 0 but for -0")]
        let at = (at as u64).min(self.end);
        self.found.extend([at.saturating_sub(1), at]);
    }
}
