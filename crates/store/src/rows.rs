//! Rows as the databases return them, and their conversion to and from the model.
//!
//! A row is read with the plainest types, JSON as text, so that reading hardly fails. A value that makes no sense is
//! found during the conversion, where the error can name the table and the key.

pub(super) mod attempt;
pub(super) mod change;
pub(super) mod chunk;
pub(super) mod decision;
pub(super) mod job;
pub(super) mod state;

use std::fmt::Display;

use serde::{Serialize, de::DeserializeOwned};

use super::Error;

/// Which row is being read, for errors.
pub(super) struct Source {
    table: &'static str,
    id: String,
}

impl Source {
    /// The row of `table` with the key `id`.
    pub(super) fn new(table: &'static str, id: impl Display) -> Self {
        Self { table, id: id.to_string() }
    }

    /// The error that says what is wrong with the row.
    pub(super) fn inconsistent(&self, problem: impl Display) -> Error {
        Error::inconsistent(self.table, &self.id, problem.to_string())
    }

    /// A number as another integer type.
    pub(super) fn number<T: TryFrom<i64>>(&self, column: &str, value: i64) -> Result<T, Error> {
        T::try_from(value).map_err(|_| self.inconsistent(format_args!("{column} is {value}, out of range")))
    }

    /// A number as another integer type, or `None` for null.
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

/// A number as all databases store it.
pub(super) fn stored_number(what: &'static str, value: u64) -> Result<i64, Error> {
    i64::try_from(value).map_err(|_| Error::refused(what, format!("{value} is above the highest number, {}", i64::MAX)))
}

/// A value as JSON.
pub(super) fn stored_json(what: &'static str, value: &impl Serialize) -> Result<String, Error> {
    serde_json::to_string(value).map_err(|error| Error::refused(what, error))
}

/// A bound of a search as all databases take it: no stored number is above `i64::MAX`.
pub(super) fn capped(bound: u64) -> i64 {
    i64::try_from(bound).unwrap_or(i64::MAX)
}
