//! The parameters of routes that are no methods of a service.

use axum::{
    extract::{FromRequestParts, Query},
    http::request::Parts,
};
use lrs_engine::Error;
use lrs_model::{
    MAX_STEP,
    typed::{self, snake_case},
    violation::Violations,
};

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
    /// The whole numbers that these parameters give; 0 for those that are left out.
    ///
    /// # Errors
    /// All parameters that there are not, or that have a wrong value.
    pub(super) fn whole_numbers<const N: usize>(self, names: [&str; N]) -> Result<[u64; N], Error> {
        let mut violations = Violations::new();
        let mut given = [None; N];
        for (name, text) in self.0 {
            let Some(place) = names.iter().position(|known| *known == snake_case(&name)) else {
                let choice = typed::choice(&name, &names);
                violations.add(&name, format_args!("{name:?} is not a parameter here: {choice}"));
                continue;
            };
            match typed::whole(&text, 0..=MAX_STEP + 1) {
                Err(problem) => violations.add(&name, problem),
                Ok(number) if given[place].replace(number).is_some() => violations.add(&name, "is given twice"),
                Ok(_) => {}
            }
        }
        violations.into_result(given.map(Option::unwrap_or_default)).map_err(Error::Invalid)
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
    use super::*;

    fn params(pairs: &[(&str, &str)]) -> Params {
        Params(pairs.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect())
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let given = [("pints", "1"), ("points", "many"), ("startStep", "1"), ("start_step", "2")];
        let result = params(&given).whole_numbers(["start_step", "points"]);
        let Err(Error::Invalid(violations)) = result else { panic!("{result:?}") };
        let text = violations.to_string();
        for says in [
            "pints: \"pints\" is not a parameter here: did you mean points? There are start_step, points",
            "points: \"many\" is not allowed: must be a whole number",
            "start_step: is given twice",
        ] {
            assert!(text.contains(says), "{text}");
        }
        assert_eq!(params(&[("points", "1_000")]).whole_numbers(["start_step", "points"]).unwrap(), [0, 1000]);
    }

    #[test]
    fn where_there_are_no_parameters_each_is_refused() {
        assert!(params(&[]).none().is_ok());
        assert!(params(&[("reason", "x")]).none().is_err());
    }
}
