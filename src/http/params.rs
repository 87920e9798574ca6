//! What stands in the path and the query of a request.

use std::collections::HashMap;

use axum::{
    extract::{FromRequestParts, Path, Query},
    http::request::Parts,
};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::Problem;
use lrs_engine::Error;
use lrs_model::violation::Violations;

/// The names in the path: `namespaces/{namespace}/jobs/{job}:{verb}`.
#[derive(Debug)]
pub(super) struct Target {
    namespace: String,
    job: String,
    /// What stands after the colon; empty if there is none.
    pub(super) verb: String,
}

impl Target {
    /// `namespaces/{namespace}`.
    pub(super) fn parent(&self) -> String {
        format!("namespaces/{}", self.namespace)
    }

    /// `namespaces/{namespace}/jobs/{job}`.
    pub(super) fn name(&self) -> String {
        format!("namespaces/{}/jobs/{}", self.namespace, self.job)
    }

    fn of(mut names: HashMap<String, String>) -> Self {
        let namespace = names.remove("namespace").unwrap_or_default();
        let last = names.remove("job").unwrap_or_default();
        // No name has a colon in it.
        let (job, verb) = last.rsplit_once(':').unwrap_or((&last, ""));
        Self { namespace, job: job.to_owned(), verb: verb.to_owned() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Target {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let names: Path<HashMap<String, String>> =
            Path::from_request_parts(parts, state).await.map_err(|problem| invalid("path", problem))?;
        Ok(Self::of(names.0))
    }
}

/// The parameters after the `?`: fields of the request message, by their name in either case.
#[derive(Debug)]
pub(super) struct Params(Vec<(String, String)>);

impl<S: Send + Sync> FromRequestParts<S> for Params {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let pairs: Query<Vec<(String, String)>> =
            Query::from_request_parts(parts, state).await.map_err(|problem| invalid("query", problem))?;
        Ok(Self(pairs.0))
    }
}

impl Params {
    /// The request message with these fields.
    ///
    /// # Errors
    /// All parameters that are no field of it, or have a wrong value.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        let mut violations = Violations::new();
        let mut fields = Map::new();
        for (name, text) in self.0 {
            let value = to_json(&name, text);
            // Each alone first, so that an error belongs to a parameter.
            if let Err(problem) = serde_json::from_value::<T>(Map::from_iter([(name.clone(), value.clone())]).into()) {
                violations.add(&name, problem);
            } else if let (Some(Value::Array(list)), Value::Array(more)) = (fields.get_mut(&name), &value) {
                list.extend_from_slice(more);
            } else if fields.insert(name.clone(), value).is_some() {
                violations.add(&name, "is given twice");
            }
        }
        let fields = violations.into_result(fields).map_err(Error::Invalid)?;
        serde_json::from_value(fields.into()).map_err(|problem| invalid_error("query", problem))
    }

    /// For methods whose fields all stand in the path and the body.
    ///
    /// # Errors
    /// If there are any parameters.
    pub(super) fn none(self) -> Result<(), Error> {
        let mut violations = Violations::new();
        for (name, _) in self.0 {
            violations.add(name, "is not allowed in the query of this method");
        }
        violations.into_result(()).map_err(Error::Invalid)
    }
}

/// The JSON of a parameter. Numbers may stay text in the canonical form; what may not is named here.
fn to_json(name: &str, text: String) -> Value {
    match (name, text.as_str()) {
        ("force" | "validate_only" | "validateOnly", "true") => true.into(),
        ("force" | "validate_only" | "validateOnly", "false") => false.into(),
        ("metrics", _) => Value::Array(vec![text.into()]),
        ("update_mask" | "updateMask", _) => {
            let paths = text.split(',').map(|path| snake_case(path.trim()).into()).collect();
            Map::from_iter([("paths".to_owned(), Value::Array(paths))]).into()
        }
        _ => text.into(),
    }
}

/// A path of a mask, which has its fields in camel case in the canonical form. Keys of labels are left as they are.
fn snake_case(path: &str) -> String {
    if path.starts_with("spec.labels.") {
        return path.to_owned();
    }
    let mut snake = String::with_capacity(path.len());
    for c in path.chars() {
        if c.is_ascii_uppercase() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

fn invalid(field: &str, problem: impl std::fmt::Display) -> Problem {
    invalid_error(field, problem).into()
}

/// The error that `field` is wrong.
pub(super) fn invalid_error(field: &str, problem: impl std::fmt::Display) -> Error {
    let mut violations = Violations::new();
    violations.add(field, problem);
    Error::Invalid(violations)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::{DeleteJobRequest, ListJobsRequest, QueryTelemetryRequest, UpdateJobRequest};

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn numbers_lists_truths_and_masks_are_read() {
        let request: QueryTelemetryRequest = params(&[
            ("attempt", "2"),
            ("startStep", "10"),
            ("end_step", "20"),
            ("metrics", "loss"),
            ("metrics", "acc"),
            ("max_points", "100"),
        ])
        .read()
        .unwrap();
        assert_eq!((request.attempt, request.start_step, request.end_step), (2, 10, Some(20)));
        assert_eq!((request.metrics, request.max_points), (vec!["loss".to_owned(), "acc".to_owned()], 100));
        let request: DeleteJobRequest = params(&[("force", "true"), ("etag", "\"7\"")]).read().unwrap();
        assert_eq!((request.force, request.etag.as_str()), (true, "\"7\""));
        let request: UpdateJobRequest =
            params(&[("update_mask", "spec.totalSteps,spec.labels.myKey, spec.arm")]).read().unwrap();
        assert_eq!(request.update_mask.unwrap().paths, ["spec.total_steps", "spec.labels.myKey", "spec.arm"]);
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let result = params(&[("page_size", "ten"), ("colour", "red"), ("filter", "a"), ("filter", "b")])
            .read::<ListJobsRequest>();
        let Err(Error::Invalid(violations)) = result else { panic!("{result:?}") };
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["page_size", "colour", "filter"]);
        assert!(violations.to_string().contains("unknown field `colour`, expected one of"), "{violations}");
    }

    #[test]
    fn a_method_with_a_body_has_no_parameters() {
        assert!(params(&[]).none().is_ok());
        assert!(params(&[("reason", "x")]).none().is_err());
    }

    #[test]
    fn a_verb_stands_after_the_last_colon() {
        let target = |job: &str| {
            Target::of(HashMap::from([("namespace".into(), "größe".into()), ("job".into(), job.to_owned())]))
        };
        assert_eq!(target("a").name(), "namespaces/größe/jobs/a");
        assert_eq!(
            (target("a:pause").name().as_str(), target("a:pause").verb.as_str()),
            ("namespaces/größe/jobs/a", "pause")
        );
        assert_eq!(target("a").verb, "");
    }
}
