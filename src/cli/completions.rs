//! `lrs completions`: completion scripts.

use clap::CommandFactory as _;
use clap_complete::Shell;

use super::{Cli, failure::Failure, output};

/// Print a completion script for a shell
#[derive(Clone, Debug, clap::Args)]
#[command(after_help = "Examples:
  lrs completions bash > ~/.local/share/bash-completion/completions/lrs
  lrs completions zsh > ~/.zfunc/_lrs
  lrs completions fish > ~/.config/fish/completions/lrs.fish")]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// If the script cannot be written.
#[expect(clippy::unused_async, reason = "all commands run alike")]
pub async fn run(args: Args) -> Result<(), Failure> {
    output::print(&script(args.shell))
}

fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "lrs", &mut script);
    String::from_utf8_lossy(&script).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_script_knows_every_command() {
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let script = script(shell);
            for command in ["register", "preview", "replay", "completions"] {
                assert!(script.contains(command), "{shell}: {command}");
            }
        }
    }
}
