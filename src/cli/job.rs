//! `lrs job`: what operators do with jobs, over gRPC.

use clap::Subcommand;

use super::{
    connect::{ConnectArgs, Connection},
    failure::Failure,
    job_name::NamespaceArg,
};
use lrs_model::name::JobName;
use lrs_proto as proto;

mod advise_stop;
pub(super) mod attempts;
mod complete;
pub(super) mod decisions;
mod delete;
mod fork;
mod get;
mod list;
mod override_rate;
mod pause;
mod register;
mod show;
mod telemetry;
mod update;
mod watch;

/// Which server, and what to do there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
JOB is a name such as cifar, vision/cifar or namespaces/vision/jobs/cifar.

Examples:
  lrs job register -f examples/cifar.yaml
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

#[derive(Debug, Subcommand)]
enum Command {
    /// Register the jobs of a job file
    Register(register::Args),
    /// Show a job
    Get(get::Args),
    /// List jobs
    List(list::Args),
    /// Follow what happens to a job, a line an event
    Watch(watch::Args),
    /// Stop a job's schedule and hold its rate
    Pause(pause::Args),
    /// Let a paused job's schedule go on
    Resume(pause::Args),
    /// Set a job's learning rate by hand, or end that
    Override(override_rate::Args),
    /// Advise a job's trainer to stop, or take that back
    AdviseStop(advise_stop::Args),
    /// Change a job's spec
    Update(update::Args),
    /// Make a new job from a step of another
    Fork(fork::Args),
    /// End a job
    Complete(complete::Args),
    /// Remove a job and everything recorded of it
    Delete(delete::Args),
    /// List the decisions about a job
    Decisions(decisions::Args),
    /// List the attempts of a job
    Attempts(attempts::Args),
    /// Print what a job's trainers reported
    Telemetry(telemetry::Args),
}

/// A server, and the namespace that names without one are in.
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

/// Does it.
///
/// # Errors
/// What the server says, or that there is none.
pub async fn run(args: Args) -> Result<(), Failure> {
    let session = Session { server: args.connect.connect().await?, namespace: args.namespace };
    match args.command {
        Command::Register(args) => register::run(&session, &args).await,
        Command::Get(args) => get::run(&session, &args).await,
        Command::List(args) => list::run(&session, &args).await,
        Command::Watch(args) => watch::run(&session, &args).await,
        Command::Pause(args) => pause::pause(&session, &args).await,
        Command::Resume(args) => pause::resume(&session, &args).await,
        Command::Override(args) => override_rate::run(&session, &args).await,
        Command::AdviseStop(args) => advise_stop::run(&session, &args).await,
        Command::Update(args) => update::run(&session, &args).await,
        Command::Fork(args) => fork::run(&session, &args).await,
        Command::Complete(args) => complete::run(&session, &args).await,
        Command::Delete(args) => delete::run(&session, &args).await,
        Command::Decisions(args) => decisions::run(&session, &args).await,
        Command::Attempts(args) => attempts::run(&session, &args).await,
        Command::Telemetry(args) => telemetry::run(&session, &args).await,
    }
}
