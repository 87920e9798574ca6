//! Rows as both databases give them, and their way into the model and back.
//!
//! A row is read with the plainest types, JSON as text, so that reading it can hardly fail; what makes no sense in it is
//! found on the way into the model, where the error can name the table and the key.

pub(super) mod attempt;
pub(super) mod chunk;
pub(super) mod decision;
pub(super) mod job;
pub(super) mod state;

use std::fmt::Display;

use serde::{Serialize, de::DeserializeOwned};

use super::Error;

/// A row's place, to be named if something is wrong with it.
pub(super) struct Place {
    table: &'static str,
    id: String,
}

impl Place {
    /// The row of `table` with the key `id`.
    pub(super) fn new(table: &'static str, id: impl Display) -> Self {
        Self { table, id: id.to_string() }
    }

    /// What is wrong with the row.
    pub(super) fn inconsistent(&self, problem: impl Display) -> Error {
        Error::Inconsistent { table: self.table, id: self.id.clone(), problem: problem.to_string() }
    }

    /// A number that is never negative, or the other integer type asked for.
    pub(super) fn number<T: TryFrom<i64>>(&self, column: &str, value: i64) -> Result<T, Error> {
        T::try_from(value).map_err(|_| self.inconsistent(format_args!("{column} is {value}, out of range")))
    }

    /// The same where there may be none.
    pub(super) fn optional_number<T: TryFrom<i64>>(
        &self,
        column: &str,
        value: Option<i64>,
    ) -> Result<Option<T>, Error> {
        value.map(|value| self.number(column, value)).transpose()
    }

    /// A value that is stored as JSON.
    pub(super) fn json<T: DeserializeOwned>(&self, column: &str, text: &str) -> Result<T, Error> {
        serde_json::from_str(text).map_err(|error| self.inconsistent(format_args!("{column}: {error}")))
    }
}

/// A number as both databases store it.
pub(super) fn stored_number(what: &'static str, value: u64) -> Result<i64, Error> {
    i64::try_from(value)
        .map_err(|_| Error::Refused { what, problem: format!("{value} is above the highest number, {}", i64::MAX) })
}

/// A value as JSON.
pub(super) fn stored_json(what: &'static str, value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::Refused { what, problem: error.to_string() })
}

/// A bound of a search as both databases take it: nothing stored lies above the highest number.
pub(super) fn capped(bound: u64) -> i64 {
    i64::try_from(bound).unwrap_or(i64::MAX)
}
