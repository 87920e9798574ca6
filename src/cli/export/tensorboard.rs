//! A job as TensorBoard reads it: a file of events.
//!
//! The file is a row of records, each its length and its bytes with a checksum of both, as TensorFlow writes them; a record is a message
//! `Event` of `tensorflow/core/util/event.proto`. Numbers are in single precision there. Telemetry has no time of day, so every event
//! has that of the attempt's start; the axis to look along is the step.

use std::{
    fs::{self, File},
    io::{BufWriter, Write as _},
    path::{Path, PathBuf},
};

use prost::Message as _;

use super::{column::Table, files, history::History, target::Target};
use crate::cli::failure::Failure;
use lrs_engine::Directive;
use lrs_model::telemetry::Sample;
use lrs_proto::{Decision, decision::Author};

mod event;

use event::{Event, Summary, Value};

/// Says which form the events have.
const FILE_VERSION: &str = "brain.Event:2";

/// A file of events.
struct Events {
    path: PathBuf,
    writer: BufWriter<File>,
    wall_time: f64,
}

/// Writes the history as a run of its own below `directory`: `NAMESPACE/JOB`.
pub(super) async fn write(history: &History, directory: &Path) -> Result<(), Failure> {
    let started = history.started();
    let name = history.name();
    let run = directory.join(name.namespace()).join(name.job());
    fs::create_dir_all(&run).map_err(|error| files::unwritable(&run, &error))?;
    // The same each time, so that a second export takes the place of the first; and not that of another attempt.
    let file = format!("events.out.tfevents.{:.0}.lrs.attempt-{}", started, history.attempt());
    let mut events = Events::create(run.join(file), started)?;
    history.copy_to(&mut events).await?;
    events.finish()
}

impl Events {
    fn create(path: PathBuf, wall_time: f64) -> Result<Self, Failure> {
        let writer = files::create(&path)?;
        let mut events = Self { path, writer, wall_time };
        events.push(&Event { wall_time, file_version: FILE_VERSION.to_owned(), ..Event::default() })?;
        Ok(events)
    }

    fn push(&mut self, event: &Event) -> Result<(), Failure> {
        self.writer.write_all(&record(&event.encode_to_vec())).map_err(|error| files::not_written(&error))
    }

    fn values(&mut self, step: u64, value: Vec<Value>) -> Result<(), Failure> {
        let step = i64::try_from(step).unwrap_or(i64::MAX);
        self.push(&Event { wall_time: self.wall_time, step, summary: Some(Summary { value }), ..Event::default() })
    }

    fn finish(mut self) -> Result<(), Failure> {
        self.writer.flush().map_err(|error| files::not_written(&error))?;
        files::complete(&self.path)
    }
}

impl Target for Events {
    fn wants(&self, _: Table) -> bool {
        true
    }

    fn telemetry(&mut self, records: &[Sample]) -> Result<(), Failure> {
        records.iter().try_for_each(|record| {
            let values =
                record.values().map(|(name, bits)| Value::scalar(format!("telemetry/{name}"), f64::from_bits(bits)));
            self.values(record.step, values.collect())
        })
    }

    fn rates(&mut self, directives: &[Directive]) -> Result<(), Failure> {
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

    fn decisions(&mut self, decisions: &[Decision]) -> Result<(), Failure> {
        decisions.iter().try_for_each(|decision| {
            let (Some(Author::Person(author) | Author::Controller(author)), step) =
                (&decision.author, u64::try_from(decision.effective_step).unwrap_or(0))
            else {
                return Ok(());
            };
            let text = format!("**{author}**, attempt {}: {}", decision.attempt, decision.reason);
            self.values(step, vec![Value::text("decisions".to_owned(), &text)])
        })
    }
}

/// A record with its checksums.
fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    [&length[..], &checksum(&length), data, &checksum(data)].concat()
}

/// CRC-32C, turned and shifted, so that the checksum of bytes that have checksums in them is no trivial one.
fn checksum(bytes: &[u8]) -> [u8; 4] {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8).to_le_bytes()
}
