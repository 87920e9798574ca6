//! The command line: the list of commands, each of which is a file below `cli/`.
//!
//! Most commands are clients of the gRPC API. `preview` and `replay` compute in this process, `migrate` and `doctor`
//! open the database, and `serve` is the server; no other command uses the engine or the store.

use std::{
    io::{self, IsTerminal as _, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, FromArgMatches as _, Parser, Subcommand, builder::FalseyValueParser};

/// Declares `enum Command` with a row for each command: its file and its name. The file has `Args`, whose doc comment
/// is the command's line in `lrs help`, and `run`, which does the work. With `for session: &Session;` before the rows,
/// every `run` gets that value first.
macro_rules! commands {
    ($($file:ident: $name:ident,)*) => {
        commands!(@enum $($file: $name,)*);

        impl Command {
            async fn run(self) -> Result<(), Failure> {
                match self {
                    $(Self::$name(args) => Box::pin($file::run(*args)).await,)*
                }
            }
        }
    };
    (for $shared:ident: $type:ty; $($file:ident: $name:ident,)*) => {
        commands!(@enum $($file: $name,)*);

        impl Command {
            async fn run(self, $shared: $type) -> Result<(), Failure> {
                match self {
                    $(Self::$name(args) => Box::pin($file::run($shared, &args)).await,)*
                }
            }
        }
    };
    (@enum $($file:ident: $name:ident,)*) => {
        #[derive(Debug, Subcommand)]
        enum Command {
            $($name(Box<$file::Args>),)*
        }
    };
}

pub mod applying;
mod assignment;
pub mod completions;
pub mod connect;
pub mod database;
pub mod demo;
pub mod doctor;
mod environment;
pub mod experiment;
pub mod export;
pub mod failure;
pub mod heart;
pub mod job;
pub mod job_name;
pub mod jobfile;
pub mod line;
pub mod migrate;
pub mod order;
pub mod output;
pub mod overlay;
pub mod preview;
mod rate_move;
pub mod replay;
pub mod report;
pub mod serve;
pub mod steps;
pub mod sweep;
pub mod telemetry;
pub mod values;
pub mod version;
mod yaml;

use failure::{EXIT_CODES, Exit, Failure};
use lrs_runtime::secret::{may_be_secret, redacted};

const EXAMPLES: &str = "\
Examples:
  lrs serve                                     start a server over one SQLite file
  lrs preview -f examples/cifar.yaml            look at a schedule; no server needed
  lrs job register -f examples/cifar.yaml       register a job
  lrs job watch vision/cifar                    follow it
  lrs job override vision/cifar --factor 0.5    halve its rate
  lrs replay vision/cifar                       check that its decisions follow from its telemetry";

/// A network service that owns the learning rate of every training job
#[derive(Debug, Parser)]
#[command(name = "lrs", version, propagate_version = true, subcommand_required = true, arg_required_else_help = true)]
#[command(after_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"))]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
    /// No colours, even on a terminal
    #[arg(long, env = "NO_COLOR", hide_env_values = true, value_parser = FalseyValueParser::new(), global = true)]
    no_color: bool,
}

// A command is a row here and a file with the same name.
commands! {
    serve: Serve,
    demo: Demo,
    job: Job,
    experiment: Experiment,
    preview: Preview,
    replay: Replay,
    report: Report,
    export: Export,
    sweep: Sweep,
    doctor: Doctor,
    migrate: Migrate,
    version: Version,
    completions: Completions,
}

impl Cli {
    /// Reads the command line and the environment.
    ///
    /// # Errors
    /// The exit code, if there is no command to run: the line is wrong, or asked for help. That has been said.
    pub fn read() -> Result<Self, ExitCode> {
        let command = line::lenient(Self::command());
        let read = command.clone().try_get_matches().and_then(|matches| Self::from_arg_matches(&matches));
        read.map_err(|refusal| {
            let in_words = line::refused(&refusal, &command)
                .map(|failure| failure.render(std::env::var_os("NO_COLOR").is_none() && io::stderr().is_terminal()));
            let text = in_words.clone().unwrap_or_else(|| refusal.render().to_string());
            let shown = without_secrets(&text, &given());
            let failure = if refusal.use_stderr() { serve::unreadable(&shown) } else { None };
            if let Some(failure) = failure {
                return failure.exit.into();
            }
            if in_words.is_none() && shown == text {
                // With its colours. Nobody may be there to read it.
                let _ = refusal.print();
            } else {
                eprint!("{shown}");
            }
            ExitCode::from(u8::try_from(refusal.exit_code()).unwrap_or(Exit::Failed as u8))
        })
    }

    /// Runs the command. A failure is printed to standard error.
    pub async fn run(mut self) -> ExitCode {
        let names: Vec<String> = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect();
        let unknown = environment::unknown(&Self::command(), names.iter().map(String::as_str));
        match &mut self.command {
            // They belong into its log.
            Command::Serve(args) => args.warnings = unknown,
            _ => unknown.iter().for_each(|warning| {
                // Nobody may be there to read it.
                let _ = writeln!(io::stderr(), "warning: {warning}");
            }),
        }
        match self.command.run().await {
            Ok(()) => ExitCode::SUCCESS,
            Err(failure) => {
                let text = failure.render(!self.no_color && io::stderr().is_terminal());
                // Nobody may be there to read it.
                let _ = io::stderr().write_all(text.as_bytes());
                failure.exit.into()
            }
        }
    }
}

/// The texts on the command line and in our variables of the environment, the longest first.
fn given() -> Vec<String> {
    let line = std::env::args_os().flat_map(|argument| {
        let argument = argument.to_string_lossy().into_owned();
        let value = argument.split_once('=').map(|(_, value)| value.to_owned());
        [Some(argument), value].into_iter().flatten()
    });
    let environment = std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("LRS_"));
    let environment = environment.map(|(_, value)| value.to_string_lossy().into_owned());
    let mut given: Vec<String> = line.chain(environment).collect();
    given.sort_by_key(|text| std::cmp::Reverse(text.len()));
    given
}

/// A message about the command line, which repeats what is wrong with it, without the passwords in what was `given`.
fn without_secrets(message: &str, given: &[String]) -> String {
    let secret = || given.iter().filter(|text| may_be_secret(text)).map(|text| (text, redacted(text)));
    let whole = |message: String, (text, redacted): (&String, String)| message.replace(text.as_str(), &redacted);
    // An option that is a list may repeat a part.
    let parts = |message: String, (text, redacted): (&String, String)| {
        let parts = text.split([',', '=', '&', '?']).filter(|part| part.len() > 2 && !redacted.contains(part));
        parts.fold(message, |message, part| {
            let hidden = if may_be_secret(part) { lrs_runtime::secret::redacted(part) } else { "***".to_owned() };
            message.replace(part, &hidden)
        })
    };
    secret().fold(secret().fold(message.to_owned(), whole), parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exit_code(line: &str) -> i32 {
        Cli::try_parse_from(line.split_whitespace()).map_or_else(|error| error.exit_code(), |_| 0)
    }

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn every_command_has_help_and_every_working_one_an_example() {
        fn check(command: &clap::Command) {
            assert!(command.get_about().is_some(), "{} says nothing about itself", command.get_name());
            if command.get_subcommands().next().is_none() {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("lrs "), "{} has no example", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&Cli::command());
    }

    #[test]
    fn a_password_in_a_wrong_place_is_not_repeated() {
        for argument in ["postgres://u:s3 c'ret@h/d", "--shards=postgres://u:s3cret@h/d", "u:s3cret@h/d"] {
            let error = Cli::try_parse_from(["lrs", "serve", argument]).unwrap_err().to_string();
            let given = [argument, argument.split_once('=').map_or("", |(_, value)| value)].map(str::to_owned);
            assert!(error.contains("s3"), "{error}");
            let shown = without_secrets(&error, &given);
            assert!(!shown.contains("s3") && shown.contains("u:***@h"), "{shown}");
        }
    }

    #[test]
    fn wrong_usage_exits_with_2() {
        for line in [
            "lrs nonsense",
            "lrs job register",
            "lrs job override cifar",
            "lrs job override cifar --lr 0.1 --factor 0.5",
            "lrs job override cifar --clear --until-step 5",
            "lrs job override cifar --lr fast",
            "lrs job get cifar --format json --json",
            "lrs job complete cifar --outcome lost",
            "lrs preview -f a.yaml --steps 1 --every 2",
            "lrs experiment run",
            "lrs experiment run -f a.yaml --report html",
            "lrs experiment run -f a.yaml --dry-run --wait",
            "lrs replay",
            "lrs replay cifar --spec a.yaml",
            "lrs replay --spec a.yaml",
            "lrs report",
            "lrs report cifar --experiment digits",
            "lrs report cifar --format pdf",
            "lrs export",
            "lrs sweep digits",
            "lrs sweep digits --every 0",
            "lrs export cifar --to a b c",
            "lrs export cifar --to out -o cifar.csv",
            "lrs export cifar --to out --table rates",
        ] {
            assert_eq!(exit_code(line), 2, "{line}");
        }
    }

    #[test]
    fn what_the_documentation_shows_is_understood() {
        for line in [
            "lrs job register -f examples/cifar.yaml --set spec.groups[0].base_lr=0.1 --dry-run",
            "lrs job list --filter state=RUNNING --order-by name --all-namespaces --limit 5 --json",
            "lrs job override cifar --group head=0.01 --group backbone=0.001 --until-step 10 --reason spike",
            "lrs job override cifar --clear --reason over",
            "lrs job telemetry cifar --metric loss --start 0 --end 10 --max-points 100 --format csv",
            "lrs job fork cifar cifar-2 --step 100",
            "lrs job delete cifar --force --yes",
            "lrs preview -f a.yaml -f b.yaml --steps 0,10,20..100 --format csv",
            "lrs replay cifar --attempt 2",
            "lrs replay cifar --with other.yaml --json",
            "lrs replay --spec a.yaml --telemetry t.csv --decisions d.json",
            "lrs report cifar --format html -o cifar.html",
            "lrs report --experiment digits -n vision --json",
            "lrs experiment run -f examples/experiments/warmup.yaml --format commands",
            "lrs experiment run -f exp.yaml --wait --wait-timeout 12h --report html -o exp.html",
            "lrs export cifar --format parquet -o cifar.parquet --table rates",
            "lrs export cifar --attempt 2 --to cifar --format csv",
            "lrs export cifar --to tensorboard runs",
            "lrs job advise-stop cifar --reason 'no-hope'",
            "lrs job advise-stop cifar --withdraw",
            "lrs sweep digits -n vision --every 100 --after 1000 --min-jobs 5 --once --dry-run --json",
            "lrs migrate --check",
            "lrs doctor --database-url sqlite:///var/lib/lrs/lrs.db --format json",
            "lrs version --format json",
            "lrs completions bash",
        ] {
            assert_eq!(exit_code(line), 0, "{line}");
        }
    }
}
