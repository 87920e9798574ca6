//! What a library is here: a table of its schedulers, each a function from keyword arguments to the algebra.

use crate::training::Training;
use lrs_model::{
    library::{Params, unknown},
    schedule::{LibrarySchedule, ScheduleSpec, Unit},
    violation::Violations,
};
use serde_json::{Map, Value};

/// A library, in the one row that it has.
pub(super) struct Library {
    pub(super) name: &'static str,
    /// Its schedulers, by its names for them.
    pub(super) schedulers: Table,
    /// Its schedulers that follow a metric. They go under `controllers`.
    pub(super) follow_a_metric: &'static [&'static str],
    /// Whether its arguments say themselves what they count. A `unit` then says only how much of it a step takes.
    pub(super) counts_itself: bool,
    /// The name in the table of a scheduler that people name in more than one way.
    pub(super) plain_name: fn(&str) -> &str,
    /// The way back: a schedule of ours as one of its schedulers, with keyword arguments.
    pub(super) words: Option<fn(&ScheduleSpec) -> Option<Words>>,
}

impl Library {
    /// A library that has nothing but open-loop schedulers.
    pub(super) const fn new(name: &'static str, schedulers: Table) -> Self {
        Self {
            name,
            schedulers,
            follow_a_metric: &[],
            counts_itself: false,
            plain_name: |scheduler| scheduler,
            words: None,
        }
    }

    /// The translation of one of its schedulers; notes it where there is none.
    pub(super) fn find(&self, scheduler: &str, v: &mut Violations) -> Option<Translate> {
        if self.follow_a_metric.contains(&scheduler) {
            v.add(
                "scheduler",
                format!("{scheduler} follows a metric: write it under `controllers`, in the same words"),
            );
            return None;
        }
        let found = lookup(self.schedulers, (self.plain_name)(scheduler));
        if found.is_none() {
            v.add("scheduler", no_such(&format!("scheduler of {}", self.name), scheduler, self.schedulers));
        }
        found
    }
}

/// A scheduler's name and its keyword arguments.
pub(super) type Words = (&'static str, Value);

/// The schedulers of one library.
pub(super) type Table = &'static [Scheduler];

/// One of a library's schedulers, in the one row that it has.
#[derive(Debug)]
pub struct Scheduler {
    /// The library's name for it.
    pub name: &'static str,
    /// The required arguments by example, for the documentation: a JSON object, for a job of 1000 steps.
    pub example: &'static str,
    /// The library's defaults for other arguments, for the documentation: a JSON object.
    pub defaults: &'static str,
    translate: Translate,
}

/// A row of a [`Table`].
pub(super) const fn scheduler(
    name: &'static str,
    translate: Translate,
    example: &'static str,
    defaults: &'static str,
) -> Scheduler {
    Scheduler { name, example, defaults, translate }
}

/// Reads the arguments of one scheduler and writes down what it does.
pub(super) type Translate = fn(&mut Params<'_>, FromJob) -> Translation;

/// What a library's scheduler does, in the algebra.
#[derive(Clone, Debug, PartialEq)]
pub struct Translation {
    /// The learning rate.
    pub rate: ScheduleSpec,
    /// The momentum, where the scheduler cycles it.
    pub momentum: Option<ScheduleSpec>,
    /// The weight decay, where the scheduler sets it.
    pub weight_decay: Option<ScheduleSpec>,
}

impl From<ScheduleSpec> for Translation {
    fn from(rate: ScheduleSpec) -> Self {
        Self { rate, momentum: None, weight_decay: None }
    }
}

/// What a scheduler learns from the job beside its arguments.
#[derive(Clone, Copy)]
pub(super) struct FromJob {
    /// The job's lengths, for arguments that are left out. A scheduler that counts something other than steps is told
    /// no `total_steps`.
    pub(super) training: Training,
    pub(super) count: Count,
    /// The library's schedulers, for one that takes others.
    pub(super) schedulers: Table,
}

/// What a scheduler counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Count {
    Steps,
    Epochs,
    /// So many a step.
    Samples(u64),
    /// So many a step.
    Tokens(u64),
}

impl Count {
    /// What `schedule` says that it counts.
    pub(super) fn of(schedule: &LibrarySchedule, v: &mut Violations) -> Self {
        let mut each = |name| match schedule.units_per_step {
            Some(each) if each > 0 => each,
            Some(each) => {
                v.refuse("units_per_step", each, "from 1 to 2^53 - 1");
                1
            }
            None => {
                v.add("units_per_step", format!("is required: how many {name}s a step takes"));
                1
            }
        };
        let count = match schedule.unit {
            Unit::Sample => return Self::Samples(each("sample")),
            Unit::Token => return Self::Tokens(each("token")),
            Unit::Step => Self::Steps,
            Unit::Epoch => Self::Epochs,
        };
        if schedule.units_per_step.is_some() {
            v.add("units_per_step", "is not allowed: it is for the units sample and token");
        }
        count
    }
}

/// The rate of a scheduler that another one of the same library takes; `field` is where its name stands.
pub(super) fn inner_rate(
    (field, kind): (&str, &str),
    scheduler: &str,
    params: &Map<String, Value>,
    job: FromJob,
    v: &mut Violations,
) -> Option<ScheduleSpec> {
    let Some(translate) = lookup(job.schedulers, scheduler) else {
        v.add(field, no_such(kind, scheduler, job.schedulers));
        return None;
    };
    Some(v.within("params", |v| {
        let mut p = Params::new(params, v);
        let translation = translate(&mut p, job);
        p.finish();
        translation.rate
    }))
}

fn lookup(schedulers: Table, scheduler: &str) -> Option<Translate> {
    schedulers.iter().find(|known| known.name == scheduler).map(|known| known.translate)
}

fn no_such(kind: &str, scheduler: &str, schedulers: Table) -> String {
    let names: Vec<_> = schedulers.iter().map(|known| known.name).collect();
    unknown(kind, scheduler, &names)
}
