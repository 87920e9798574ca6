//! Causes of errors: kept until an error is logged or answered, and written out there.

use std::{error::Error, fmt, sync::Arc};

/// Why something failed, as the library below said it. Clones share it, so that several callers can be told.
#[derive(Clone)]
pub struct Cause(Arc<dyn Error + Send + Sync>);

impl Cause {
    /// An error, or a text that says what is wrong.
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

/// An error and all its causes on one line, each after a colon.
///
/// For the one place that logs or answers the error: `Display` of our errors leaves their sources out. Other libraries'
/// errors often end with the text of their source, which is then not repeated.
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
