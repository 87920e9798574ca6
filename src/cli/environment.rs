//! Variables of the environment that look like ours and that nobody reads: a name that is written wrong would be silent.

use std::collections::BTreeSet;

const PREFIX: &str = "LRS_";
/// Beginnings of the names that builds and tests of this project use.
const OF_DEVELOPMENT: [&str; 10] = [
    "LRS_BINARY",
    "LRS_CHAOS_",
    "LRS_EXPORT_STEPS",
    "LRS_FUZZ_",
    "LRS_GIT_",
    "LRS_GOLDEN_",
    "LRS_LONG_",
    "LRS_RUSTC_",
    "LRS_SIM_",
    "LRS_UPDATE_",
];
/// From this likeness on (of Jaro and Winkler), a name may be another one that is written wrong.
const ALIKE: f64 = 0.85;

/// The names among `environment` that begin like ours and that no option of `program` has, in a sentence each.
pub(super) fn unknown<'a>(program: &clap::Command, environment: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut known = BTreeSet::new();
    collect(program, &mut known);
    let names: BTreeSet<&str> = environment.filter(|name| name.starts_with(PREFIX)).collect();
    let strange = names.into_iter().filter(|name| {
        !known.contains(*name) && !of_a_service(name) && !OF_DEVELOPMENT.iter().any(|begin| name.starts_with(begin))
    });
    let sentence = |name: &str| {
        let alike = known.iter().map(|known| (strsim::jaro_winkler(known, name), known));
        let nearest = alike.filter(|(likeness, _)| *likeness >= ALIKE).max_by(|(a, _), (b, _)| a.total_cmp(b));
        let meant = nearest.map(|(_, known)| format!(": did you mean {known}?")).unwrap_or_default();
        format!("the environment variable {name} is not known and changes nothing{meant}")
    };
    strange.map(sentence).collect()
}

/// The variables of all options.
fn collect(command: &clap::Command, known: &mut BTreeSet<String>) {
    let names = command.get_arguments().filter_map(clap::Arg::get_env);
    known.extend(names.map(|name| name.to_string_lossy().into_owned()));
    command.get_subcommands().for_each(|command| collect(command, known));
}

/// Whether Kubernetes or Docker sets a variable of this name, for a service that is called `lrs` or `lrs-...`.
fn of_a_service(name: &str) -> bool {
    let is_port = |rest: &str| {
        let mut parts = rest.split('_');
        let is_number = parts.next().is_none_or(|part| part.is_empty() || part.bytes().all(|b| b.is_ascii_digit()));
        is_number && parts.all(|part| matches!(part, "TCP" | "UDP" | "SCTP" | "ADDR" | "PORT" | "PROTO"))
    };
    let of_port = |(i, found): (usize, &str)| is_port(name[i + found.len()..].trim_start_matches('_'));
    name.contains("_SERVICE_HOST") || name.contains("_SERVICE_PORT") || name.match_indices("_PORT").any(of_port)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(names: &[&str]) -> Vec<String> {
        let server = clap::Arg::new("server").env("LRS_SERVER");
        let listen = clap::Arg::new("listen").env("LRS_GRPC_LISTEN");
        let program = clap::Command::new("lrs").arg(server).subcommand(clap::Command::new("serve").arg(listen));
        unknown(&program, names.iter().copied())
    }

    #[test]
    fn a_name_that_is_written_wrong_is_told_with_the_nearest_one() {
        assert_eq!(
            of(&["LRS_SERVER", "LRS_GRPC_LISTEN", "PATH", "LRS_SEVER", "LRS_WHATEVER_ELSE"]),
            [
                "the environment variable LRS_SEVER is not known and changes nothing: did you mean LRS_SERVER?",
                "the environment variable LRS_WHATEVER_ELSE is not known and changes nothing",
            ]
        );
    }

    #[test]
    fn what_kubernetes_sets_for_a_service_and_tests_for_themselves_is_left_alone() {
        let names = [
            "LRS_SERVICE_HOST",
            "LRS_SERVICE_PORT_GRPC",
            "LRS_PORT",
            "LRS_PORT_50051_TCP",
            "LRS_PORT_50051_TCP_ADDR",
            "LRS_POSTGRES_PORT_5432_TCP_PROTO",
            "LRS_CHAOS_SEED",
            "LRS_BINARY",
        ];
        assert_eq!(of(&names), [""; 0]);
        assert_eq!(of(&["LRS_PORTS", "LRS_PORT_NAME"]).len(), 2);
    }
}
