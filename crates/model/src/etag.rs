//! Etags: the version of a resource that a caller has read and sends back. A gRPC field and an HTTP header have the
//! same form.

use std::{fmt::Display, str::FromStr};

/// The etag of a version: its text in double quotes.
#[must_use]
pub fn of(version: impl Display) -> String {
    format!("\"{version}\"")
}

/// The version in an etag; `None` if the text is not an etag of such a version.
#[must_use]
pub fn version<T: FromStr>(etag: &str) -> Option<T> {
    etag.strip_prefix('"')?.strip_suffix('"')?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_is_a_version_in_quotes() {
        assert_eq!((of(17), version(&of(17))), ("\"17\"".to_owned(), Some(17_u64)));
        assert_eq!(["17", "", "\"x\"", "\"17"].map(version::<u64>), [None; 4]);
    }
}
