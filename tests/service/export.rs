//! `lrs export` against a real server: nothing is lost on the way into a file, and memory does not grow with the
//! history.

use std::{
    collections::BTreeMap,
    fs::File,
    path::Path,
    process::{Command, Stdio},
};

use crate::program::{client_of, succeeds};
use crate::server::{self, Server, spec_json};
use lrs_model::{name::JobId, telemetry::Sample};
use lrs_proto::{CompleteJobRequest, MetricSeries, StreamTelemetryRequest, job::State};
use lrs_store as store;
use lrs_store::{Chunk, Write};
use parquet::{
    file::reader::{FileReader as _, SerializedFileReader},
    record::Field,
};

fn command(server: &Server, line: &str) -> Command {
    let mut command = client_of(server);
    command.args(line.split_whitespace());
    command
}

fn lrs(server: &Server, line: &str) -> String {
    succeeds(&command(server, line).output().unwrap())
}

/// A job trained twice, the second time from step 10, with an evaluation, an override, and losses that are not finite.
async fn eventful_job(server: &Server) -> String {
    let spec = spec_json(
        r#"{"groups": [{"name": "a", "base_lr": 1.0}, {"name": "b", "base_lr": 0.1}], "total_steps": 100,
            "schedule": {"cosine": {}}, "controllers": [{"reduce_lr_on_plateau": {"factor": 0.5, "patience": 2}}]}"#,
    );
    let job = server.register("eventful", spec).await.name;
    let first = server.start_attempt(&job, "t1", 0).await;
    let mut stream = server.stream(&job, first, 0).await;
    stream.losses(0, &[1.0; 20]).await;
    stream.until_durable(19).await;
    let second = server.start_attempt(&job, "t2", 10).await;
    let mut stream = server.stream(&job, second, 0).await;
    stream.losses(10, &[f64::NAN]).await;
    stream.directive(11).await;
    lrs(server, "job override test/eventful --factor 0.5 --reason spikes");
    stream
        .send(StreamTelemetryRequest {
            step: (11..14).collect(),
            loss: vec![f64::INFINITY, f64::NEG_INFINITY, 5e-324],
            metrics: vec![MetricSeries { name: "val,\"loss\"".into(), step: vec![13], value: vec![-0.0] }],
            through_step: Some(13),
            ..Default::default()
        })
        .await;
    stream.until_durable(13).await;
    stream.directive(14).await;
    job
}

fn open_parquet(path: &Path) -> SerializedFileReader<File> {
    let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    SerializedFileReader::new(file).unwrap()
}

fn row_count(path: &Path) -> i64 {
    open_parquet(path).metadata().file_metadata().num_rows()
}

/// A column of numbers: the bits of each value by step.
fn bits_by_step(table: &SerializedFileReader<File>, column: &str) -> BTreeMap<i64, u64> {
    let mut bits = BTreeMap::new();
    for row in table.get_row_iter(None).unwrap() {
        let fields: BTreeMap<String, Field> = row.unwrap().into_columns().into_iter().collect();
        match (&fields["step"], &fields[column]) {
            (Field::Long(step), Field::Double(value)) => assert_eq!(bits.insert(*step, value.to_bits()), None),
            (Field::Long(_), Field::Null) => {}
            other => panic!("{other:?}"),
        }
    }
    bits
}

#[tokio::test(flavor = "multi_thread")]
async fn every_bit_of_the_telemetry_is_in_each_format() {
    let server = Server::sqlite().await;
    eventful_job(&server).await;
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("out");
    lrs(&server, &format!("export test/eventful --to {}", to.display()));
    let csv = lrs(&server, "export test/eventful --format csv");
    let jsonl = lrs(&server, "export test/eventful --format jsonl");

    let mut expected: BTreeMap<i64, u64> = (0..10).map(|step| (step, 1f64.to_bits())).collect();
    let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 5e-324];
    expected.extend((10..).zip(odd.map(f64::to_bits)));
    let telemetry = open_parquet(&to.join("telemetry.parquet"));
    assert_eq!(bits_by_step(&telemetry, "loss"), expected);
    assert_eq!(bits_by_step(&telemetry, "val,\"loss\""), BTreeMap::from([(13, (-0f64).to_bits())]));

    let mut csv = csv::Reader::from_reader(csv.as_bytes());
    assert_eq!(csv.headers().unwrap(), vec!["step", "loss", "val,\"loss\""]);
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    let losses = rows.iter().map(|row| (row[0].parse().unwrap(), row[1].parse::<f64>().unwrap().to_bits()));
    assert_eq!(losses.collect::<BTreeMap<_, _>>(), expected);
    assert_eq!((&rows[12][2], &rows[13][2]), ("", "-0.0"));

    let rows: Vec<serde_json::Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let loss = |row: &serde_json::Value| match row["loss"].as_str() {
        Some("NaN") => f64::NAN,
        Some("Infinity") => f64::INFINITY,
        Some("-Infinity") => f64::NEG_INFINITY,
        other => row["loss"].as_f64().unwrap_or_else(|| panic!("{other:?}")),
    };
    let losses = rows.iter().map(|row| (row["step"].as_i64().unwrap(), loss(row).to_bits()));
    assert_eq!(losses.collect::<BTreeMap<_, _>>(), expected);
    assert!(rows[12]["val,\"loss\""].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rates_are_those_that_trainers_were_told() {
    let server = Server::sqlite().await;
    let job = eventful_job(&server).await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rates.csv");
    lrs(&server, &format!("export test/eventful --table rates -o {}", path.display()));

    let mut csv = csv::Reader::from_path(&path).unwrap();
    let rows: Vec<csv::StringRecord> = csv.records().map(Result::unwrap).collect();
    // The rows reach the highest step given out, reported or not.
    assert_eq!(rows.len(), 2 * 15, "{rows:?}");
    for (i, row) in rows.iter().enumerate() {
        let step = i64::try_from(i / 2).unwrap();
        let answer = server.ask(&job, 2, step, 0, server::PATIENCE).await.unwrap();
        let directive = answer.directive.unwrap();
        let told = &directive.rates[i % 2];
        assert_eq!((row[0].parse(), &row[1]), (Ok(step), told.group.as_str()));
        assert_eq!(row[2].parse::<f64>().unwrap().to_bits(), told.learning_rate.to_bits(), "step {step}");
        assert_eq!(row[5].to_uppercase(), directive.source().as_str_name()["SOURCE_".len()..]);
    }
    let sources: Vec<&str> = rows.iter().map(|row| &row[5]).collect();
    assert!(sources.contains(&"schedule") && sources.contains(&"override"), "{sources:?}");
    let columns: serde_json::Value =
        serde_json::from_slice(&std::fs::read(directory.path().join("rates.csv.columns.json")).unwrap()).unwrap();
    assert_eq!((&columns["job"], &columns["attempt"]), (&job.into(), &2.into()));
    assert_eq!(columns["columns"][2]["unit"], "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_decision_is_there_with_its_evidence() {
    let server = Server::sqlite().await;
    eventful_job(&server).await;
    let jsonl = lrs(&server, "export test/eventful --table decisions --format jsonl");
    let listed: serde_json::Value = serde_json::from_str(&lrs(&server, "job decisions test/eventful --json")).unwrap();

    let rows: Vec<serde_json::Value> = jsonl.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let listed = listed["decisions"].as_array().unwrap();
    assert_eq!(rows.len(), listed.len());
    for (row, listed) in rows.iter().zip(listed) {
        assert!(listed["name"].as_str().unwrap().ends_with(&format!("/{}", row["decision"].as_str().unwrap())));
        assert_eq!(row["effect"], listed[row["kind"].as_str().unwrap()]);
        assert_eq!(row["evidence"], listed.get("evidence").cloned().unwrap_or_else(|| serde_json::json!({})));
        assert_eq!(row["step"].to_string(), listed["step"].as_str().unwrap_or("0"));
        assert!(row["create_time"].as_str().unwrap().ends_with('Z'));
    }
    let kinds: Vec<_> =
        rows.iter().map(|row| (row["author_kind"].as_str().unwrap(), row["kind"].as_str().unwrap())).collect();
    assert!(kinds.contains(&("controller", "base_rate_change")), "{kinds:?}");
    assert!(kinds.contains(&("person", "rate_override")), "{kinds:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_attempt_of_the_past_is_exported_as_it_was() {
    let server = Server::sqlite().await;
    eventful_job(&server).await;
    let csv = lrs(&server, "export test/eventful --attempt 1 --format csv");
    assert_eq!(csv.lines().count(), 1 + 20);
    assert!(!csv.contains("NaN") && csv.starts_with("step,loss\n"), "{csv}");
    let refused = command(&server, "export test/eventful --attempt 3 --format csv").output().unwrap();
    assert_eq!(refused.status.code(), Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_without_any_telemetry_has_empty_tables_of_the_same_columns() {
    let server = Server::sqlite().await;
    server.register("empty", server::spec(0.1)).await;
    let directory = tempfile::tempdir().unwrap();
    lrs(&server, &format!("export test/empty --to {}", directory.path().display()));
    for (table, column_count) in [("telemetry", 1), ("rates", 6), ("decisions", 11)] {
        let file = open_parquet(&directory.path().join(table).with_extension("parquet"));
        let metadata = file.metadata().file_metadata();
        assert_eq!((metadata.num_rows(), metadata.schema_descr().num_columns()), (0, column_count));
        let about = metadata.key_value_metadata().unwrap().iter().find(|entry| entry.key == "lrs").unwrap();
        let about: serde_json::Value = serde_json::from_str(about.value.as_deref().unwrap()).unwrap();
        let columns = about["columns"].as_array().unwrap();
        assert_eq!(columns.len(), column_count);
        assert!(columns.iter().all(|column| column["unit"].is_string()));
    }
    let names: Vec<_> = std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 4, "{names:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_not_be_exported_leaves_the_file_that_is_there() {
    let server = Server::sqlite().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kept.csv");
    std::fs::write(&path, "what was there").unwrap();
    let refused = command(&server, &format!("export test/none -o {}", path.display())).output().unwrap();
    assert_eq!(refused.status.code(), Some(3));
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "what was there");
    let refused = command(&server, "export test/none").output().unwrap();
    assert_eq!(refused.status.code(), Some(2), "Parquet does not go to standard output");
}

/// A job that has ended after `steps` steps. Its telemetry is written directly into the database, which is much faster.
async fn long_job(server: &mut Server, id: &str, steps: u64) {
    const CHUNK: u64 = 500;
    let spec = spec_json(r#"{"groups": [{"base_lr": 1.0}], "schedule": {"cosine": {"decay_steps": 1000000}}}"#);
    let job = server.register(id, spec).await;
    server.start_attempt(&job.name, "t", 0).await;
    let request = CompleteJobRequest { name: job.name, outcome: State::Completed.into(), ..Default::default() };
    server.jobs().await.complete_job(request).await.unwrap();
    server.terminate().await;
    let url = format!("sqlite://{}", server.database_file().display());
    let store = url.parse::<store::DatabaseUrl>().unwrap().open().await.unwrap();
    let uid = JobId(job.uid.parse().unwrap());
    let chunks = (0..steps.div_ceil(CHUNK)).map(|seq| {
        let sample = |step: u64| {
            let noise = f64::from(u32::try_from(step.wrapping_mul(2_654_435_761) % 1_000_003).unwrap());
            let mut sample = Sample {
                loss: Some(1.0 / (1.0 + noise)),
                grad_norm: Some(noise.sqrt()),
                learning_rate: Some(1e-3 * (1.0 + noise)),
                ..Sample::new(step)
            };
            if step.is_multiple_of(1000) {
                sample.add_metric("val_loss".into(), noise);
            }
            sample
        };
        let end = ((seq + 1) * CHUNK).min(steps);
        let samples = (seq * CHUNK..end).map(sample).collect();
        Write::AppendTelemetry(uid, Chunk { attempt: 1, rank: 0, seq, through_step: Some(end - 1), samples })
    });
    let mut batch = Vec::new();
    for write in chunks {
        batch.push(write);
        if batch.len() == 200 {
            store.commit(&batch).await.unwrap();
            batch.clear();
        }
    }
    store.commit(&batch).await.unwrap();
    store.close().await;
    server.start_again().await;
}

/// The most memory that a process has had so far, in MiB.
fn peak_mib(pid: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? / 1024)
}

/// Exports a job; returns the most memory that the command used, in MiB.
async fn export_and_measure(server: &Server, id: &str, to: &Path) -> u64 {
    let line = format!("export test/{id} --to {}", to.display());
    let mut child = command(server, &line).stderr(Stdio::inherit()).spawn().unwrap();
    let mut peak = 0;
    let mut pause = tokio::time::interval(std::time::Duration::from_millis(5));
    let status = loop {
        pause.tick().await;
        peak = peak.max(peak_mib(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
    };
    assert!(status.success());
    peak
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn memory_does_not_grow_with_the_length_of_the_history() {
    // With `LRS_EXPORT_STEPS=10000000` this is the measurement in docs/export.md.
    #[expect(clippy::disallowed_methods, reason = "a test has no config")]
    let steps = std::env::var("LRS_EXPORT_STEPS").map_or(400_000, |steps| steps.parse().unwrap());
    let mut server = Server::sqlite().await;
    long_job(&mut server, "short", steps / 4).await;
    long_job(&mut server, "long", steps).await;
    let directory = tempfile::tempdir().unwrap();

    let short = export_and_measure(&server, "short", &directory.path().join("short")).await;
    let server_after_short = peak_mib(server.pid()).unwrap();
    let began = tokio::time::Instant::now();
    let long = export_and_measure(&server, "long", &directory.path().join("long")).await;
    let server_after_long = peak_mib(server.pid()).unwrap();

    println!(
        "{steps} steps in {:.1} s: {long} MiB in the client ({short} for a quarter of it), {server_after_long} MiB in the \
         server ({server_after_short})",
        began.elapsed().as_secs_f64()
    );
    for table in ["telemetry", "rates"] {
        let path = directory.path().join(format!("long/{table}.parquet"));
        assert_eq!(u64::try_from(row_count(&path)), Ok(steps), "{table}");
        assert!(open_parquet(&path).num_row_groups() > 1, "{table} is one row group");
    }
    // 300,000 more steps of 4 columns are 10 MB more, and several times that as records.
    assert!(long < short + 24, "the client: {short} MiB, then {long} MiB");
    assert!(
        server_after_long < server_after_short + 24,
        "the server: {server_after_short} MiB, then {server_after_long} MiB"
    );
    assert!(long < 200 && server_after_long < 200);
}
