//! `lrs migrate`: brings a database to this release's schema, or lists the pending migrations.

use super::{
    database::DatabaseArgs,
    failure::{Exit, Failure},
    output,
};
use lrs_store::{Migration, Schema};

/// Bring a database to this release's schema
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "\
`lrs serve` migrates when it starts. This command does it beforehand.

Examples:
  lrs migrate --database-url postgres://lrs@db/lrs
  lrs migrate --check                               exits with 4 if migrations are pending")]
pub struct Args {
    #[command(flatten)]
    database: DatabaseArgs,
    /// Change nothing; fail if the schema is not this release's
    #[arg(long)]
    check: bool,
}

/// Migrates, or checks.
///
/// # Errors
/// If the database cannot be reached, is of a newer release, or a check finds pending migrations.
pub async fn run(args: Args) -> Result<(), Failure> {
    let url = args.database.url()?;
    if args.check {
        let schema = url.schema().await?;
        output::print(&describe(&schema, "to be applied"))?;
        check(&schema)
    } else {
        let before = url.migrate().await?;
        output::print(&describe(&before, "applied"))
    }
}

fn check(schema: &Schema) -> Result<(), Failure> {
    if schema.pending.is_empty() {
        return Ok(());
    }
    let pending = schema.pending.len();
    Err(Failure::new(Exit::Conflict, format!("the schema lacks {pending} migrations of this release"))
        .with_hint("run `lrs migrate` without --check"))
}

/// The version before, and each pending migration with its fate.
fn describe(schema: &Schema, fate: &str) -> String {
    let version = schema.applied.last().map_or_else(|| "empty".to_owned(), |m| format!("at version {}", m.version));
    let verb = if schema.pending.is_empty() { "is" } else { "was" };
    let rest = schema.pending.iter();
    let rest = rest.map(|Migration { version, description }| format!("  {fate}: {version} {description}\n"));
    format!("The schema {verb} {version}.\n{}", rest.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migration(version: i64) -> Migration {
        Migration { version, description: "jobs".to_owned() }
    }

    #[test]
    fn a_check_fails_while_something_is_pending() {
        assert_eq!(check(&Schema { applied: vec![migration(1)], pending: Vec::new() }), Ok(()));
        let behind = Schema { applied: Vec::new(), pending: vec![migration(1)] };
        assert_eq!(check(&behind).unwrap_err().exit, Exit::Conflict);
    }

    #[test]
    fn what_was_done_is_said_migration_by_migration() {
        let schema = Schema { applied: vec![migration(1)], pending: vec![migration(2)] };
        assert_eq!(describe(&schema, "applied"), "The schema was at version 1.\n  applied: 2 jobs\n");
        let current = Schema { applied: vec![migration(2)], pending: Vec::new() };
        assert_eq!(describe(&current, "applied"), "The schema is at version 2.\n");
    }

    #[tokio::test]
    async fn a_new_file_is_migrated_once() {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite://{}", folder.path().join("lrs.db").display());
        let database = DatabaseArgs { database_url: Some(url.into()) };
        let args = |check| Args { database: database.clone(), check };

        assert_eq!(run(args(true)).await.unwrap_err().exit, Exit::Conflict);
        run(args(false)).await.unwrap();
        run(args(true)).await.unwrap();
    }

    #[tokio::test]
    async fn another_kind_of_database_is_refused() {
        let database = DatabaseArgs { database_url: Some("mysql://root@db".into()) };
        let args = Args { database, check: true };
        assert_eq!(run(args).await.unwrap_err().exit, Exit::Invalid);
    }
}
