//! A family of metrics: what is declared of it, and the way to its values.

use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata};

/// What a family's values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Rises, and begins at 0 with the process.
    Counter,
    /// Rises and falls.
    Gauge,
    /// How often a value fell into which bucket.
    Histogram,
}

impl Kind {
    /// The name of the type in Prometheus' text format.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// What a family's values are counted in. Prometheus asks for base units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Things: calls, jobs, steps.
    Count,
    /// Seconds. The name says `_seconds`.
    Seconds,
    /// Bytes. The name says `_bytes`.
    Bytes,
    /// 1 for yes, 0 for no.
    Truth,
}

impl Unit {
    /// The unit in a word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Count => "count",
            Self::Seconds => "seconds",
            Self::Bytes => "bytes",
            Self::Truth => "0 or 1",
        }
    }
}

/// What is declared of a family.
#[derive(Clone, Copy, Debug)]
pub struct Family {
    /// The name in the text format.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What they are counted in.
    pub unit: Unit,
    /// The names of the labels. Their values come from closed sets, never from what a caller sends.
    pub labels: &'static [&'static str],
    /// The meaning, in one line.
    pub help: &'static str,
}

const HERE: Metadata<'static> = Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

impl Family {
    /// The counter with these values of the labels, in the order of the declaration.
    ///
    /// # Panics
    /// If the family is declared as something else, or has other labels.
    pub fn counter<const N: usize>(&self, values: [&str; N]) -> Counter {
        metrics::with_recorder(|recorder| recorder.register_counter(&self.key(Kind::Counter, &values), &HERE))
    }

    /// The gauge with these values of the labels, in the order of the declaration.
    ///
    /// # Panics
    /// As [`Self::counter`].
    pub fn gauge<const N: usize>(&self, values: [&str; N]) -> Gauge {
        metrics::with_recorder(|recorder| recorder.register_gauge(&self.key(Kind::Gauge, &values), &HERE))
    }

    /// The histogram with these values of the labels, in the order of the declaration.
    ///
    /// # Panics
    /// As [`Self::counter`].
    pub fn histogram<const N: usize>(&self, values: [&str; N]) -> Histogram {
        metrics::with_recorder(|recorder| recorder.register_histogram(&self.key(Kind::Histogram, &values), &HERE))
    }

    /// Makes the values of these labels show from now on, beginning at 0.
    ///
    /// # Panics
    /// If the family has another number of labels.
    pub fn show<const N: usize>(&self, values: [&str; N]) {
        match self.kind {
            Kind::Counter => self.counter(values).increment(0),
            Kind::Gauge => self.gauge(values).increment(0.0),
            Kind::Histogram => drop(self.histogram(values)),
        }
    }

    fn key(&self, kind: Kind, values: &[&str]) -> Key {
        assert!(
            kind == self.kind && values.len() == self.labels.len(),
            "{} is a {} with the labels {:?}",
            self.name,
            self.kind.as_str(),
            self.labels
        );
        let labels = self.labels.iter().zip(values).map(|(name, value)| Label::new(*name, (*value).to_owned()));
        Key::from_parts(self.name, labels.collect::<Vec<_>>())
    }
}
