//! The configuration file: which line sets which option, and what is wrong with it.

use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use super::options::Options;
use lrs_model::{
    typed::{self, bare, snake_case},
    violation::Violations,
};
use lrs_runtime::secret::without_secrets;

/// What a file sets.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) options: Options,
    /// The line of each option that is set.
    pub(super) lines: BTreeMap<&'static str, usize>,
}

/// Reads the text of a file.
///
/// # Errors
/// All that is wrong, by its line; no password, as it may stand anywhere in a damaged file.
pub(super) fn read(text: &str) -> Result<File, Violations> {
    let mut v = Violations::new();
    let table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(problem) => {
            let start = problem.span().map_or(0, |span| span.start);
            v.add(place(text, start), syntax(&problem, text));
            return Err(v);
        }
    };
    let mut entries: Vec<_> = table.get_ref().iter().collect();
    entries.sort_by_key(|(name, _)| name.span().start);
    let mut file = File::default();
    for (name, value) in entries {
        let written = name.get_ref();
        let known = Options::NAMES.iter().find(|known| **known == snake_case(written));
        let mut refuse = |at: usize, problem: String| v.add(place(text, at), without_secrets(&problem));
        let Some(known) = known.copied() else {
            refuse(name.span().start, unknown(written, value.get_ref()));
            continue;
        };
        if file.lines.insert(known, line(text, name.span().start)).is_some() {
            refuse(name.span().start, format!("{known}: is there already, in another spelling"));
            continue;
        }
        let read = words(known, value.get_ref()).and_then(|words| file.options.set(known, bare(&words)));
        if let Err(problem) = read {
            refuse(value.span().start, format!("{known}: {problem}"));
        }
    }
    v.into_result(file)
}

/// A name that is no option.
fn unknown(name: &str, value: &DeValue<'_>) -> String {
    if value.is_table() {
        return format!(
            "[{name:?}] is not allowed: must be an option; options stand at the top of the file, in no table"
        );
    }
    let meant = match typed::nearest(name, Options::NAMES) {
        Some(nearest) => format!("did you mean {nearest}? `lrs serve --help` lists the options"),
        None => format!("there are {}", Options::NAMES.join(", ")),
    };
    format!("{name:?} is not an option: {meant}")
}

/// The text that a flag would have for a value.
fn words(name: &str, value: &DeValue<'_>) -> Result<String, String> {
    match value {
        DeValue::String(text) => Ok(text.clone().into_owned()),
        DeValue::Integer(number) => Ok(match number.radix() {
            10 => number.as_str().to_owned(),
            radix => i128::from_str_radix(number.as_str(), radix).map_or(String::new(), |number| number.to_string()),
        }),
        DeValue::Float(number) => Ok(number.as_str().to_owned()),
        DeValue::Boolean(truth) => Ok(truth.to_string()),
        DeValue::Datetime(time) => Ok(time.to_string()),
        DeValue::Array(parts) if name == "allowed_hosts" => {
            let parts = parts.iter().map(|part| words(name, part.get_ref()));
            Ok(parts.collect::<Result<Vec<_>, _>>()?.join(","))
        }
        DeValue::Table(fields) if name == "retention" => terms(fields),
        DeValue::Array(_) => Err(format!("a list is not allowed: must be one value, as in {name} = …")),
        DeValue::Table(_) => Err(format!("a table is not allowed: must be one value, as in {name} = …")),
    }
}

/// The table of `retention` as the flag has it.
fn terms(fields: &DeTable<'_>) -> Result<String, String> {
    const FIELDS: [&str; 2] = ["default", "namespaces"];
    let mut terms = Vec::new();
    for (field, value) in fields {
        match (field.get_ref().as_ref(), value.get_ref()) {
            ("default", term) => terms.push(words("default", term)?),
            ("namespaces", DeValue::Table(namespaces)) => {
                for (namespace, term) in namespaces {
                    let namespace = namespace.get_ref();
                    if term.get_ref().is_table() {
                        return Err(format!("namespaces: write a name with a dot in quotes, as in \"{namespace}.….\""));
                    }
                    terms.push(format!("{namespace}={}", words("namespaces", term.get_ref())?));
                }
            }
            ("namespaces", _) => return Err("namespaces: must be a table, such as {vision = \"30d\"}".to_owned()),
            (other, _) => return Err(format!("{other:?} is not a field: {}", typed::choice(other, &FIELDS))),
        }
    }
    Ok(terms.join(","))
}

/// What is wrong with a text that is no TOML. The text itself is not repeated.
fn syntax(problem: &toml::de::Error, text: &str) -> String {
    if problem.message() == "duplicate key" {
        let name = bare(problem.span().and_then(|span| text.get(span)).unwrap_or_default());
        return without_secrets(&format!("{name:?} is there already: each option may be there once"));
    }
    let message = without_secrets(problem.message());
    format!("{message}: a line is NAME = VALUE, such as shards = 4 or grace_period = \"20s\"")
}

fn line(text: &str, at: usize) -> usize {
    text.get(..at).unwrap_or(text).matches('\n').count() + 1
}

/// The line and the column, from 1.
fn place(text: &str, at: usize) -> String {
    let before = text.get(..at).unwrap_or(text);
    let column =
        before.chars().rev().take_while(|letter| *letter != '\n').filter(|letter| *letter != '\u{feff}').count();
    format!("line {}, column {}", line(text, at), column + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{config::Length, observability::LogFormat};
    use std::time::Duration;

    fn options(text: &str) -> Options {
        read(text).unwrap_or_else(|problems| panic!("{text:?}: {problems}")).options
    }

    #[test]
    fn what_means_the_same_is_read_the_same() {
        for text in ["shards = 4", "shards = \"4\"", "\u{feff}shards = 4.0\r\n", "shards = 0x4", "Shards = \" 4 \""] {
            assert_eq!(options(text).shards, Some(4), "{text:?}");
        }
        for text in ["grace_period = \"90s\"", "grace-period = \"1.5m\"", "gracePeriod = '1m 30s'"] {
            assert_eq!(options(text).grace_period, Some(Length(Duration::from_secs(90))), "{text:?}");
        }
        assert_eq!(options("log_format = \"JSON\"").log_format, Some(LogFormat::Json));
        let terms = options("retention = \"90d,vision=forever\"").retention;
        assert_eq!(options("retention = {default = \"90d\", namespaces = {vision = \"forever\"}}").retention, terms);
        let names = options("allowed_hosts = \"a.b,c.d\"").allowed_hosts;
        assert_eq!(options("allowed_hosts = [\"a.b\", \"c.d\"]").allowed_hosts, names);
        assert_eq!(
            options("message_bytes = \"8MiB\"").message_bytes,
            options("message_bytes = 8_388_608").message_bytes
        );
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line_what_was_read_and_what_to_write() {
        for (text, place, says) in [
            ("\nshards = \"four\"", "line 2, column 10: shards", "\"four\" is not allowed: must be a whole number"),
            ("shards = -1", "line 1, column 10: shards", "\"-1\" is not allowed: must be a whole number of at least 0"),
            ("shards = 4.5", "line 1, column 10: shards", "\"4.5\" is not allowed: must be a whole number"),
            ("shards = true", "line 1, column 10: shards", "\"true\" is not allowed: must be a whole number"),
            ("shards = [4]", "line 1, column 10: shards", "a list is not allowed: must be one value"),
            ("shards = {a = 1}", "line 1, column 10: shards", "must be one value, as in shards = …"),
            ("shard = 4", "line 1, column 1", "\"shard\" is not an option: did you mean shards?"),
            ("colour = 4", "line 1, column 1", "\"colour\" is not an option: there are database_url"),
            ("shards = 4\nshards = 5", "line 2, column 1", "\"shards\" is there already"),
            ("grace_period = \"1s\"\ngrace-period = \"1s\"", "line 2, column 1: grace_period", "is there already"),
            ("[server]\nshards = 4", "line 1, column 2", "options stand at the top of the file"),
            ("grace_period = 5\r\n", "line 1, column 16: grace_period", "write 5s for seconds"),
            ("log_format = \"yaml\"", "line 1, column 14: log_format", "\"yaml\" is not allowed: must be text or json"),
            ("device = 0", "line 1, column 10: device", "\"0\""),
            ("retention = 90", "line 1, column 13: retention", "write 90s for seconds"),
            ("[retention]\ndefualt = \"90d\"", "line 1, column 1: retention", "did you mean default?"),
            ("retention.namespaces.a.b = \"1d\"", "line 1, column 1: retention", "in quotes"),
            ("message_bytes = \"8M\"", "line 1, column 17: message_bytes", "8MiB or 8MB"),
            ("shards: 4", "line 1, column", "a line is NAME = VALUE"),
            ("{\"shards\": 4}", "line 1, column 1", "a line is NAME = VALUE"),
            ("log_filter = 'x", "line 1, column", "a line is NAME = VALUE"),
        ] {
            let problem = read(text).unwrap_err().to_string();
            assert!(problem.starts_with(place) && problem.contains(says), "{text:?}: {problem}");
            for foreign in ["usize", "struct", "invalid type", "expected one of", "variant", "sequence"] {
                assert!(!problem.contains(foreign), "{problem}");
            }
        }
        assert_eq!(read("shards = 'x'\nshard = 1\nqueue_items = 'y'").unwrap_err().len(), 3);
    }

    #[test]
    fn no_password_is_repeated() {
        for text in [
            "shards = \"postgres://u:s3cret@h/d\"",
            "database_url = \"postgres://u:s3cret@h/d",
            "database_url = postgres://u:s3cret@h/d",
            "\"postgres://u:s3cret@h/d\" = 1",
            "\"postgres://u:s3cret@h/d\" = 1\n\"postgres://u:s3cret@h/d\" = 1",
            "[\"postgres://u:s3cret@h/d\"]",
            "retention = {\"postgres://u:s3cret@h/d\" = 1}",
            "retention = {namespaces = {a = \"postgres://u:s3cret@h/d\"}}",
        ] {
            let problem = read(text).unwrap_err().to_string();
            assert!(!problem.contains("s3cret"), "{problem}");
        }
    }
}
