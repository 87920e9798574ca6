//! What many of torch's schedulers take.

use lrs_model::library::Params;
use serde_json::json;

/// Where training resumes is for the attempt to say.
pub(super) fn last_epoch(p: &mut Params<'_>) {
    p.only("last_epoch", &[json!(-1)], "is not used: an attempt says at which step it resumes");
}
