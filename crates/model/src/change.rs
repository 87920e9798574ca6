//! Changes of a job by people and programs: who, when, why and by which way. Nothing is computed from them; they are for
//! people, and outlive the job.

use std::fmt;

use uuid::Uuid;

use super::{
    job::Timestamp,
    name::{JobId, JobName},
};

/// A change on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Unique. A change that is written again has the same.
    pub id: Uuid,
    /// The job's identity.
    pub job: JobId,
    /// The name that it had.
    pub job_name: JobName,
    /// What was done.
    pub kind: ChangeKind,
    /// The particulars in words, such as the fields that changed; empty if the kind says it all.
    pub detail: String,
    /// Who, by the name that the request gave.
    pub author: String,
    /// By which way.
    pub origin: Origin,
    /// Why, by the author.
    pub reason: String,
    /// The step from which on it counts; `None` if it is about no step.
    pub step: Option<u64>,
    /// The identifier of the decision that it is too, if it changes the rate or advises: the last part of its name.
    pub decision: Option<String>,
    /// The identifier that the author gave to the request.
    pub request_id: Option<String>,
    /// Tells whether another request with this identifier asks for the same.
    pub fingerprint: i64,
    /// When it was made.
    pub create_time: Timestamp,
}

/// Makes an enum with names from its table.
macro_rules! named {
    ($(#[$about:meta])* $enum:ident { $($(#[$meaning:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $enum {
            $($(#[$meaning])* $variant,)*
        }

        impl $enum {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$variant),*];

            /// The name in the store and, with the enum's name before it, in the interface.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// The one with this name.
            #[must_use]
            pub fn parse(name: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|known| known.as_str() == name)
            }
        }
    };
}

named! {
    /// What was done.
    ChangeKind {
        /// The job was registered.
        #[default]
        Created = "CREATED",
        /// The job was forked from another.
        Forked = "FORKED",
        /// Another job was forked from it.
        ForkedInto = "FORKED_INTO",
        /// Fields that change no rate were changed.
        Updated = "UPDATED",
        /// The spec was changed so that rates may change.
        SpecChanged = "SPEC_CHANGED",
        /// The schedule's clock was stopped.
        Paused = "PAUSED",
        /// The schedule's clock goes on.
        Resumed = "RESUMED",
        /// The rate was set by hand.
        Overridden = "OVERRIDDEN",
        /// The override was ended.
        OverrideCleared = "OVERRIDE_CLEARED",
        /// The trainer was advised to stop.
        StopAdvised = "STOP_ADVISED",
        /// The advice to stop was taken back.
        StopWithdrawn = "STOP_WITHDRAWN",
        /// The job ended well.
        Completed = "COMPLETED",
        /// The job went wrong.
        Failed = "FAILED",
        /// The job is no longer needed.
        Cancelled = "CANCELLED",
        /// The job was removed.
        Deleted = "DELETED",
    }
}

named! {
    /// By which way a change came.
    Origin {
        /// A program of somebody's own, over gRPC or HTTP.
        #[default]
        Api = "API",
        /// `lrs`, the command line.
        Cli = "CLI",
        /// A page of the monitor.
        Page = "PAGE",
        /// A study, such as `lrs sweep`.
        Study = "STUDY",
        /// A client library in a trainer.
        Trainer = "TRAINER",
        /// The server itself.
        Server = "SERVER",
    }
}

impl Change {
    /// The change in words, on one line: `ann paused vision/cifar at step 1200: "the loss spikes"`.
    #[must_use]
    pub fn sentence(&self) -> Sentence<'_> {
        Sentence(self)
    }
}

/// See [`Change::sentence`].
#[derive(Debug)]
pub struct Sentence<'a>(&'a Change);

impl fmt::Display for Sentence<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use ChangeKind as Kind;
        let Change { kind, detail, author, reason, step, job_name, .. } = self.0;
        let job = format_args!("{}/{}", job_name.namespace(), job_name.job());
        let author = Plain(author);
        match kind {
            Kind::Created => write!(f, "{author} registered {job}")?,
            Kind::Forked | Kind::ForkedInto => write!(f, "{author} forked {job} {detail}")?,
            Kind::SpecChanged if detail.is_empty() => write!(f, "{author} changed the spec of {job}")?,
            Kind::Updated | Kind::SpecChanged => write!(f, "{author} changed {detail} of {job}")?,
            Kind::Paused => write!(f, "{author} paused {job}")?,
            Kind::Resumed => write!(f, "{author} resumed {job}")?,
            Kind::Overridden => write!(f, "{author} overrode the rate of {job}: {}", Plain(detail))?,
            Kind::OverrideCleared => write!(f, "{author} ended the override of {job}")?,
            Kind::StopAdvised => write!(f, "{author} advised {job} to stop")?,
            Kind::StopWithdrawn => write!(f, "{author} took back the advice to {job} to stop")?,
            Kind::Completed => write!(f, "{author} completed {job}")?,
            Kind::Failed => write!(f, "{author} ended {job} as failed")?,
            Kind::Cancelled => write!(f, "{author} cancelled {job}")?,
            Kind::Deleted => write!(f, "{author} deleted {job}, which was {detail}")?,
        }
        if let Some(step) = step {
            write!(f, " at step {step}")?;
        }
        if reason.is_empty() { Ok(()) } else { write!(f, ": {reason:?}") }
    }
}

/// A text on one line: control characters are escaped.
struct Plain<'a>(&'a str);

impl fmt::Display for Plain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write as _;
        for letter in self.0.chars() {
            if letter.is_control() { write!(f, "{}", letter.escape_default())? } else { f.write_char(letter)? }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(kind: ChangeKind) -> Change {
        Change {
            id: Uuid::nil(),
            job: JobId(Uuid::nil()),
            job_name: JobName::new("vision", "cifar").unwrap(),
            kind,
            detail: String::new(),
            author: "ann".to_owned(),
            origin: Origin::Cli,
            reason: "the loss spikes".to_owned(),
            step: Some(1200),
            decision: None,
            request_id: None,
            fingerprint: 0,
            create_time: Timestamp(0),
        }
    }

    #[test]
    fn a_change_is_told_in_words() {
        let paused = change(ChangeKind::Paused);
        assert_eq!(paused.sentence().to_string(), r#"ann paused vision/cifar at step 1200: "the loss spikes""#);
        let deleted = Change {
            detail: "PAUSED".to_owned(),
            author: "eve\nERROR".to_owned(),
            reason: "a\n\"b\"".to_owned(),
            step: None,
            ..change(ChangeKind::Deleted)
        };
        let told = r#"eve\nERROR deleted vision/cifar, which was PAUSED: "a\n\"b\"""#;
        assert_eq!(deleted.sentence().to_string(), told);
    }

    #[test]
    fn every_name_leads_back() {
        for kind in ChangeKind::ALL {
            assert_eq!(ChangeKind::parse(kind.as_str()), Some(*kind));
        }
        for origin in Origin::ALL {
            assert_eq!(Origin::parse(origin.as_str()), Some(*origin));
        }
        assert_eq!(Origin::parse("SOMEBODY"), None);
    }
}
