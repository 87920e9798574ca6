//! How the text of an option becomes its value: the same for the file, the environment and the flags.

use std::{ffi::OsStr, marker::PhantomData, path::PathBuf};

use clap::{
    Arg, Command, ValueEnum,
    builder::{PossibleValue, TypedValueParser},
};

use super::{duration::Length, retention::RetentionTerms, secret::SecretUrl};
use crate::{http::HostNames, observability::LogFormat};
use lrs_model::typed::{self, bare};
use lrs_stats::choice::DeviceChoice;

/// A value that people write as text.
pub trait Setting: Clone + Send + Sync + Sized + 'static {
    /// All texts, where there are few.
    const WORDS: &'static [&'static str] = &[];

    /// The value that a text without spaces or quotes around it says.
    ///
    /// # Errors
    /// What was read, and what to write instead.
    fn read(text: &str) -> Result<Self, String>;
}

/// Reads a [`Setting`] from a flag or a variable.
#[derive(Debug)]
pub struct Text<T>(PhantomData<fn() -> T>);

impl<T> Text<T> {
    /// The reader.
    #[must_use]
    pub fn new() -> Self {
        Self(PhantomData)
    }
}

impl<T> Default for Text<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for Text<T> {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl<T: Setting> TypedValueParser for Text<T> {
    type Value = T;

    fn parse_ref(&self, command: &Command, argument: Option<&Arg>, value: &OsStr) -> Result<T, clap::Error> {
        (|text: &str| T::read(bare(text))).parse_ref(command, argument, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        (!T::WORDS.is_empty()).then(|| Box::new(T::WORDS.iter().map(PossibleValue::new)) as Box<dyn Iterator<Item = _>>)
    }
}

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

impl Setting for Size {
    fn read(text: &str) -> Result<Self, String> {
        let bytes = typed::size(text)?;
        Ok(Self(usize::try_from(bytes).unwrap_or(usize::MAX)))
    }
}

impl Setting for LogFormat {
    const WORDS: &'static [&'static str] = &["text", "json"];

    fn read(text: &str) -> Result<Self, String> {
        Self::from_str(text, true).map_err(|_| typed::refused(text, Self::WORDS.join(" or ")))
    }
}

impl Setting for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl Setting for SecretUrl {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

impl Setting for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.into())
    }
}

macro_rules! whole_numbers {
    ($($type:ty)+) => {
        $(impl Setting for $type {
            fn read(text: &str) -> Result<Self, String> {
                typed::whole(text, 0..=Self::MAX)
            }
        })+
    };
}

macro_rules! texts {
    ($($type:ty)+) => {
        $(impl Setting for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|problem| format!("{problem}"))
            }
        })+
    };
}

whole_numbers!(u32 u64 usize);
texts!(DeviceChoice HostNames Length RetentionTerms);
