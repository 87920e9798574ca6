//! Arguments that many of torch's schedulers have.

use lrs_model::library::Params;
use serde_json::json;

/// The step at which training resumes. An attempt of a job says that, so only the default is allowed.
pub(super) fn last_epoch(p: &mut Params<'_>) {
    p.only("last_epoch", &[json!(-1)], "is not used: an attempt says at which step it resumes");
}
