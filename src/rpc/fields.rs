//! Fields that many requests share: names, pages, author and reason.
//!
//! As in [`convert`](super::convert), a reader notes what is wrong and goes on; at the end, [`checked`] refuses the
//! request.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    rpc::convert::{self, at_most_chars, whole},
    trace,
};
use lrs_engine::{Engine, Error, Order};
use lrs_model::{
    name::{InvalidName, JobName, check_part, parse_parent},
    spec::Spec,
    violation::Violations,
};
use lrs_proto as proto;
use lrs_runtime::heavy::in_place;

const MAX_WAIT: Duration = Duration::from_mins(1);
const MAX_REASON_CHARS: usize = 1000;
const MAX_AUTHOR_CHARS: usize = 200;
const MAX_REQUEST_ID_CHARS: usize = 200;
const MAX_FIGURES: usize = 64;
const MAX_FIGURE_NAME_CHARS: usize = 100;
const MAX_PAGE_SIZE: u64 = 1000;
const DEFAULT_PAGE_SIZE: u32 = 100;
/// The author of an order whose request names none.
const ANONYMOUS: &str = "anonymous";

/// `value`, if no violation was noted.
///
/// # Errors
/// [`Error::Invalid`] with every violation.
pub fn checked<T>(violations: Violations, value: Option<T>) -> Result<T, Error> {
    match value {
        Some(value) if violations.is_empty() => Ok(value),
        _ => Err(Error::Invalid(violations)),
    }
}

/// Reads the name of a job.
pub fn job_name(violations: &mut Violations, field: &str, name: &str) -> Option<JobName> {
    let name: Option<JobName> = noted(violations, field, name.parse());
    name.inspect(|name| trace::about(name.as_str()))
}

/// Reads the name of a job, in a request that has nothing else to check.
///
/// # Errors
/// [`Error::Invalid`] if the name is invalid.
pub fn only_job_name(field: &str, name: &str) -> Result<JobName, Error> {
    let mut violations = Violations::new();
    let name = job_name(&mut violations, field, name);
    checked(violations, name)
}

/// The name of the job `job_id` in `parent`. Checks both, so that both can be wrong at once.
pub fn child_name(violations: &mut Violations, parent: &str, job_id: &str) -> Option<JobName> {
    let namespace = noted(violations, "parent", parse_parent(parent));
    let job_id = noted(violations, "job_id", check_part(job_id).map(|()| job_id));
    JobName::new(namespace?, job_id?).ok().inspect(|name| trace::about(name.as_str()))
}

/// How long an answer may wait; zero if the field is not set.
pub fn wait(violations: &mut Violations, field: &str, wire: Option<&pbjson_types::Duration>) -> Duration {
    let Some(wire) = wire else { return Duration::ZERO };
    match Duration::try_from(*wire) {
        Ok(wait) if wait <= MAX_WAIT => wait,
        _ => {
            let value = format_args!("{} s and {} ns", wire.seconds, wire.nanos);
            violations.refuse(field, value, "from 0 to 60 seconds");
            Duration::ZERO
        }
    }
}

/// Reads a required spec in `field`. Both its form on the wire and its meaning are checked, so that all violations come
/// at once.
pub fn spec(v: &mut Violations, engine: &Engine, field: &str, wire: Option<proto::JobSpec>) -> Option<Spec> {
    v.within(field, |v| {
        let Some(wire) = wire else {
            v.add("", "is required");
            return None;
        };
        let spec = in_place(|| convert::spec::from_proto(wire, v));
        match engine.check_spec(spec) {
            Ok(spec) => return Some(spec),
            Err(Error::Invalid(found)) => v.absorb(&found),
            Err(other) => v.add("", other),
        }
        None
    })
}

/// The author of a change, with the reason and the request's identifier.
pub fn order(violations: &mut Violations, author: String, reason: String, request_id: String) -> Order {
    at_most_chars(violations, "reason", &reason, MAX_REASON_CHARS);
    at_most_chars(violations, "author", &author, MAX_AUTHOR_CHARS);
    let author = if author.trim().is_empty() { ANONYMOUS.to_owned() } else { author };
    trace::by(&convert::shortened(&author, MAX_AUTHOR_CHARS));
    let request_id = self::request_id(violations, request_id);
    Order { author, reason, request_id, origin: trace::origin(), fingerprint: 0 }
}

/// Checks figures by name.
pub fn figures(violations: &mut Violations, field: &str, figures: &BTreeMap<String, f64>) {
    if figures.len() > MAX_FIGURES {
        violations.refuse(field, format_args!("{} figures", figures.len()), format_args!("at most {MAX_FIGURES}"));
    }
    let is_name = |name: &str| (1..=MAX_FIGURE_NAME_CHARS).contains(&name.chars().count()) && !name.contains('\0');
    if let Some(name) = figures.keys().find(|name| !is_name(name)) {
        violations.refuse(
            field,
            format_args!("{name:?}"),
            format_args!("names of 1 to {MAX_FIGURE_NAME_CHARS} characters, none of them NUL"),
        );
    }
}

/// The identifier that makes a repeated request harmless.
pub fn request_id(violations: &mut Violations, request_id: String) -> Option<String> {
    at_most_chars(violations, "request_id", &request_id, MAX_REQUEST_ID_CHARS);
    (!request_id.is_empty()).then_some(request_id)
}

/// The size of a page, with the usual limit and default.
pub fn page_size(violations: &mut Violations, page_size: i32) -> u32 {
    page_size_up_to(violations, page_size, MAX_PAGE_SIZE, DEFAULT_PAGE_SIZE)
}

/// The size of a page with another limit and default.
pub fn page_size_up_to(violations: &mut Violations, page_size: i32, max: u64, default: u32) -> u32 {
    if page_size == 0 {
        return default;
    }
    u32::try_from(whole(violations, "page_size", page_size.into(), 1, max)).unwrap_or(default)
}

/// What was read, if it could be; otherwise the problem is noted.
pub fn noted<T>(violations: &mut Violations, field: &str, read: Result<T, InvalidName>) -> Option<T> {
    read.map_err(|problem| violations.add(field, problem)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_parent_and_a_wrong_id_are_both_named() {
        let mut violations = Violations::new();
        assert_eq!(child_name(&mut violations, "namespaces/", "a b"), None);
        assert_eq!(violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["parent", "job_id"]);
    }

    #[test]
    fn an_order_without_an_author_is_anonymous() {
        let mut violations = Violations::new();
        let order = order(&mut violations, String::new(), "why".into(), String::new());
        assert_eq!(order, Order { author: "anonymous".into(), reason: "why".into(), ..Order::default() });
        assert!(violations.is_empty());
    }

    #[test]
    fn long_texts_are_refused() {
        let mut violations = Violations::new();
        order(&mut violations, "x".repeat(201), "x".repeat(1001), "x".repeat(201));
        assert_eq!(violations.iter().map(|v| v.field.as_str()).collect::<Vec<_>>(), ["reason", "author", "request_id"]);
    }

    #[test]
    fn a_page_has_a_default_and_a_limit() {
        let mut violations = Violations::new();
        assert_eq!(page_size(&mut violations, 0), 100);
        assert_eq!(page_size(&mut violations, 1000), 1000);
        assert!(violations.is_empty());
        page_size(&mut violations, 1001);
        page_size(&mut violations, -1);
        assert_eq!(violations.len(), 2);
    }
}
