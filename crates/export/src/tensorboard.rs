//! A job as a file of events for TensorBoard.
//!
//! As TensorFlow writes it, the file is a sequence of records: a length and a message `Event` of
//! `tensorflow/core/util/event.proto`, each with a checksum. Numbers have single precision. Telemetry has no time of
//! day, so every event has the time of the attempt's start; in TensorBoard, choose the step as the horizontal axis.

use std::{
    fs::File,
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use prost::Message as _;

use crate::{column::Table, error::Error, file, target::Target};
use lrs_model::{name::JobName, telemetry::Sample};
use lrs_proto::{Decision, Directive, decision::Author};

mod event;

use event::{Event, Value, Values};

/// The version of the format, in the first event.
const FILE_VERSION: &str = "brain.Event:2";

/// A file of events on its way.
pub struct Events {
    path: PathBuf,
    writer: BufWriter<File>,
    wall_time: f64,
}

impl Events {
    /// Begins the file of an attempt, as a run of its own below `directory`: `NAMESPACE/JOB`. `started` is when the
    /// attempt was started, in seconds since 1970.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn create(directory: &Path, name: &JobName, attempt: u32, started: f64) -> Result<Self, Error> {
        let run = directory.join(name.namespace()).join(name.job());
        file::create_directory(&run)?;
        // The same name each time, so that a second export takes the place of the first; and not that of another
        // attempt.
        let path = run.join(format!("events.out.tfevents.{started:.0}.lrs.attempt-{attempt}"));
        let writer = file::create(&path)?;
        let mut events = Self { path, writer, wall_time: started };
        events.push(&Event { wall_time: started, file_version: FILE_VERSION.to_owned(), ..Event::default() })?;
        Ok(events)
    }

    /// Writes the rest, and lets the file take its name.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn finish(mut self) -> Result<(), Error> {
        self.writer.flush()?;
        file::complete(&self.path)
    }

    fn push(&mut self, event: &Event) -> Result<(), Error> {
        Ok(self.writer.write_all(&record(&event.encode_to_vec()))?)
    }

    fn values(&mut self, step: i64, value: Vec<Value>) -> Result<(), Error> {
        self.push(&Event { wall_time: self.wall_time, step, values: Some(Values { value }), ..Event::default() })
    }
}

impl Target for Events {
    fn wants(&self, _: Table) -> bool {
        true
    }

    fn telemetry(&mut self, records: &[Sample]) -> Result<(), Error> {
        records.iter().try_for_each(|record| {
            let values =
                record.values().map(|(name, bits)| Value::scalar(format!("telemetry/{name}"), f64::from_bits(bits)));
            self.values(i64::try_from(record.step).unwrap_or(i64::MAX), values.collect())
        })
    }

    fn rates(&mut self, directives: &[Directive]) -> Result<(), Error> {
        directives.iter().try_for_each(|directive| {
            let values = directive.rates.iter().flat_map(|rate| {
                let figures = [
                    ("learning_rate", Some(rate.learning_rate)),
                    ("momentum", rate.momentum),
                    ("weight_decay", rate.weight_decay),
                ];
                let tag = move |name| format!("rates/{}/{name}", rate.group);
                figures.into_iter().filter_map(move |(name, figure)| Some(Value::scalar(tag(name), figure?)))
            });
            self.values(directive.step, values.collect())
        })
    }

    fn decisions(&mut self, decisions: &[Decision]) -> Result<(), Error> {
        decisions.iter().try_for_each(|decision| {
            let Some(Author::Person(author) | Author::Controller(author)) = &decision.author else {
                return Ok(());
            };
            let text = format!("**{author}**, attempt {}: {}", decision.attempt, decision.reason);
            self.values(decision.effective_step, vec![Value::text("decisions".to_owned(), &text)])
        })
    }
}

/// A record with its checksums.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), data, &checksum(data)].concat()
}

/// CRC-32C, rotated and shifted as TensorFlow does, so that bytes that contain checksums have no trivial checksum.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
