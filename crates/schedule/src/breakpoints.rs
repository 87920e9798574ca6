//! Where a curve must be sampled so that nothing is missed.

use std::collections::{BTreeSet, VecDeque};

use super::{
    chain::Chain,
    ease::Ease,
    node::{Node, exact},
    pace::Pace,
    repeat::Repeat,
};
use lrs_model::schedule::{Past, Resets, Shape};

/// The most steps that [`Schedule::breakpoints`](super::Schedule::breakpoints) names.
pub const MAX_BREAKPOINTS: usize = 10_000;
/// The most places of an expression that are looked at, a place within a `repeat` once for each cycle.
const MAX_VISITS: usize = 100_000;
/// Sums of fractions miss a whole step by a rounding: a boundary as near as this is on it.
const NEAR: f64 = 1e-6;

/// The breakpoints of `root` in `0..=end`.
pub(super) fn of(root: &Node, end: u64) -> Vec<u64> {
    let mut search = Search { end, found: BTreeSet::from([0, end]), places: VecDeque::new(), visits: 0 };
    search.enter(root, Place { origin: 0.0, unit: 1.0, from: 0.0, to: exact(end) });
    // Breadth first, so that where there are too many the outer ones are found.
    while let Some((node, place)) = search.places.pop_front() {
        search.visit(node, place);
    }
    search.found.into_iter().collect()
}

/// Where a node's own time lies: `t` of its time is step `origin + t * unit`, and `from..=to` of it is seen.
#[derive(Clone, Copy)]
struct Place {
    origin: f64,
    unit: f64,
    from: f64,
    to: f64,
}

impl Place {
    /// The step, or fraction of one, that is `t` here.
    fn step(self, t: f64) -> f64 {
        self.origin + t * self.unit
    }

    /// The place of a child whose time 0 is `begin` here, whose unit is `unit` here, and which is seen from `from` to `to`
    /// of our time; `None` if we see nothing of that.
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
    places: VecDeque<(&'a Node, Place)>,
    visits: usize,
}

impl<'a> Search<'a> {
    /// Puts a place on the list of those to visit, while there is room.
    fn enter(&mut self, node: &'a Node, place: impl Into<Option<Place>>) {
        let smooth = matches!(node, Node::Constant(_) | Node::Base(_));
        if let Some(place) = place.into()
            && !smooth
            && self.visits < MAX_VISITS
        {
            self.visits += 1;
            self.places.push_back((node, place));
        }
    }

    fn visit(&mut self, node: &'a Node, place: Place) {
        match node {
            Node::Constant(_) | Node::Base(_) => {}
            Node::Ease(ease) => {
                self.mark_phases(ease, place);
                self.enter(&ease.start, place);
                self.enter(&ease.end, place);
            }
            Node::Geometric(geometric) => self.enter(&geometric.value, place),
            Node::PowerLaw(power_law) => self.enter(&power_law.value, place),
            Node::Seq(seq) => {
                for &boundary in &seq.boundaries {
                    self.mark(boundary, place);
                }
                for (i, part) in seq.parts.iter().enumerate() {
                    let (begin, end) = (seq.begin(i), seq.boundaries.get(i).copied().unwrap_or(f64::MAX));
                    let from = if i == 0 { 0.0 } else { begin };
                    self.enter(part, place.child(begin, 1.0, from, end));
                }
            }
            Node::Repeat(repeat) => self.visit_repeat(repeat, place),
            // Whatever the schedule on a stair does, it shows only where a stair begins.
            Node::Stair(stair) => {
                let (first, last) = ((place.from / stair.every).floor(), (place.to / stair.every).floor());
                for stairs in self.selection(first, last) {
                    self.mark(stairs * stair.every, place);
                }
            }
            Node::Shift(shift) => {
                self.mark(-shift.steps, place);
                let from = (-shift.steps).max(0.0);
                self.enter(&shift.schedule, place.child(-shift.steps, 1.0, from, f64::MAX));
            }
            Node::Pace(other) => self.visit_pace(other, place),
            Node::Chain(chain) => self.visit_chain(chain, place),
            Node::Product(parts) | Node::Sum(parts) => {
                for part in parts {
                    self.enter(part, place);
                }
            }
            Node::Clamp(clamp) => {
                self.enter(&clamp.schedule, place);
                for bound in [&clamp.min, &clamp.max].into_iter().flatten() {
                    self.enter(bound, place);
                }
            }
        }
    }

    /// The end of an ease, or all ends of a cosine that goes up and down for ever.
    fn mark_phases(&mut self, ease: &Ease, place: Place) {
        let endless = ease.past == Past::Continue && matches!(ease.shape, Shape::Cosine | Shape::CosinePower(_));
        if endless && ease.over > 0.0 {
            for phases in self.selection((place.from / ease.over).floor(), (place.to / ease.over).floor()) {
                self.mark(phases * ease.over, place);
            }
        } else {
            self.mark(ease.over, place);
        }
    }

    fn visit_pace(&mut self, pace: &'a Pace, at: Place) {
        if pace.whole {
            for units in self.selection(pace.time(at.from), pace.time(at.to)) {
                self.mark(pace.step_of(units), at);
            }
        }
        self.enter(&pace.schedule, at.child(0.0, pace.step_of(1.0), 0.0, f64::MAX));
    }

    fn visit_chain(&mut self, chain: &'a Chain, place: Place) {
        self.mark(exact(chain.steps), place);
        for link in &chain.links {
            if let Resets::At(resets) = &link.resets {
                for &step in resets {
                    self.mark(exact(step), place);
                }
            }
            self.enter(&link.schedule, place);
        }
    }

    fn visit_repeat(&mut self, repeat: &'a Repeat, place: Place) {
        let end = repeat.limit.map_or(f64::MAX, |limit| limit.end);
        let (first, last) = (repeat.cycles.at(place.from).index, repeat.cycles.at(place.to).index);
        let last = repeat.limit.map_or(last, |limit| last.min(exact(limit.count) - 1.0));
        for index in self.selection(first, last) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and at least 0")]
            let index = index as u64;
            let (begin, next) = (repeat.cycles.start_of(index), repeat.cycles.start_of(index.saturating_add(1)));
            self.mark(begin, place);
            self.enter(&repeat.body, place.child(begin, next - begin, begin, next));
        }
        self.mark(end, place);
        self.enter(&repeat.after, place.child(end, 1.0, end, f64::MAX));
    }

    /// The whole numbers from `first` to `last`, or as many of them as there is room for, evenly spread.
    fn selection(&self, first: f64, last: f64) -> impl Iterator<Item = f64> + use<> {
        #[expect(clippy::cast_precision_loss, reason = "at most MAX_BREAKPOINTS")]
        let room = ((MAX_BREAKPOINTS - self.found.len()) / 2) as f64;
        let count = last - first + 1.0;
        // Half of the room, so that what lies within each gets the other half.
        let stride = if count <= room { 1.0 } else { (2.0 * count / room.max(1.0)).ceil() };
        std::iter::successors(Some(first), move |index| Some(index + stride))
            .take_while(move |index| *index <= last)
            .take(MAX_BREAKPOINTS)
    }

    /// Notes the first step at or after `t`, and the one before, if they can be seen from here.
    fn mark(&mut self, t: f64, place: Place) {
        let boundary = place.step(t);
        let (from, to) = (place.step(place.from).max(0.0), place.step(place.to).min(exact(self.end)));
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
