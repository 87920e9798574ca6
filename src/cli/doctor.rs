//! `lrs doctor`: examines a database for damage and contradictions.

use serde_json::{Value, json};

use super::{
    database::DatabaseArgs,
    failure::{Exit, Failure},
    output,
};
use lrs_engine::doctor::{self, Counts, Diagnosis, Finding};
use lrs_store::Schema;

/// Examine a database for damage and contradictions
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
Changes nothing. Examines one snapshot of the database, which a server may use at the same time. Reads all telemetry, so
it takes about as long as a backup.

Each finding begins with a word for its kind:
  file        the database's own files are damaged (SQLite only; for PostgreSQL see pg_amcheck)
  index       an index is missing or cannot be used
  orphan      rows belong to a job or an attempt that does not exist
  unreadable  a row cannot be decoded
  gap         stored telemetry or a stored decision is missing
  overlap     telemetry has two values for a step, or arrived after its step was closed
  decision    recomputed from the telemetry, a controller's decision is not the recorded one
  snapshot    the stored state of a job does not follow from its telemetry
  job         the row of a job contradicts the rest of its record

Exits with 6 if there is a finding, and with 4 if the schema is not this release's.

Examples:
  lrs doctor                                       the file that `lrs serve` uses
  lrs doctor --database-url postgres://lrs@db/lrs
  lrs doctor --format json | jq '.findings[].job'")]
pub struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
    /// How to print the findings
    #[command(flatten)]
    format: output::FormatArgs,
}

/// Examines the database and prints the findings.
///
/// # Errors
/// If the database cannot be read, its schema is not this release's, or there are findings.
pub async fn run(args: Args) -> Result<(), Failure> {
    let url = args.database.url()?;
    let database = url.inspect().await?;
    let diagnosis = doctor::examine(&*database).await?;
    args.format.print(&document(database.schema(), &diagnosis), || text(database.schema(), &diagnosis))?;
    database.close().await;
    match diagnosis.findings.len() {
        0 => Ok(()),
        count => Err(Failure::new(Exit::Differs, format!("{count} findings"))
            .with_hint("docs/operations.md says what to do about each kind")),
    }
}

fn version(schema: &Schema) -> i64 {
    schema.applied.last().map_or(0, |migration| migration.version)
}

fn text(schema: &Schema, Diagnosis { counts, findings }: &Diagnosis) -> String {
    let Counts { jobs, jobs_without_telemetry, attempts, decisions, recomputed_decisions, chunks, samples, .. } =
        counts;
    let mut lines = vec![format!(
        "Schema version {}: {jobs} jobs, {attempts} attempts, {decisions} decisions ({recomputed_decisions} recomputed), \
         {samples} samples in {chunks} chunks.",
        version(schema)
    )];
    if *jobs_without_telemetry > 0 {
        let count = jobs_without_telemetry;
        lines.push(format!("{count} jobs are past their retention: their decisions cannot be recomputed."));
    }
    if counts.unrecorded_decisions > 0 {
        let count = counts.unrecorded_decisions;
        lines.push(format!("{count} decisions are stored at the next start of a server: the last one ended before."));
    }
    if findings.is_empty() {
        lines.push("Nothing is wrong.".to_owned());
    }
    lines.extend(findings.iter().map(|Finding { job, ailment, detail }| {
        format!("{:<10}  {}: {detail}", ailment.to_string(), job.as_deref().unwrap_or("the database"))
    }));
    lines.join("\n") + "\n"
}

fn document(schema: &Schema, diagnosis: &Diagnosis) -> Value {
    json!({
        "schema_version": version(schema),
        "counts": diagnosis.counts,
        "findings": diagnosis.findings,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_engine::doctor::Ailment;

    fn schema() -> Schema {
        Schema { applied: Vec::new(), pending: Vec::new() }
    }

    #[test]
    fn a_finding_names_its_kind_and_its_job() {
        let finding = Finding {
            job: Some("namespaces/a/jobs/b".to_owned()),
            ailment: Ailment::Gap,
            detail: "3 pieces of telemetry arrived, 2 are there".to_owned(),
        };
        let diagnosis = Diagnosis { findings: vec![finding], ..Diagnosis::default() };
        let text = text(&schema(), &diagnosis);
        assert!(text.contains("gap         namespaces/a/jobs/b: 3 pieces"), "{text}");
        assert_eq!(document(&schema(), &diagnosis)["findings"][0]["ailment"], "gap");
    }

    #[test]
    fn a_sound_database_is_said_to_be_one() {
        assert!(text(&schema(), &Diagnosis::default()).contains("Nothing is wrong."));
    }
}
