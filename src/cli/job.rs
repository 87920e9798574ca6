//! `lrs job`: the operators' commands about jobs, over gRPC.

use clap::Subcommand;

use super::{
    connect::{ConnectArgs, Connection},
    failure::Failure,
    job_name::NamespaceArg,
};
use lrs_model::name::JobName;
use lrs_proto as proto;

mod advise_stop;
mod apply;
pub(super) mod attempts;
mod changes;
mod complete;
pub(super) mod decisions;
mod delete;
mod fork;
mod get;
mod list;
mod override_rate;
mod pause;
mod register;
mod resume;
mod show;
mod telemetry;
mod update;
mod watch;

/// Register, read and steer jobs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
JOB is a name such as cifar, vision/cifar or namespaces/vision/jobs/cifar.

Examples:
  lrs job apply -f examples/cifar.yaml
  lrs job list --all-namespaces --filter 'state = RUNNING'
  lrs job override vision/cifar --factor 0.5 --reason 'the loss spikes'")]
pub struct Args {
    #[command(flatten)]
    connect: ConnectArgs,
    #[command(flatten)]
    namespace: NamespaceArg,
    #[command(subcommand)]
    command: Command,
}

// A command is a row here and a file below `job/`.
commands! {
    for session: &Session;
    apply: Apply,
    register: Register,
    get: Get,
    list: List,
    watch: Watch,
    pause: Pause,
    resume: Resume,
    override_rate: Override,
    advise_stop: AdviseStop,
    update: Update,
    fork: Fork,
    complete: Complete,
    delete: Delete,
    changes: Changes,
    decisions: Decisions,
    attempts: Attempts,
    telemetry: Telemetry,
}

/// A server, and the namespace of jobs that are named without one.
struct Session {
    server: Connection,
    namespace: NamespaceArg,
}

impl Session {
    /// The resource name of the job typed as `text`.
    fn name(&self, text: &str) -> Result<JobName, Failure> {
        self.namespace.resolve(text)
    }

    /// The job of this name.
    async fn job(&self, name: &JobName) -> Result<proto::Job, Failure> {
        let request = proto::GetJobRequest { name: name.to_string() };
        self.server.call(async |mut service| service.get_job(request.clone()).await).await
    }
}

/// Runs the command about jobs.
///
/// # Errors
/// If the server cannot be reached, or refuses.
pub async fn run(args: Args) -> Result<(), Failure> {
    let session = Session { server: args.connect.connect().await?, namespace: args.namespace };
    args.command.run(&session).await
}
