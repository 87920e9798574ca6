//! Schedulers that take a function. Code cannot be stored, sent or checked; instead, a few functions are known by kind.

use serde_json::{Map, Value};

use super::{arguments::last_epoch, composite::for_the_job};
use crate::compat::{
    algebra::{base, drops, geometric, line, power_law},
    library::{FromJob, Translation},
};
use lrs_model::{
    library::Params,
    number::exact,
    schedule::{ChainLink, ScheduleSpec as S},
    violation::Violations,
};

/// What to write in place of code.
const INSTEAD: &str = "is code, which a schedule cannot hold: write a form of ours, such as `warmup`, `geometric` or \
    `power_law`, or an object with a kind: {\"kind\": \"constant\", \"value\"}, {\"kind\": \"geometric\", \"gamma\"}, \
    {\"kind\": \"staircase\", \"gamma\", \"every\"}, {\"kind\": \"inverse_time\", \"k\"} or {\"kind\": \"ramp\", \"n\"}";

/// A factor as a function of the step.
enum Function {
    Constant(f64),
    Of(S),
}

impl Function {
    fn schedule(self) -> S {
        match self {
            Self::Constant(value) => base(value),
            Self::Of(schedule) => schedule,
        }
    }
}

/// The base rate times the function.
pub(super) fn lambda(p: &mut Params<'_>, _: FromJob) -> Translation {
    last_epoch(p);
    function(p).schedule().into()
}

/// The base rate times the product of the function's values at steps 1, 2, …
pub(super) fn multiplicative(p: &mut Params<'_>, job: FromJob) -> Translation {
    last_epoch(p);
    match function(p) {
        Function::Constant(factor) => geometric(base(1.0), factor, 1.0),
        Function::Of(schedule) => {
            let link = ChainLink { schedule, running: true, ..ChainLink::default() };
            for_the_job(vec![link], p, job)
        }
    }
    .into()
}

fn function(p: &mut Params<'_>) -> Function {
    if !p.has("lr_lambda") {
        p.wrong("lr_lambda", "is required");
        return Function::Constant(1.0);
    }
    let Some(object) = p.object("lr_lambda") else {
        p.wrong("lr_lambda", INSTEAD);
        return Function::Constant(1.0);
    };
    p.within("lr_lambda", |v| kind(object, v))
}

fn kind(object: &Map<String, Value>, v: &mut Violations) -> Function {
    let mut p = Params::new(object, v);
    let kinds = ["constant", "geometric", "staircase", "inverse_time", "ramp"];
    if !p.has("kind") {
        p.wrong("kind", INSTEAD);
    }
    let positive = |p: &mut Params<'_>, name| {
        let number = p.number(name);
        p.check(name, number > 0.0, "greater than 0");
        if number > 0.0 { number } else { 1.0 }
    };
    let function = match p.choice_or("kind", &kinds, "constant") {
        "geometric" => Function::Of(geometric(base(1.0), positive(&mut p, "gamma"), 1.0)),
        "staircase" => {
            let gamma = positive(&mut p, "gamma");
            Function::Of(drops(base(1.0), gamma, exact(p.whole("every", 1))))
        }
        "inverse_time" => Function::Of(power_law(base(1.0), 1.0 / positive(&mut p, "k"), 1.0)),
        "ramp" => {
            let over = exact(p.whole("n", 1));
            Function::Of(line(base(1.0 / over), base(1.0), over - 1.0))
        }
        _ if p.has("kind") => Function::Constant(positive(&mut p, "value")),
        _ => Function::Constant(1.0),
    };
    p.finish();
    function
}
