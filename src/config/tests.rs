//! How the sources of options combine, and how wrong values are reported.

use super::*;
use crate::{config::duration::Length, observability::LogFormat};

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

fn flags() -> Options {
    Options { database_url: Some("sqlite:///tmp/x.db".into()), ..Options::default() }
}

#[test]
fn nothing_set_gives_the_documented_defaults() {
    let config = Config::load(flags(), None).unwrap();
    assert_eq!(config.grpc_listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.http_listen.to_string(), "127.0.0.1:8080");
    assert_eq!((config.limits.message_bytes, config.log.format), (8 << 20, LogFormat::Text));
    // As many jobs as the memory of this machine has room for.
    let max_loaded_jobs = config.engine.max_loaded_jobs;
    assert!((1..=config.engine.max_jobs).contains(&max_loaded_jobs), "{max_loaded_jobs}");
    assert_eq!(config.engine, Settings { max_loaded_jobs, ..Settings::default() });
}

#[test]
fn a_flag_is_stronger_than_the_file() {
    let file = file("grace_period = \"5s\"\nshards = 2\nlog_format = \"json\"\nhttp_listen = \"[::1]:0\"\n");
    let strong = Options { shards: Some(8), ..flags() };
    let config = Config::load(strong, Some(file.path())).unwrap();
    assert_eq!((config.engine.shards, config.grace_period), (8, Duration::from_secs(5)));
    assert_eq!((config.log.format, config.http_listen.port()), (LogFormat::Json, 0));
}

#[test]
fn every_wrong_value_is_named_with_what_is_allowed() {
    let options = Options {
        database_url: Some("mysql://u:s3cret@h/d".into()),
        grpc_listen: Some("localhost".into()),
        log_filter: Some("lrs=[".into()),
        shards: Some(0),
        message_bytes: Some(Size(1)),
        grace_period: Some(Length(Duration::from_mins(90))),
        ..Options::default()
    };
    let Err(Error::Invalid(violations)) = Config::checked(options) else { panic!("not refused") };
    let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
    assert_eq!(fields, ["shards", "message_bytes", "grace_period", "log_filter", "grpc_listen", "database_url"]);
    let text = violations.to_string();
    assert!(text.contains("shards: 0 is not allowed: must be from 1 to 1024"), "{text}");
    assert!(text.contains("grace_period: 1h 30m is not allowed: must be from 0s to 1h"), "{text}");
    assert!(!text.contains("s3cret"), "{text}");
}

#[test]
fn an_unknown_name_in_the_file_is_refused_with_its_place() {
    let file = file("shards = 2\ncolour = \"red\"\n");
    let problem = Config::load(flags(), Some(file.path())).unwrap_err().to_string();
    assert!(problem.contains("line 2") && problem.contains("colour") && problem.contains("grpc_listen"), "{problem}");
}

#[test]
fn a_missing_file_is_named() {
    let problem = Config::load(flags(), Some(Path::new("nowhere.toml"))).unwrap_err();
    assert!(problem.to_string().contains("nowhere.toml"));
}

#[test]
fn flags_are_named_as_in_the_file() {
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }
    let line = ["lrs", "--grpc-listen", "0.0.0.0:1", "--stale-after", "3ms", "--log-format", "json"];
    let Line { options } = Line::try_parse_from(line).unwrap();
    assert_eq!(options.stale_after, Some(Length(Duration::from_millis(3))));
    assert_eq!((options.grpc_listen.as_deref(), options.log_format), (Some("0.0.0.0:1"), Some(LogFormat::Json)));
    let Err(problem) = Line::try_parse_from(["lrs", "--stale-after", "3"]) else { panic!("not refused") };
    assert!(problem.to_string().contains("must be a length of time"), "{problem}");
}

#[test]
fn the_configuration_can_be_written_to_a_log() {
    let options = Options { database_url: Some("postgres://u:s3cret@h/d".into()), ..Options::default() };
    let text = format!("{options:?}");
    let text = text + &format!("{:?}", Config::checked(options).unwrap());
    assert!(!text.contains("s3cret") && text.contains("u:***@h"), "{text}");
}

#[test]
fn browsers_may_use_private_names_where_others_can_reach_the_server() {
    let hosts = |listen: &str, names: Option<&str>| {
        let allowed_hosts = names.map(|names| names.parse().unwrap());
        Config::checked(Options { http_listen: Some(listen.into()), allowed_hosts, ..flags() }).unwrap().allowed_hosts
    };
    assert_eq!(hosts("127.0.0.1:0", None), Hosts::Loopback);
    assert_eq!(hosts("[::1]:0", None), Hosts::Loopback);
    assert_eq!(hosts("0.0.0.0:8080", None), Hosts::Private);
    assert_eq!(hosts("0.0.0.0:8080", Some("lrs.example.org")), Hosts::Named("lrs.example.org".parse().unwrap()));
    let file = file("allowed_hosts = [\"lrs.example.org\", \"http://lrs\"]\n");
    let problem = Config::load(flags(), Some(file.path())).unwrap_err().to_string();
    assert!(problem.contains("line 1") && problem.contains("http://lrs"), "{problem}");
}

#[test]
fn the_example_is_a_configuration() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/lrs.toml");
    let config = Config::load(Options::default(), Some(&file)).unwrap();
    assert_eq!(config.limits, Limits::default());
    assert!(matches!(config.allowed_hosts, Hosts::Named(_)));
}
