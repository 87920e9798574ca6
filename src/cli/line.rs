//! The command line: read leniently where no other meaning is possible, and refused with the place, what was read, and
//! what to write instead.

use std::error::Error as _;

use clap::{
    Arg, Command,
    builder::Resettable,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::failure::Failure;
use crate::config;
use lrs_model::typed;

/// The command with what holds for all of its arguments: words are read in any case, a negative number is a value and
/// no flag, and an empty variable of the environment is as good as none.
#[must_use]
pub fn lenient(command: Command) -> Command {
    let lenient = |argument: Arg| {
        let takes_value = argument.get_action().takes_values();
        let is_option = takes_value && argument.get_long().is_some();
        let is_empty = argument.get_env().is_some_and(|name| std::env::var_os(name).is_some() && !config::is_set(name));
        let argument = if is_empty { argument.env(Resettable::Reset) } else { argument };
        argument.ignore_case(takes_value).allow_negative_numbers(is_option)
    };
    command.mut_args(lenient).mut_subcommands(self::lenient)
}

/// The failure that a value is not allowed, if that is what is wrong with the line.
#[must_use]
pub fn refused(error: &clap::Error, command: &Command) -> Option<Failure> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    let argument = text(ContextKind::InvalidArg)?;
    let value = text(ContextKind::InvalidValue)?;
    let problem = match (error.kind(), error.get(ContextKind::ValidValue)) {
        (ErrorKind::InvalidValue, Some(ContextValue::Strings(words))) if !value.is_empty() => {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            format!("{value:?} is not allowed: {}", typed::choice(value, &words))
        }
        (ErrorKind::ValueValidation, _) => error.source()?.to_string(),
        _ => return None,
    };
    Some(Failure::invalid(format!("{}: {problem}", place(argument, command))))
}

/// The flag or the variable that an argument came from.
fn place(argument: &str, command: &Command) -> String {
    let name = argument.split_once(" <").map_or(argument, |(name, _)| name);
    let variable = name.strip_prefix("--").and_then(|long| variable(command, long));
    variable.map_or_else(|| name.to_owned(), |variable| config::place_of(name, &variable))
}

/// The variable of a flag.
fn variable(command: &Command, long: &str) -> Option<String> {
    let own = command.get_arguments().find(|argument| argument.get_long() == Some(long));
    let own = own.and_then(Arg::get_env).map(|name| name.to_string_lossy().into_owned());
    own.or_else(|| command.get_subcommands().find_map(|below| variable(below, long)))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;
    use crate::cli::Cli;

    fn command() -> Command {
        lenient(Cli::command())
    }

    fn refusal(line: &[&str]) -> String {
        let error = command().try_get_matches_from(line).expect_err(&line.join(" "));
        refused(&error, &command()).map_or_else(|| error.to_string(), |failure| failure.to_string())
    }

    #[test]
    fn what_means_the_same_is_read_the_same() {
        for line in [
            &["lrs", "job", "list", "--format", "JSON", "--limit", "1_000", "--timeout", "2d"][..],
            &["lrs", "job", "override", "a", "--lr", "-0.1", "--until-step", "1e3"],
            &["lrs", "job", "override", "a", "--group", "no decay = 1e-3"],
            &["lrs", "job", "complete", "a", "--outcome", "Failed"],
            &["lrs", "sweep", "digits", "--every", "1e3", "--interval", "1.5s", "--linger", "1d"],
            &["lrs", "experiment", "run", "-f", "a.yaml", "--wait", "--wait-timeout", "1.5d"],
            &["lrs", "serve", "--message-bytes", "16MiB", "--shards", "1e1", "--device", "CPU", "--log-format", "Json"],
            &["lrs", "completions", "Bash"],
            &["lrs", "job", "list", "--order-by", "-create_time"],
        ] {
            assert!(command().try_get_matches_from(line).is_ok(), "{line:?}: {}", refusal(line));
        }
    }

    #[test]
    fn a_refusal_names_the_place_what_was_read_and_what_to_write() {
        let most = lrs_model::MAX_STEP;
        for (line, says) in [
            ("lrs job list --limit ten", "--limit: \"ten\" is not allowed: must be a whole number from 1 to"),
            ("lrs job list --limit 0", "--limit: \"0\" is not allowed: must be a whole number from 1 to"),
            ("lrs job list --format xml", "--format: \"xml\" is not allowed: there are table, json, yaml"),
            (
                "lrs job list --timeout 5",
                "--timeout: \"5\" is not allowed: must be a length of time with its unit: write 5s",
            ),
            ("lrs job list --timeout -5s", "--timeout: \"-5s\" is not allowed: must be a length of time of at least 0"),
            ("lrs job list -n a/b", "--namespace: \"a/b\" is not allowed: must be 1 to 63 letters"),
            ("lrs job override a --lr fast", "--lr: \"fast\" is not allowed: must be a number, such as 0.1 or 1e-3"),
            ("lrs job override a --factor 50%", "--factor: \"50%\" is not allowed: must be a number, such as 0.5"),
            (
                "lrs job override a --group 0.1",
                "--group: \"0.1\" is not allowed: must be GROUP=RATE, such as head=0.01",
            ),
            ("lrs job override a --group head=x", "--group: the rate \"x\" is not allowed: must be a number"),
            (
                "lrs job override a --lr 1 --until-step 0",
                &format!("\"0\" is not allowed: must be a whole number from 1 to {most}"),
            ),
            (
                "lrs job telemetry a --start -1",
                &format!("--start: \"-1\" is not allowed: must be a whole number from 0 to {most}"),
            ),
            ("lrs job telemetry a --max-points 1", "must be a whole number from 2 to 100000"),
            ("lrs job decisions a --attempt 0", "--attempt: \"0\" is not allowed: must be a whole number"),
            ("lrs job fork a b --step -1", "--step: \"-1\" is not allowed"),
            (
                "lrs job complete a --outcome lost",
                "--outcome: \"lost\" is not allowed: there are completed, failed, cancelled",
            ),
            (
                "lrs job update a --set spec.total_steps",
                "--set: \"spec.total_steps\" is not allowed: must be PATH=VALUE",
            ),
            (
                "lrs job update a --set spec..a=1",
                "--set: the path \"spec..a\" is not allowed: must be such as spec.groups[0].base_lr",
            ),
            (
                "lrs preview -f a.yaml --steps 1-5",
                "--steps: \"1-5\" is not allowed: must be a step, a range such as 20..100",
            ),
            ("lrs preview -f a.yaml --every 0", "--every: \"0\" is not allowed"),
            (
                "lrs preview --library torch --scheduler StepLR --params step_size=5",
                "--params: \"step_size=5\" is not allowed: must be names and values, such as {step_size: 30}",
            ),
            (
                "lrs preview --library torch --scheduler StepLR --total-steps ten",
                "--total-steps: \"ten\" is not allowed",
            ),
            ("lrs report a --target low", "--target: \"low\" is not allowed: must be a number"),
            ("lrs sweep d --every 10 --interval 5", "--interval: \"5\" is not allowed: must be a length of time"),
            ("lrs experiment run -f a --wait --wait-timeout soon", "--wait-timeout: \"soon\" is not allowed"),
            ("lrs completions powershel", "<SHELL>: \"powershel\" is not allowed: did you mean powershell?"),
            ("lrs serve --shards four", "--shards: \"four\" is not allowed: must be a whole number"),
            ("lrs serve --message-bytes 8M", "--message-bytes: \"8M\" is not allowed: must be a number of bytes"),
            ("lrs serve --device gpu", "--device: \"gpu\" is not allowed: must be `auto`, `cpu`"),
            ("lrs serve --retention 90", "--retention: \"90\" is not allowed: must be a length of time"),
            ("lrs serve --allowed-hosts http://a", "--allowed-hosts: \"http://a\" is not allowed"),
            ("lrs serve --log-format xml", "--log-format: \"xml\" is not allowed: "),
            ("lrs job lst", "a similar subcommand exists: 'list'"),
            ("lrs job list --fromat json", "a similar argument exists: '--format'"),
        ] {
            let line: Vec<&str> = line.split_whitespace().collect();
            let refusal = refusal(&line);
            assert!(refusal.contains(says), "{line:?}: {refusal}");
            for foreign in ["digit found", "float literal", "friendly", "jiff", "is not in", "mapping start"] {
                assert!(!refusal.contains(foreign), "{line:?}: {refusal}");
            }
        }
    }
}
