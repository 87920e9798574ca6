//! Resource names: `namespaces/{namespace}/jobs/{job}`.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The server's identifier of a job. A job that is deleted and created again under the same name gets a new identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A job's resource name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobName {
    full: String,
    namespace_len: usize,
}

const NAMESPACES: &str = "namespaces/";
const JOBS: &str = "/jobs/";

/// Why a resource name is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidName {
    /// The text does not have the form of a job's name.
    #[error("{0:?} is not allowed: must be namespaces/{{namespace}}/jobs/{{job}}")]
    Shape(String),
    /// The text does not have the form of a parent's name.
    #[error("{0:?} is not allowed: must be namespaces/{{namespace}}")]
    ParentShape(String),
    /// A part of the name has characters that are not allowed.
    #[error("{0:?} is not allowed: must be 1 to 63 letters, digits, '-', '_' or '.', beginning with a letter or digit")]
    Part(String),
    /// The name of a parameter group has characters that cannot be seen, or too many.
    #[error("{0:?} is not allowed: must be 1 to 100 printable characters, not all of them spaces")]
    Group(String),
}

/// Checks a part of a resource name, or another short identifier.
///
/// # Errors
/// Unless it has 1 to 63 letters or digits of any script, `-`, `_` or `.`, and begins with a letter or digit.
pub fn check_part(part: &str) -> Result<(), InvalidName> {
    let begins_well = part.chars().next().is_some_and(char::is_alphanumeric);
    let goes_on_well = part.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if begins_well && goes_on_well && part.chars().count() <= 63 {
        Ok(())
    } else {
        Err(InvalidName::Part(part.to_owned()))
    }
}

/// The most characters in the name of a parameter group.
const MAX_GROUP_CHARS: usize = 100;

/// Checks the name of a parameter group: people name groups as they like, such as `no decay` or `layer/1`.
///
/// # Errors
/// Unless it has 1 to 100 characters, none of them a control character and not all of them spaces.
pub fn check_group(name: &str) -> Result<(), InvalidName> {
    let is_printable = !name.chars().any(char::is_control) && !name.trim().is_empty();
    if is_printable && name.chars().count() <= MAX_GROUP_CHARS {
        Ok(())
    } else {
        Err(InvalidName::Group(name.chars().take(MAX_GROUP_CHARS + 1).collect()))
    }
}

/// The namespace of `namespaces/{namespace}`.
///
/// # Errors
/// If `parent` has another shape, or the namespace is not a valid part.
pub fn parse_parent(parent: &str) -> Result<&str, InvalidName> {
    let namespace = parent.strip_prefix(NAMESPACES).ok_or_else(|| InvalidName::ParentShape(parent.to_owned()))?;
    check_part(namespace)?;
    Ok(namespace)
}

impl JobName {
    /// The name of `job` in `namespace`.
    ///
    /// # Errors
    /// If either is not a valid part.
    pub fn new(namespace: &str, job: &str) -> Result<Self, InvalidName> {
        check_part(namespace)?;
        check_part(job)?;
        Ok(Self { full: format!("{NAMESPACES}{namespace}{JOBS}{job}"), namespace_len: namespace.len() })
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.full[NAMESPACES.len()..NAMESPACES.len() + self.namespace_len]
    }

    /// The last part.
    #[must_use]
    pub fn job(&self) -> &str {
        &self.full[NAMESPACES.len() + self.namespace_len + JOBS.len()..]
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.full
    }
}

impl FromStr for JobName {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        let (namespace, job) = name
            .strip_prefix(NAMESPACES)
            .and_then(|rest| rest.split_once(JOBS))
            .ok_or_else(|| InvalidName::Shape(name.to_owned()))?;
        Self::new(namespace, job)
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_being_written_and_read() {
        let name = JobName::new("vision", "größe-7.b").unwrap();
        assert_eq!(name.as_str(), "namespaces/vision/jobs/größe-7.b");
        let read: JobName = name.as_str().parse().unwrap();
        assert_eq!((read.namespace(), read.job()), ("vision", "größe-7.b"));
    }

    #[test]
    fn a_group_has_any_name_that_can_be_printed() {
        for good in ["no decay", "layer/1", "größe: 7 = x", "λ", "-", &"x".repeat(100)] {
            assert_eq!(check_group(good), Ok(()), "{good}");
        }
        for bad in ["", " ", "a\nb", "a\tb", "\u{7f}", &"x".repeat(101)] {
            assert!(check_group(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_name_with_a_slash_a_space_or_nothing_is_refused() {
        for bad in
            ["", "jobs/x", "namespaces//jobs/x", "namespaces/a/jobs/", "namespaces/a/jobs/b/c", "namespaces/a/jobs/b c"]
        {
            assert!(bad.parse::<JobName>().is_err(), "{bad}");
        }
        assert!(JobName::new("a", &"x".repeat(64)).is_err());
        assert!(JobName::new("a", "-x").is_err());
    }
}
