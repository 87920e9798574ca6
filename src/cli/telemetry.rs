//! Telemetry as records: from the columns of an answer, from JSON lines and CSV, and back.

use std::collections::BTreeMap;

use crate::cli::{connect::Connection, failure::Failure};
use lrs_model::telemetry::{GRAD_NORM, LEARNING_RATE, LOSS, Sample};
use lrs_proto::{QueryTelemetryRequest, QueryTelemetryResponse, TelemetryRecord, TelemetrySeries, json::Canonical};

/// All pages of an answer, joined.
///
/// # Errors
/// If the server refuses.
pub async fn query(server: &Connection, request: &QueryTelemetryRequest) -> Result<QueryTelemetryResponse, Failure> {
    let mut series = BTreeMap::<String, TelemetrySeries>::new();
    let mut request = request.clone();
    loop {
        let page = server.call(async |mut service| service.query_telemetry(request.clone()).await).await?;
        for part in page.series {
            let whole = series.entry(part.name.clone()).or_default();
            whole.name = part.name;
            whole.step.extend(part.step);
            whole.value.extend(part.value);
        }
        if page.next_page_token.is_empty() {
            return Ok(QueryTelemetryResponse {
                series: series.into_values().collect(),
                next_page_token: String::new(),
            });
        }
        request.page_token = page.next_page_token;
    }
}

/// The records of columns, by rising step.
///
/// # Errors
/// If a step is negative: no server sends that.
pub fn samples(answer: &QueryTelemetryResponse) -> Result<Vec<Sample>, Failure> {
    let mut samples = BTreeMap::<u64, Sample>::new();
    for series in &answer.series {
        for (&step, &value) in series.step.iter().zip(&series.value) {
            let step = whole_step(step)?;
            set(samples.entry(step).or_insert_with(|| Sample::new(step)), &series.name, value);
        }
    }
    Ok(samples.into_values().collect())
}

/// Records as JSON, one a line; more lines for a record that has several values of a metric.
///
/// # Errors
/// If a record cannot be written.
pub fn to_jsonl(samples: &[Sample]) -> Result<String, Failure> {
    let mut text = String::new();
    for sample in samples.iter().flat_map(Sample::observations) {
        text += &serde_json::to_string(&Canonical(&record(&sample))).map_err(unwritable)?;
        text.push('\n');
    }
    Ok(text)
}

/// Records as CSV: the step, then a column a metric; empty where a record has none. More lines for a record that has
/// several values of a metric.
///
/// # Errors
/// If a record cannot be written.
pub fn to_csv(samples: &[Sample]) -> Result<String, Failure> {
    let metrics = metric_names(samples);
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(std::iter::once(STEP).chain(metrics.iter().copied())).map_err(unwritable)?;
    for sample in samples.iter().flat_map(Sample::observations) {
        let values = metrics.iter().map(|name| sample.metric(name).map_or_else(String::new, |value| value.to_string()));
        csv.write_record(std::iter::once(sample.step.to_string()).chain(values)).map_err(unwritable)?;
    }
    String::from_utf8(csv.into_inner().map_err(unwritable)?).map_err(unwritable)
}

/// The metrics that any of `samples` has: the usual ones first, the others by name.
#[must_use]
pub fn metric_names(samples: &[Sample]) -> Vec<&str> {
    let usual = [LOSS, GRAD_NORM, LEARNING_RATE].into_iter();
    let mut names: Vec<&str> =
        usual.filter(|name| samples.iter().any(|sample| sample.metric(name).is_some())).collect();
    let mut others: Vec<&str> =
        samples.iter().flat_map(|sample| sample.metrics.iter().map(|(name, _)| &**name)).collect();
    others.sort_unstable();
    others.dedup();
    names.append(&mut others);
    names
}

/// Records from JSON lines, or from CSV if the text does not begin with a brace. Steps must not fall; the lines of a step
/// are one record.
///
/// # Errors
/// With the line, if one cannot be read.
pub fn parse(name: &str, text: &str) -> Result<Vec<Sample>, Failure> {
    let samples = if text.trim_start().starts_with('{') { parse_jsonl(name, text)? } else { parse_csv(name, text)? };
    if let Some(pair) = samples.windows(2).find(|pair| pair[0].step > pair[1].step) {
        let (earlier, later) = (pair[0].step, pair[1].step);
        return Err(Failure::invalid(format!("{name}: step {later} comes after step {earlier}: steps must not fall")));
    }
    let records = samples.chunk_by(|a, b| a.step == b.step).map(|lines| joined(name, lines));
    let samples = records.collect::<Result<Vec<_>, _>>()?;
    Ok(samples)
}

const STEP: &str = "step";

fn parse_jsonl(name: &str, text: &str) -> Result<Vec<Sample>, Failure> {
    let mut samples = Vec::new();
    for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let record: TelemetryRecord =
            serde_json::from_str(line).map_err(|error| Failure::invalid(format!("{name}:{}: {error}", i + 1)))?;
        let mut sample = Sample {
            loss: record.loss,
            grad_norm: record.grad_norm,
            learning_rate: record.learning_rate,
            ..Sample::new(whole_step(record.step)?)
        };
        for (metric, value) in record.metrics {
            set(&mut sample, &metric, value);
        }
        sample.canonicalise();
        samples.push(sample);
    }
    Ok(samples)
}

fn parse_csv(name: &str, text: &str) -> Result<Vec<Sample>, Failure> {
    let invalid = |line: u64, problem: String| Failure::invalid(format!("{name}:{line}: {problem}"));
    let mut csv = csv::ReaderBuilder::new().trim(csv::Trim::All).from_reader(text.as_bytes());
    let header = csv.headers().map_err(|error| invalid(1, error.to_string()))?.clone();
    let step_column = header.iter().position(|column| column == STEP).ok_or_else(|| {
        invalid(1, "there is no column `step`".to_owned())
            .with_hint("telemetry is CSV with a column `step` and one a metric, or a JSON object a line")
    })?;
    let mut samples = Vec::new();
    for row in csv.records() {
        let row = row.map_err(|error| Failure::invalid(format!("{name}: {error}")))?;
        let line = row.position().map_or(0, csv::Position::line);
        let step = row.get(step_column).unwrap_or_default();
        let step = step.parse().map_err(|_| invalid(line, format!("{step:?} is not a step")))?;
        let mut sample = Sample::new(step);
        for (column, text) in header.iter().zip(&row).filter(|(column, text)| *column != STEP && !text.is_empty()) {
            let value = text.parse().map_err(|_| invalid(line, format!("{column} {text:?} is not a number")))?;
            set(&mut sample, column, value);
        }
        samples.push(sample);
    }
    Ok(samples)
}

/// The record in the lines of one step. Only metrics that are no columns of their own are measured more than once.
fn joined(name: &str, lines: &[Sample]) -> Result<Sample, Failure> {
    let mut record = lines[0].clone();
    for line in &lines[1..] {
        if line.loss.or(line.grad_norm).or(line.learning_rate).is_some() {
            let step = line.step;
            return Err(Failure::invalid(format!("{name}: step {step} comes again: only other metrics may repeat")));
        }
        line.metrics.iter().for_each(|(name, value)| record.add_metric(name.clone(), *value));
    }
    Ok(record)
}

/// Stores a value; every NaN becomes the NaN that samples have.
fn set(sample: &mut Sample, metric: &str, value: f64) {
    let value = if value.is_nan() { f64::NAN } else { value };
    match metric {
        LOSS => sample.loss = Some(value),
        GRAD_NORM => sample.grad_norm = Some(value),
        LEARNING_RATE => sample.learning_rate = Some(value),
        other => sample.add_metric(other.into(), value),
    }
}

fn record(sample: &Sample) -> TelemetryRecord {
    TelemetryRecord {
        step: i64::try_from(sample.step).unwrap_or(i64::MAX),
        loss: sample.loss,
        grad_norm: sample.grad_norm,
        learning_rate: sample.learning_rate,
        metrics: sample.metrics.iter().map(|(name, value)| (name.to_string(), *value)).collect(),
    }
}

fn whole_step(step: i64) -> Result<u64, Failure> {
    u64::try_from(step).map_err(|_| Failure::invalid(format!("step {step} is not allowed: must be at least 0")))
}

fn unwritable(error: impl std::error::Error) -> Failure {
    Failure::new(super::failure::Exit::Failed, format!("cannot write the telemetry: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn some_samples() -> Vec<Sample> {
        let mut evaluated = Sample { loss: Some(f64::NAN), learning_rate: Some(0.1 + 0.2), ..Sample::new(0) };
        evaluated.add_metric("val,loss".into(), f64::INFINITY);
        vec![evaluated, Sample { loss: Some(-0.0), ..Sample::new(7) }]
    }

    #[test]
    fn records_survive_json_lines_and_csv_bit_for_bit() {
        let samples = some_samples();
        assert_eq!(parse("t", &to_jsonl(&samples).unwrap()).unwrap(), samples);
        assert_eq!(parse("t", &to_csv(&samples).unwrap()).unwrap(), samples);
    }

    #[test]
    fn columns_become_records_by_step() {
        let series = |name: &str, step: &[i64], value: &[f64]| TelemetrySeries {
            name: name.to_owned(),
            step: step.to_vec(),
            value: value.to_vec(),
        };
        let answer = QueryTelemetryResponse {
            series: vec![series(LOSS, &[0, 1], &[2.0, 1.0]), series("val_loss", &[1], &[3.0])],
            next_page_token: String::new(),
        };

        let samples = samples(&answer).unwrap();

        assert_eq!(samples.iter().map(|s| (s.step, s.loss)).collect::<Vec<_>>(), [(0, Some(2.0)), (1, Some(1.0))]);
        assert_eq!(samples[1].metric("val_loss"), Some(3.0));
        assert_eq!(metric_names(&samples), [LOSS, "val_loss"]);
    }

    #[test]
    fn a_step_may_be_a_plain_number_in_json() {
        assert_eq!(parse("t", "{\"step\": 3, \"loss\": 0.5}\n").unwrap()[0].step, 3);
    }

    #[test]
    fn a_metric_that_was_measured_twice_is_written_and_read_twice() {
        let mut sample = Sample { loss: Some(1.0), ..Sample::new(3) };
        for value in [3.0, 2.0] {
            sample.add_metric("val_loss".into(), value);
        }
        for text in [to_csv(std::slice::from_ref(&sample)).unwrap(), to_jsonl(std::slice::from_ref(&sample)).unwrap()] {
            assert_eq!(parse("t", &text).unwrap(), std::slice::from_ref(&sample), "{text}");
        }
    }

    #[test]
    fn what_can_not_be_read_is_named_with_its_line() {
        for (text, problem) in [
            ("{\"step\":0}\n{\"step\":}\n", "t:2:"),
            ("step,loss\n0,1\n1,low\n", "t:3: loss \"low\" is not a number"),
            ("loss\n1\n", "t:1: there is no column `step`"),
            ("step,loss\n5,1\n5,2\n", "step 5 comes again"),
            ("step,loss\n5,1\n4,2\n", "step 4 comes after step 5"),
            ("{\"step\":-1}", "step -1 is not allowed"),
        ] {
            let failure = parse("t", text).unwrap_err();
            assert!(failure.message.contains(problem), "{failure}");
        }
    }
}
