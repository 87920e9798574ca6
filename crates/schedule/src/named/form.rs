//! What a named form is: parameters that can be written out in the algebra.

use serde::{Serialize, de::DeserializeOwned};

use crate::{check, horizon::Horizon, node::Node, shape};
use lrs_model::{
    schedule::{ScheduleSpec, Shape},
    violation::Violations,
};

/// The parameters of a named form, with serde's defaults for those that are left out.
pub(crate) trait Form: Serialize + DeserializeOwned {
    /// Checks every parameter and writes the form out in the algebra.
    fn expand(&self, x: &mut Expansion<'_>) -> Node;

    /// The schedules among the parameters.
    fn parts_mut(&mut self) -> Vec<&mut ScheduleSpec> {
        Vec::new()
    }
}

/// Builds a schedule among the parameters, given its field, the schedule as written, and what is left of the job there.
pub(crate) type Build<'a> = dyn FnMut(&str, &ScheduleSpec, Horizon, &mut Violations) -> Node + 'a;

/// A form while it is expanded: where it stands, and what is wrong with it. Fields are seen from the form.
pub(crate) struct Expansion<'a> {
    left: Horizon,
    build: &'a mut Build<'a>,
    violations: &'a mut Violations,
}

impl<'a> Expansion<'a> {
    /// Begins `left` before the end of the job.
    pub(super) fn new(left: Horizon, build: &'a mut Build<'a>, violations: &'a mut Violations) -> Self {
        Self { left, build, violations }
    }

    /// The number of steps in `field`, at least `least`.
    pub(super) fn steps(&mut self, field: &str, given: u64, least: u64) -> f64 {
        check::steps(field, given, least, self.violations)
    }

    /// The number of steps in `field`, which has no default: at least 1.
    pub(super) fn required_steps(&mut self, field: &str, given: u64) -> f64 {
        check::required_steps(field, given, self.violations)
    }

    /// Refuses anything but a finite number above 0, of which there is no default.
    pub(super) fn required(&mut self, field: &str, value: f64) {
        check::required(field, value, self.violations);
    }

    /// The length of the form: the number of steps in `field`, or else all that is left of the job. At least `least`,
    /// which must not be 0.
    pub(super) fn length(&mut self, field: &str, given: Option<u64>, least: u64) -> f64 {
        self.left.length(field, given, least, self.violations)
    }

    /// Refuses `value` unless it is finite and `allowed`, which `range` says in words.
    pub(super) fn check(&mut self, field: &str, value: f64, allowed: bool, range: &str) {
        check::that(field, value, allowed, range, self.violations);
    }

    /// Refuses anything but a finite number above 0.
    pub(super) fn positive(&mut self, field: &str, value: f64) {
        check::positive(field, value, self.violations);
    }

    /// Refuses anything but a finite number from `least` up.
    pub(super) fn at_least(&mut self, field: &str, value: f64, least: f64) {
        check::at_least(field, value, least, self.violations);
    }

    /// Whether a list of `len` entries is short enough to be looked at; refuses it if not.
    pub(super) fn list_fits(&mut self, field: &str, len: usize) -> bool {
        check::list_fits(field, len, self.violations)
    }

    /// Checks the parameters of the shape in the field `shape`.
    pub(super) fn shape(&mut self, shape: Shape) {
        shape::check(shape, self.violations);
    }

    /// The schedule in `field`, which begins `begin` steps after the form.
    pub(super) fn part(&mut self, field: &str, schedule: &ScheduleSpec, begin: f64) -> Node {
        (self.build)(field, schedule, self.left.later(begin), self.violations)
    }

    /// Where to add what is wrong.
    pub(super) fn violations(&mut self) -> &mut Violations {
        self.violations
    }
}
