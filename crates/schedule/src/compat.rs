//! Schedulers of other libraries, each written out in the algebra: a table a library, from its names and keyword arguments.
//!
//! What a translation promises: the rates of the library's scheduler, within 1e-12 of the schedule's peak (1e-6 where the
//! library computes in single precision). Rates that a library takes from the optimizer become multiples of the group's base
//! rate, so that one translation serves all groups; rates that it takes as arguments are absolute.

use super::Training;
use lrs_model::{
    library::{LibraryCall, Params, unknown},
    schedule::{LibrarySchedule, ScheduleSpec, Unit},
    violation::Violations,
};

mod algebra;
mod composer;
mod deepspeed;
mod fairseq;
mod keras;
mod megatron;
mod optax;
mod timm;
mod torch;
mod transformers;
mod words;

pub use words::in_words_of;

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

/// What the job says that arguments may leave out.
#[derive(Clone, Copy, Debug)]
struct Place {
    training: Training,
    unit: Unit,
}

/// Reads the arguments of one scheduler and writes down what it does.
type Translate = fn(&mut Params<'_>, Place) -> Translation;

/// The schedulers of one library, by its names for them.
type Table = &'static [(&'static str, Translate)];

/// Every library with its schedulers and those that need telemetry, which go under `controllers`.
const LIBRARIES: &[(&str, Table, &[&str])] = &[
    ("torch", torch::TABLE, &["ReduceLROnPlateau"]),
    ("optax", optax::TABLE, &["contrib.reduce_on_plateau", "reduce_on_plateau"]),
    ("transformers", transformers::TABLE, &["reduce_lr_on_plateau", "greedy"]),
    ("timm", timm::TABLE, &["PlateauLRScheduler"]),
    ("keras", keras::TABLE, &["ReduceLROnPlateau"]),
    ("deepspeed", deepspeed::TABLE, &[]),
    ("megatron", megatron::TABLE, &[]),
    ("composer", composer::TABLE, &[]),
    ("fairseq", fairseq::TABLE, &["reduce_lr_on_plateau"]),
];

/// Every library and the names of its schedulers, in the order in which they are documented.
pub fn libraries() -> impl Iterator<Item = (&'static str, impl Iterator<Item = &'static str>)> {
    LIBRARIES.iter().map(|(library, table, _)| (*library, table.iter().map(|(name, _)| *name)))
}

/// What `schedule` does in a `training`, in the algebra.
///
/// What is wrong is added to `violations`, with fields such as `params.step_size`; then, and only then, the result is `None`.
pub fn translate(schedule: &LibrarySchedule, training: Training, violations: &mut Violations) -> Option<Translation> {
    let LibraryCall { library, scheduler, params } = &schedule.call;
    let wrong_before = violations.len();
    let translate = find(library, scheduler, violations)?;
    let unit = schedule.unit;
    // A length in steps says nothing to a scheduler that counts something else.
    let counts_steps = unit == Unit::Step || library == "composer";
    let total_steps = training.total_steps.filter(|_| counts_steps);
    let place = Place { training: Training { total_steps, ..training }, unit };
    let translation = violations.within("params", |v| {
        let mut params = Params::new(params, v);
        let translation = translate(&mut params, place);
        params.finish();
        translation
    });
    // Composer's times say themselves what they count.
    let paced = if library == "composer" { translation } else { in_steps(translation, unit, training, violations) };
    (violations.len() == wrong_before).then_some(paced)
}

/// The translation of a scheduler of a library.
fn find(library: &str, scheduler: &str, v: &mut Violations) -> Option<Translate> {
    let Some((_, table, closed_loop)) = LIBRARIES.iter().find(|(name, ..)| *name == library) else {
        let names: Vec<_> = LIBRARIES.iter().map(|(name, ..)| *name).collect();
        v.add("library", unknown("library", library, &names));
        return None;
    };
    if closed_loop.contains(&scheduler) {
        v.add("scheduler", format!("{scheduler} follows a metric: write it under `controllers`, in the same words"));
        return None;
    }
    let found = lookup(table, if library == "megatron" { megatron::plain_name(scheduler) } else { scheduler });
    if found.is_none() {
        let names: Vec<_> = table.iter().map(|(name, _)| *name).collect();
        v.add("scheduler", unknown(&format!("scheduler of {library}"), scheduler, &names));
    }
    found
}

fn lookup(table: Table, scheduler: &str) -> Option<Translate> {
    table.iter().find(|(name, _)| *name == scheduler).map(|(_, translate)| *translate)
}

/// A translation that counts `unit`, on the clock of the job.
fn in_steps(translation: Translation, unit: Unit, training: Training, v: &mut Violations) -> Translation {
    let (units, steps) = match (unit, training.steps_per_epoch) {
        (Unit::Step, _) => return translation,
        (Unit::Epoch, Some(steps)) => (1, steps),
        (Unit::Epoch, None) => {
            v.add("unit", "epoch needs the job's steps_per_epoch");
            (1, 1)
        }
        (Unit::Sample(each) | Unit::Token(each), _) => (each, 1),
    };
    let paced = |schedule| algebra::pace(schedule, units, steps);
    Translation {
        rate: paced(translation.rate),
        momentum: translation.momentum.map(paced),
        weight_decay: translation.weight_decay.map(paced),
    }
}
