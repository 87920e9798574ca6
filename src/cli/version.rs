//! `lrs version`: which release this is, and what it was built from.

use serde::Serialize;

use super::{
    failure::Failure,
    output::{self, FormatArgs},
};
use lrs_store as store;

/// Print the release of this program
#[derive(Clone, Copy, Debug, clap::Args)]
#[command(after_help = "Examples:\n  lrs version\n  lrs version --format json")]
pub struct Args {
    #[command(flatten)]
    format: FormatArgs,
}

/// The facts about this program.
#[derive(Debug, Serialize)]
struct Release {
    version: &'static str,
    /// The commit it was built from, where that was known.
    #[serde(skip_serializing_if = "Option::is_none")]
    git_commit: Option<&'static str>,
    rustc: &'static str,
    /// The newest database schema it knows.
    schema_version: i64,
}

/// Prints the release.
///
/// # Errors
/// If the answer cannot be written.
#[expect(clippy::unused_async, reason = "all commands run alike")]
pub async fn run(args: Args) -> Result<(), Failure> {
    let release = Release {
        version: env!("CARGO_PKG_VERSION"),
        git_commit: option_env!("LRS_GIT_COMMIT"),
        rustc: env!("LRS_RUSTC_VERSION"),
        schema_version: store::newest_schema_version(),
    };
    args.format.print(&release, || {
        output::card(vec![
            ("lrs", release.version.to_owned()),
            ("git commit", output::optional(release.git_commit, str::to_owned)),
            ("rustc", release.rustc.to_owned()),
            ("database schema", release.schema_version.to_string()),
        ])
    })
}
