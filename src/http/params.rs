//! The parameters of routes that are no methods of a service.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use lrs_engine::Error;
use lrs_model::violation::Violations;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{Problem, body::invalid};

/// What follows the `?`.
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
    /// A structure with a field for each parameter.
    ///
    /// # Errors
    /// All parameters that it does not have, or that have a wrong value.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, Error> {
        let mut violations = Violations::new();
        let mut fields = Map::new();
        for (name, text) in self.0 {
            // Each alone first, so that an error belongs to a parameter.
            let alone = Map::from_iter([(name.clone(), Value::from(text.clone()))]);
            if let Err(problem) = serde_json::from_value::<T>(alone.into()) {
                violations.add(&name, problem);
            } else if fields.insert(name.clone(), text.into()).is_some() {
                violations.add(&name, "is given twice");
            }
        }
        let fields = violations.into_result(fields).map_err(Error::Invalid)?;
        serde_json::from_value(fields.into()).map_err(|problem| invalid("query", problem))
    }

    /// For routes without parameters.
    ///
    /// # Errors
    /// If there are any.
    pub(super) fn none(self) -> Result<(), Error> {
        let mut violations = Violations::new();
        for (name, _) in self.0 {
            violations.add(name, "is not allowed here: there are no parameters");
        }
        violations.into_result(()).map_err(Error::Invalid)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    #[derive(Default)]
    struct Asked {
        colour: String,
    }

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let result = params(&[("size", "1"), ("colour", "red"), ("colour", "blue")]).read::<Asked>();
        let Err(Error::Invalid(violations)) = result else { panic!("{result:?}") };
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["size", "colour"]);
        assert_eq!(params(&[("colour", "red")]).read::<Asked>().unwrap().colour, "red");
    }

    #[test]
    fn where_there_are_no_parameters_each_is_refused() {
        assert!(params(&[]).none().is_ok());
        assert!(params(&[("reason", "x")]).none().is_err());
    }
}
