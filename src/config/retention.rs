//! How long the telemetry of ended jobs is kept.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use super::{duration, duration::Length};
use lrs_model::{name::JobName, violation::Violations};

const FOREVER: &str = "forever";
/// The shortest and the longest retention that can be set.
const RANGE: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(24 * 36_500));

/// How long the telemetry of ended jobs is kept, by namespace. `None` means for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retention {
    /// In all namespaces that have no term of their own.
    pub default: Option<Duration>,
    /// In single namespaces.
    pub namespaces: BTreeMap<String, Option<Duration>>,
}

/// The option as it is written: on the command line `90d,NAMESPACE=30d,NAMESPACE=forever`, in the file a table with
/// `default` and `namespaces`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RetentionTerms {
    default: Option<Term>,
    namespaces: BTreeMap<String, Term>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Term(Option<Duration>);

impl FromStr for Term {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        if text.eq_ignore_ascii_case(FOREVER) {
            return Ok(Self(None));
        }
        let length: Result<Length, _> = text.parse();
        length.map(|length| Self(Some(length.0))).map_err(|problem| format!("{problem}, or {FOREVER}"))
    }
}

impl FromStr for RetentionTerms {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut terms = Self::default();
        for part in text.split(',').map(str::trim) {
            let twice = match part.split_once('=') {
                Some((namespace, term)) => {
                    let namespace = namespace.trim();
                    terms.namespaces.insert(namespace.to_owned(), term.parse()?).map(|_| namespace.to_owned())
                }
                None => terms.default.replace(part.parse()?).map(|_| "the default".to_owned()),
            };
            if let Some(what) = twice {
                return Err(format!("{what} is set twice"));
            }
        }
        Ok(terms)
    }
}

impl RetentionTerms {
    /// The retention. Adds the terms that are not allowed to `v`.
    pub(super) fn checked(self, v: &mut Violations) -> Retention {
        let mut term = |field: &str, term: Term| {
            if let Some(length) = term.0.filter(|length| !(RANGE.0..=RANGE.1).contains(length)) {
                let allowed =
                    format!("from {} to {}, or {FOREVER}", duration::show(&RANGE.0), duration::show(&RANGE.1));
                v.refuse(field, duration::show(&length), allowed);
            }
            term.0
        };
        let default = self.default.and_then(|length| term("retention.default", length));
        let namespaces: BTreeMap<_, _> = self
            .namespaces
            .into_iter()
            .map(|(name, length)| {
                let length = term(&format!("retention.namespaces.{name}"), length);
                (name, length)
            })
            .collect();
        for name in namespaces.keys() {
            if let Err(problem) = JobName::new(name, "job") {
                v.add("retention.namespaces", problem.to_string());
            }
        }
        Retention { default, namespaces }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn checked(terms: RetentionTerms) -> Result<Retention, Violations> {
        let mut v = Violations::new();
        let retention = terms.checked(&mut v);
        v.into_result(retention)
    }

    #[test]
    fn a_term_is_for_all_namespaces_or_for_one() {
        let retention = checked("90d, vision=12h,archive = Forever".parse().unwrap()).unwrap();
        assert_eq!(retention.default, Some(90 * DAY));
        let namespaces: Vec<_> = retention.namespaces.into_iter().collect();
        assert_eq!(namespaces, [("archive".to_owned(), None), ("vision".to_owned(), Some(DAY / 2))]);
    }

    #[test]
    fn nothing_said_is_for_ever() {
        assert_eq!(checked(RetentionTerms::default()), Ok(Retention::default()));
    }

    #[test]
    fn what_is_no_term_is_refused_by_its_name() {
        for (text, what) in [
            ("soon", "\"soon\" is not allowed: must be a length of time"),
            ("", "must be a length of time"),
            ("1h,2h", "the default is set twice"),
            ("a=1h,a=2h", "a is set twice"),
        ] {
            let problem = text.parse::<RetentionTerms>().unwrap_err();
            assert!(problem.contains(what), "{problem}");
        }
        let problem = checked("0s,vision=200000d,b c=1d".parse().unwrap()).unwrap_err().to_string();
        for what in ["retention.default: 0s", "retention.namespaces.vision: ", "retention.namespaces: "] {
            assert!(problem.contains(what), "{what}: {problem}");
        }
    }
}
