//! Causes of errors, kept until the error is logged or answered.

use std::{error::Error, fmt, sync::Arc};

/// The cause of a failure, from the library below. Clones share it, so that several callers can get it.
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// Makes a cause from an error or a text.
    pub fn new(cause: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self(Arc::from(cause.into()))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Error for Cause {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

/// An error and all its causes on one line, separated by colons.
///
/// For the one place that logs or answers an error, because `Display` of our errors leaves the sources out. Errors of
/// other libraries often end with the text of their source; that text is not repeated.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Outer(Cause);

    impl fmt::Display for Outer {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("outer")
        }
    }

    impl Error for Outer {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_text_that_ends_with_its_cause_is_not_followed_by_it() {
        assert_eq!(chain(&Outer(Cause::new("left the outer"))), "outer: left the outer");
        assert_eq!(chain(&Outer(Cause::new("outer"))), "outer");
    }

    #[test]
    fn a_chain_names_every_cause_once() {
        let error = Outer(Cause::new("the disk is full"));
        assert_eq!(chain(&error), "outer: the disk is full");
        assert_eq!(chain(&Cause::new(error).clone()), "outer: the disk is full");
    }
}
