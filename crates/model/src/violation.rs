//! Violations: the errors in an input, field by field.

use std::fmt::{self, Display};

/// An error in one field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `spec.groups[0].base_lr`.
    pub field: String,
    /// The value found and what is allowed, such as `-1 is not allowed: must be finite and at least 0`.
    pub description: String,
}

/// All errors in an input, so that a person can correct everything at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    found: Vec<Violation>,
    prefix: Vec<String>,
}

impl Violations {
    /// No violations yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Notes that `field` is wrong; its path starts at the present place. An empty `field` is the place itself.
    pub fn add(&mut self, field: impl Display, description: impl Display) {
        let field = self.path(&field.to_string());
        self.found.push(Violation { field, description: description.to_string() });
    }

    /// Notes that `value` is not allowed in `field`, and which values are.
    pub fn refuse(&mut self, field: impl Display, value: impl Display, allowed: impl Display) {
        self.add(field, format!("{value} is not allowed: must be {allowed}"));
    }

    /// Runs `check` with `field` in front of every path that it names.
    pub fn within<T>(&mut self, field: impl Display, check: impl FnOnce(&mut Self) -> T) -> T {
        self.prefix.push(field.to_string());
        let result = check(self);
        self.prefix.pop();
        result
    }

    /// Adds the findings of another check, with the present place in front of their paths.
    ///
    /// Leaves out findings at or below a field that is already known to be wrong, because they would only repeat that
    /// finding.
    pub fn absorb(&mut self, other: &Self) {
        for violation in &other.found {
            let field = self.path(&violation.field);
            if !self.found.iter().any(|known| lies_within(&field, &known.field)) {
                self.found.push(Violation { field, description: violation.description.clone() });
            }
        }
    }

    /// The same violations, with other names for their fields.
    #[must_use]
    pub fn renamed(mut self, name: impl Fn(&str) -> String) -> Self {
        for violation in &mut self.found {
            violation.field = name(&violation.field);
        }
        self
    }

    /// Whether there are no violations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The number of violations.
    #[must_use]
    pub fn len(&self) -> usize {
        self.found.len()
    }

    /// The violations, in the order in which they were found.
    pub fn iter(&self) -> impl Iterator<Item = &Violation> {
        self.found.iter()
    }

    /// `value` if there are no violations.
    ///
    /// # Errors
    /// All violations, if there are any.
    pub fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.found.is_empty() { Ok(value) } else { Err(self) }
    }

    fn path(&self, field: &str) -> String {
        let mut path = String::new();
        for part in self.prefix.iter().map(String::as_str).chain([field]) {
            if !path.is_empty() && !part.is_empty() && !part.starts_with('[') {
                path.push('.');
            }
            path.push_str(part);
        }
        path
    }
}

fn lies_within(field: &str, place: &str) -> bool {
    field.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

impl Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, violation) in self.found.iter().enumerate() {
            if i > 0 {
                f.write_str("; ")?;
            }
            write!(f, "{}: {}", violation.field, violation.description)?;
        }
        Ok(())
    }
}

impl std::error::Error for Violations {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_joins_fields_with_dots_and_indices_without() {
        let mut violations = Violations::new();
        violations.within("spec", |v| {
            v.within("groups", |v| v.within("[1]", |v| v.refuse("base_lr", -1.0, "finite and at least 0")));
            v.within("schedule", |v| v.add("", "is required"));
        });

        let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["spec.groups[1].base_lr", "spec.schedule"]);
        assert!(violations.to_string().contains("-1 is not allowed: must be finite and at least 0"));
    }

    #[test]
    fn what_is_below_a_wrong_field_is_not_said_twice() {
        let mut later = Violations::new();
        for field in ["groups[1].name", "groups[10].name", "total_steps"] {
            later.add(field, "is wrong");
        }
        let mut violations = Violations::new();
        violations.add("spec.groups[1]", "is wrong");

        violations.within("spec", |v| v.absorb(&later));

        let fields: Vec<_> = violations.iter().map(|v| v.field.as_str()).collect();
        assert_eq!(fields, ["spec.groups[1]", "spec.groups[10].name", "spec.total_steps"]);
    }
}
