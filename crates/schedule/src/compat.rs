//! Schedulers of other libraries, each written out in the algebra: a file a library, from its names and keyword
//! arguments.
//!
//! What a translation promises: the rates of the library's scheduler, within 1e-12 of the schedule's peak (1e-6 where
//! the library computes in single precision). Rates that a library takes from the optimizer become multiples of the
//! group's base rate, so that one translation serves all groups; rates that it takes as arguments are absolute.
//!
//! To add a scheduler, write a function and its row in the library's file. To add a library, write its file and its row
//! in `LIBRARIES`.

use super::training::Training;
use library::{Count, FromJob, Library};
use lrs_model::{
    library::{LibraryCall, Params, unknown},
    schedule::{LibrarySchedule, ScheduleSpec, Unit},
    violation::Violations,
};
use serde_json::Value;

mod algebra;
mod composer;
mod deepspeed;
mod fairseq;
mod keras;
mod library;
mod megatron;
mod optax;
mod timm;
mod torch;
mod transformers;

pub use library::{Scheduler, Translation};

/// Every library, in the order in which they are documented.
const LIBRARIES: &[&Library] = &[
    &torch::LIBRARY,
    &optax::LIBRARY,
    &transformers::LIBRARY,
    &timm::LIBRARY,
    &keras::LIBRARY,
    &deepspeed::LIBRARY,
    &megatron::LIBRARY,
    &composer::LIBRARY,
    &fairseq::LIBRARY,
];

/// Every library and its schedulers, in the order in which they are documented.
pub fn libraries() -> impl Iterator<Item = (&'static str, &'static [Scheduler])> {
    LIBRARIES.iter().map(|library| (library.name, library.schedulers))
}

/// The libraries in whose words a schedule of ours can be written, see [`in_words_of`].
pub fn libraries_with_words() -> impl Iterator<Item = &'static str> {
    LIBRARIES.iter().filter(|library| library.words.is_some()).map(|library| library.name)
}

/// What `schedule` does in a `training`, in the algebra.
///
/// What is wrong is added to `violations`, with fields such as `params.step_size`; then, and only then, the result is
/// `None`.
pub fn translate(schedule: &LibrarySchedule, training: Training, violations: &mut Violations) -> Option<Translation> {
    let LibraryCall { library, scheduler, params } = &schedule.call;
    let wrong_before = violations.len();
    for (field, name) in [("library", library), ("scheduler", scheduler)] {
        if name.is_empty() {
            violations.add(field, "is required: `library` and `scheduler` go together, as in \"torch\" and \"StepLR\"");
        }
    }
    let count = Count::of(schedule, violations);
    if library.is_empty() || scheduler.is_empty() {
        return None;
    }
    let library = find(library, violations)?;
    let translate = library.find(scheduler, violations)?;
    // A length in steps says nothing to a scheduler that counts something else.
    let counts_steps = count == Count::Steps || library.counts_itself;
    let total_steps = training.total_steps.filter(|_| counts_steps);
    let job = FromJob { training: Training { total_steps, ..training }, count, schedulers: library.schedulers };
    let translation = violations.within("params", |v| {
        let mut params = Params::new(params, v);
        let translation = translate(&mut params, job);
        params.finish();
        translation
    });
    let paced = if library.counts_itself { translation } else { in_steps(translation, count, training, violations) };
    (violations.len() == wrong_before).then_some(paced)
}

/// `schedule` as one of `library`'s schedulers, or `None` where the library has none that does the same, or where a
/// length is left to the job.
///
/// What is answered translates to the same rates at every step. Only whole forms are known: a sum or a product has no
/// name.
#[must_use]
pub fn in_words_of(schedule: &ScheduleSpec, library: &str) -> Option<LibrarySchedule> {
    let library = LIBRARIES.iter().find(|known| known.name == library)?;
    let (scheduler, Value::Object(params)) = (library.words?)(schedule)? else { return None };
    let call = LibraryCall { library: library.name.to_owned(), scheduler: scheduler.to_owned(), params };
    Some(LibrarySchedule { call, unit: Unit::Step, units_per_step: None })
}

fn find(library: &str, v: &mut Violations) -> Option<&'static Library> {
    let found = LIBRARIES.iter().find(|known| known.name == library).copied();
    if found.is_none() {
        let names: Vec<_> = LIBRARIES.iter().map(|known| known.name).collect();
        v.add("library", unknown("library", library, &names));
    }
    found
}

/// A translation that counts something, on the clock of the job.
fn in_steps(translation: Translation, count: Count, training: Training, v: &mut Violations) -> Translation {
    let (units, steps) = match (count, training.steps_per_epoch) {
        (Count::Steps, _) => return translation,
        (Count::Epochs, Some(steps)) => (1, steps),
        (Count::Epochs, None) => {
            v.add("unit", "epoch needs the job's steps_per_epoch");
            (1, 1)
        }
        (Count::Samples(each) | Count::Tokens(each), _) => (each, 1),
    };
    let paced = |schedule| algebra::pace(schedule, units, steps);
    Translation {
        rate: paced(translation.rate),
        momentum: translation.momentum.map(paced),
        weight_decay: translation.weight_decay.map(paced),
    }
}
