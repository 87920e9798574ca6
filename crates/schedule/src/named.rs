//! The names people know, a file a form: its parameters with their defaults and ranges, and what it is in the algebra.
//!
//! To add a form, write its file, its row in [`FORMS`], and its message in `proto/lrs/v1/schedule.proto`.

use serde_json::Value;

use super::{horizon::Horizon, node::Node};
use form::{Build, Expansion, Form};
use lrs_model::{
    library::unknown,
    schedule::{NamedForm, ScheduleSpec},
    violation::Violations,
};

pub(crate) mod cosine;
pub(crate) mod cosine_restarts;
pub(crate) mod cyclic;
pub(crate) mod exponential;
pub(crate) mod floor;
pub(crate) mod form;
pub(crate) mod inverse_sqrt;
pub(crate) mod linear;
pub(crate) mod multi_step;
pub(crate) mod one_cycle;
pub(crate) mod polynomial;
pub(crate) mod step;
pub(crate) mod warmup;
pub(crate) mod wsd;

/// Every form.
const FORMS: &[Row] = &[
    row::<warmup::Warmup>("warmup"),
    row::<cosine::Cosine>("cosine"),
    row::<linear::Linear>("linear"),
    row::<polynomial::Polynomial>("polynomial"),
    row::<step::Step>("step"),
    row::<multi_step::MultiStep>("multi_step"),
    row::<exponential::Exponential>("exponential"),
    row::<inverse_sqrt::InverseSqrt>("inverse_sqrt"),
    row::<one_cycle::OneCycle>("one_cycle"),
    row::<wsd::Wsd>("wsd"),
    row::<cosine_restarts::CosineRestarts>("cosine_restarts"),
    row::<cyclic::Cyclic>("cyclic"),
];

/// Writes out the defaults of a schedule among the parameters.
pub(super) type WriteOut = dyn Fn(&mut ScheduleSpec);

/// A form's name, and what can be done with its parameters.
struct Row {
    name: &'static str,
    expand: fn(&Value, Expansion<'_>) -> Node,
    canonical: fn(&Value, &WriteOut) -> Option<Value>,
}

const fn row<F: Form>(name: &'static str) -> Row {
    Row { name, expand: expand_as::<F>, canonical: canonical_as::<F> }
}

fn expand_as<F: Form>(params: &Value, mut x: Expansion<'_>) -> Node {
    match F::deserialize(params) {
        Ok(form) => form.expand(&mut x),
        Err(problem) => {
            x.violations().add("", problem);
            Node::BASE
        }
    }
}

fn canonical_as<F: Form>(params: &Value, write_out: &WriteOut) -> Option<Value> {
    let mut form = F::deserialize(params).ok()?;
    form.parts_mut().into_iter().for_each(write_out);
    let Value::Object(mut params) = serde_json::to_value(form).ok()? else { return None };
    params.retain(|_, value| !value.is_null());
    Some(Value::Object(params))
}

/// The form in the algebra, where `left` of the job is left. Fields of violations are seen from the form; `build` makes
/// the schedules among its parameters.
pub(super) fn expand(named: &NamedForm, left: Horizon, build: &mut Build<'_>, v: &mut Violations) -> Node {
    let Some(row) = FORMS.iter().find(|row| row.name == named.form) else {
        let known: Vec<_> = FORMS.iter().map(|row| row.name).collect();
        v.add("", unknown("form", &named.form, &known));
        return Node::BASE;
    };
    (row.expand)(&named.params, Expansion::new(left, build, v))
}

/// Writes out every default of the form; `write_out` does the same to the schedules among its parameters. A form that
/// is not allowed stays as it is.
pub(super) fn write_out_defaults(named: &mut NamedForm, write_out: &WriteOut) {
    let row = FORMS.iter().find(|row| row.name == named.form);
    if let Some(params) = row.and_then(|row| (row.canonical)(&named.params, write_out)) {
        named.params = params;
    }
}

/// The parameters of a form that is known to be an `F`; `None` if they are not allowed.
pub(super) fn read<F: Form>(named: &NamedForm) -> Option<F> {
    F::deserialize(&named.params).ok()
}
