//! The options of a command that changes a job: author, reason and request identifier.

use uuid::Uuid;

/// The author and the reason that a change is recorded with.
#[derive(Clone, Debug, clap::Args)]
pub struct RecordArgs {
    /// Why, for the record
    #[arg(short, long, default_value = "", hide_default_value = true)]
    pub reason: String,
    /// Who, for the record
    #[arg(long, env = "USER", default_value = "", hide_default_value = true, hide_env_values = true)]
    pub author: String,
}

/// The author, the reason and the request identifier of a change of a job's rate.
#[derive(Clone, Debug, clap::Args)]
pub struct OrderArgs {
    /// Author and reason.
    #[command(flatten)]
    pub record: RecordArgs,
    #[command(flatten)]
    request: RequestArgs,
}

/// The identifier of a request.
#[derive(Clone, Debug, clap::Args)]
pub struct RequestArgs {
    /// Makes a repeat of the command harmless: the same identifier changes nothing more [default: a new one]
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl OrderArgs {
    /// The request's identifier.
    #[must_use]
    pub fn request_id(&self) -> String {
        self.request.request_id()
    }
}

impl RequestArgs {
    /// The request's identifier: a new one unless given. Every request has one, so that a call whose answer was lost
    /// can be repeated.
    #[must_use]
    pub fn request_id(&self) -> String {
        self.request_id.clone().unwrap_or_else(|| Uuid::now_v7().to_string())
    }
}
