//! `ListJobsRequest.filter` and `order_by`: the part of AIP-160 that a listing of jobs needs.
//!
//! ```text
//! filter     = [ comparison { "AND" comparison } ]
//! comparison = field operator value
//! field      = "state" | "experiment" | "arm" | "display_name" | "create_time" | "update_time"
//!            | "active_time" | "labels." key
//! operator   = "=" | "!=" | "<" | "<=" | ">" | ">="          key, value = a word, or a text in quotes
//! ```
//!
//! Fields, states, arms and `AND` may be in any case, and fields in kebab or camel case; `==` is `=`.

use lrs_model::{
    filter::{Comparison, Condition, JobOrder, OrderKey},
    job::{State, Timestamp},
    spec::Arm,
    typed::{self, refused, snake_case},
};

mod token;

use token::{Kind, Token, Tokens};

const MAX_FILTER_CHARS: usize = 2000;
const MAX_CONDITIONS: usize = 20;
const FIELDS: &str = "state, experiment, arm, display_name, labels.KEY, create_time, update_time or active_time";
/// The names of the fields but that of the labels.
const NAMES: [&str; 7] = ["state", "experiment", "arm", "display_name", "create_time", "update_time", "active_time"];
const STATES: [&str; 6] = ["PENDING", "RUNNING", "PAUSED", "COMPLETED", "FAILED", "CANCELLED"];

/// The conditions of a filter; an empty filter has none.
///
/// # Errors
/// A message for people: what is wrong with the filter, and where.
pub fn parse(filter: &str) -> Result<Vec<Condition>, String> {
    let length = filter.chars().count();
    if length > MAX_FILTER_CHARS {
        return Err(format!("a filter of {length} characters is not allowed: must be at most {MAX_FILTER_CHARS}"));
    }
    let mut tokens = Tokens::of(filter);
    let mut conditions = Vec::new();
    if tokens.is_at_end() {
        return Ok(conditions);
    }
    loop {
        conditions.push(comparison(&mut tokens)?);
        if conditions.len() > MAX_CONDITIONS {
            return Err(format!("must have at most {MAX_CONDITIONS} comparisons"));
        }
        match tokens.next()? {
            None => return Ok(conditions),
            Some(Token { kind: Kind::Word(word), .. }) if word.eq_ignore_ascii_case("AND") || word == "&&" => {}
            Some(token) if is_or(&token) => {
                return Err(token.refused("AND; list twice for what is the one or the other"));
            }
            Some(token) => return Err(token.refused("AND, or the end; write a text with spaces in quotes")),
        }
    }
}

/// The order of a listing; an empty text means by name.
///
/// # Errors
/// A message for people: which orders are allowed.
pub fn parse_order(order_by: &str) -> Result<JobOrder, String> {
    let words: Vec<String> = order_by.split_whitespace().map(snake_case).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let (key, descending) = match words[..] {
        [] => ("name", false),
        [key] | [key, "asc"] => (key, false),
        [key, "desc"] => (key, true),
        _ => ("", false),
    };
    let key = match key {
        "name" => OrderKey::Name,
        "create_time" => OrderKey::CreateTime,
        "update_time" => OrderKey::UpdateTime,
        _ => {
            let reversed = order_by.trim().strip_prefix('-').map(snake_case);
            let example = reversed.filter(|key| ["name", "create_time", "update_time"].contains(&key.as_str()));
            let example = example.map_or_else(String::new, |key| format!(", such as \"{key} desc\""));
            return Err(refused(
                order_by,
                format_args!("name, create_time or update_time, optionally followed by desc{example}"),
            ));
        }
    };
    Ok(JobOrder { key, descending })
}

fn comparison(tokens: &mut Tokens<'_>) -> Result<Condition, String> {
    let field = tokens.expect(FIELDS)?;
    let Kind::Word(name) = &field.kind else { return Err(field.refused(FIELDS)) };
    match snake_case(name).as_str() {
        "state" => {
            let (comparison, value) = equality(tokens)?;
            Ok(Condition::State(comparison, state(&value)?))
        }
        "experiment" => {
            let (comparison, value) = equality(tokens)?;
            Ok(Condition::Experiment(comparison, value.text()))
        }
        "arm" => {
            let (comparison, value) = equality(tokens)?;
            Ok(Condition::Arm(comparison, arm(&value)?))
        }
        "display_name" => {
            let (comparison, value) = equality(tokens)?;
            Ok(Condition::DisplayName(comparison, value.text()))
        }
        "create_time" => {
            let comparison = operator(tokens)?;
            Ok(Condition::CreateTime(comparison, time(&value(tokens)?)?))
        }
        "update_time" => {
            let comparison = operator(tokens)?;
            Ok(Condition::UpdateTime(comparison, time(&value(tokens)?)?))
        }
        "active_time" => {
            let comparison = operator(tokens)?;
            Ok(Condition::ActiveTime(comparison, time(&value(tokens)?)?))
        }
        _ => {
            let Some(key) = label(name) else { return Err(unknown(&field, name)) };
            let key = if key.is_empty() { label_key(tokens)? } else { key.to_owned() };
            let (comparison, value) = equality(tokens)?;
            Ok(Condition::Label(key, comparison, value.text()))
        }
    }
}

/// What follows `labels.` in a name.
fn label(name: &str) -> Option<&str> {
    let (labels, key) = name.split_once('.')?;
    labels.eq_ignore_ascii_case("labels").then_some(key)
}

/// The error that there is no such field, with the field that may have been meant.
fn unknown(field: &Token, name: &str) -> String {
    let key = name.strip_prefix("label.").or_else(|| name.strip_prefix("labels[")?.strip_suffix(']'));
    let known = name.strip_suffix(':').filter(|name| NAMES.contains(&snake_case(name).as_str()));
    let meant = match (key, known) {
        (Some(key), _) => format!("{FIELDS}; did you mean labels.{key}?"),
        (None, Some(known)) => format!("{FIELDS}, followed by an operator; did you mean {known} = VALUE?"),
        (None, None) => match typed::nearest(name, &NAMES) {
            Some(nearest) => format!("{FIELDS}; did you mean {nearest}?"),
            None if STATES.contains(&name.to_uppercase().as_str()) => {
                format!("{FIELDS}; did you mean state = {}?", name.to_uppercase())
            }
            None => FIELDS.to_owned(),
        },
    };
    field.refused(&meant)
}

fn is_or(token: &Token) -> bool {
    matches!(&token.kind, Kind::Word(word) if word.eq_ignore_ascii_case("OR") || word == "||")
}

/// The key after `labels.`, if it is quoted.
fn label_key(tokens: &mut Tokens<'_>) -> Result<String, String> {
    let token = tokens.expect("a label's key")?;
    match token.kind {
        Kind::Text(key) if !key.is_empty() => Ok(key),
        _ => Err(token.refused("a label's key")),
    }
}

fn operator(tokens: &mut Tokens<'_>) -> Result<Comparison, String> {
    const ALLOWED: &str = "=, !=, <, <=, > or >=";
    let token = tokens.expect(ALLOWED)?;
    match token.kind {
        Kind::Operator(comparison) => Ok(comparison),
        _ => Err(token.refused(ALLOWED)),
    }
}

fn equality(tokens: &mut Tokens<'_>) -> Result<(Comparison, Token), String> {
    const ALLOWED: &str = "= or !=";
    let token = tokens.expect(ALLOWED)?;
    match token.kind {
        Kind::Operator(comparison @ (Comparison::Equal | Comparison::NotEqual)) => Ok((comparison, value(tokens)?)),
        _ => Err(token.refused(ALLOWED)),
    }
}

fn value(tokens: &mut Tokens<'_>) -> Result<Token, String> {
    const ALLOWED: &str = "a value";
    let token = tokens.expect(ALLOWED)?;
    match &token.kind {
        Kind::Operator(_) => Err(token.refused(ALLOWED)),
        Kind::Word(word) if word.eq_ignore_ascii_case("AND") => Err(token.refused("a value; write a text in quotes")),
        // PostgreSQL cannot store it, so nothing has it.
        Kind::Word(text) | Kind::Text(text) if text.contains('\0') => Err(token.refused("a value without NUL")),
        Kind::Word(_) | Kind::Text(_) => Ok(token),
    }
}

fn state(token: &Token) -> Result<State, String> {
    let text = token.text().to_uppercase();
    let name = text.strip_prefix("STATE_").unwrap_or(&text);
    if name == "STALE" {
        return Err(token.refused("a stored state: STALE is derived from RUNNING, so filter by that"));
    }
    if name == "ABANDONED" {
        return Err(token.refused("a stored state: ABANDONED is derived, so filter by active_time"));
    }
    let name = if name == "CANCELED" { "CANCELLED" } else { name };
    State::parse(name).ok_or_else(|| {
        let meant = typed::nearest(name, &STATES).map(|nearest| format!("; did you mean {nearest}?"));
        let allowed = "PENDING, RUNNING, PAUSED, COMPLETED, FAILED or CANCELLED";
        token.refused(&format!("{allowed}{}", meant.unwrap_or_default()))
    })
}

fn arm(token: &Token) -> Result<Option<Arm>, String> {
    match token.text().to_uppercase().as_str() {
        "SCHEDULED" | "ARM_SCHEDULED" => Ok(Some(Arm::Scheduled)),
        "BASELINE" | "ARM_BASELINE" => Ok(Some(Arm::Baseline)),
        "" | "ARM_UNSPECIFIED" => Ok(None),
        _ => Err(token.refused("SCHEDULED, BASELINE, or \"\" for none")),
    }
}

fn time(token: &Token) -> Result<Timestamp, String> {
    let text = token.text();
    let time: jiff::Timestamp = text.parse().map_err(|_| {
        // A day, or a time without its zone, is a time once the rest is there.
        let meant = [format!("{text}Z"), format!("{text}T00:00:00Z")];
        let meant = meant.into_iter().find(|meant| meant.parse::<jiff::Timestamp>().is_ok());
        let example = meant.unwrap_or_else(|| "2026-01-31T12:00:00Z".to_owned());
        token.refused(&format!("a time in RFC 3339, such as \"{example}\""))
    })?;
    Ok(Timestamp(time.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filter_of_the_documentation_is_read() {
        assert_eq!(
            parse(r#"state = RUNNING AND experiment = "digits" AND labels.team = "vision""#).unwrap(),
            [
                Condition::State(Comparison::Equal, State::Running),
                Condition::Experiment(Comparison::Equal, "digits".into()),
                Condition::Label("team".into(), Comparison::Equal, "vision".into()),
            ]
        );
    }

    #[test]
    fn every_field_and_operator_is_read_with_and_without_spaces() {
        assert_eq!(
            parse(r#"arm!=BASELINE AND arm="" AND display_name="a \"b\"" AND labels."my key"!=x-1"#).unwrap(),
            [
                Condition::Arm(Comparison::NotEqual, Some(Arm::Baseline)),
                Condition::Arm(Comparison::Equal, None),
                Condition::DisplayName(Comparison::Equal, "a \"b\"".into()),
                Condition::Label("my key".into(), Comparison::NotEqual, "x-1".into()),
            ]
        );
        let times = parse("create_time>=1970-01-01T00:00:01Z AND update_time < \"1970-01-01T00:00:00.5Z\"").unwrap();
        assert_eq!(
            times,
            [
                Condition::CreateTime(Comparison::GreaterOrEqual, Timestamp(1_000_000)),
                Condition::UpdateTime(Comparison::Less, Timestamp(500_000)),
            ]
        );
        assert_eq!(parse("  ").unwrap(), []);
    }

    #[test]
    fn an_error_says_where_and_what_would_be_right() {
        for (filter, expected) in [
            ("status = RUNNING", "at 1: \"status\" is not allowed: must be state, experiment"),
            ("status = RUNNING", "did you mean state?"),
            ("state: RUNNING", "did you mean state = VALUE?"),
            ("running", "did you mean state = RUNNING?"),
            ("label.team = x", "did you mean labels.team?"),
            ("labels[team] = x", "did you mean labels.team?"),
            ("state = WALKING", "at 9: \"WALKING\" is not allowed: must be PENDING"),
            ("state = RUNNIG", "did you mean RUNNING?"),
            ("display_name = a b", "write a text with spaces in quotes"),
            ("create_time > 2026-01-31", "such as \"2026-01-31T00:00:00Z\""),
            ("create_time > 2026-01-31T12:00:00", "such as \"2026-01-31T12:00:00Z\""),
            ("create_time > 1h", "such as \"2026-01-31T12:00:00Z\""),
            ("state = STALE", "STALE is derived from RUNNING"),
            ("state < RUNNING", "at 7: \"<\" is not allowed: must be = or !="),
            ("state = RUNNING OR arm = BASELINE", "at 17: \"OR\" is not allowed: must be AND; list twice"),
            ("state = RUNNING AND", "at the end: must be followed by state"),
            ("state =", "at the end: must be followed by a value"),
            ("experiment = \"digits", "at 14: this text in quotes does not end"),
            ("experiment = \"a\0b\"", "must be a value without NUL"),
            ("create_time > yesterday", "at 15: \"yesterday\" is not allowed: must be a time in RFC 3339"),
            ("labels. = x", "must be a label's key"),
            ("experiment ! x", "at 12: \"!\" is not allowed"),
            ("größe = 1", "at 1: \"größe\""),
        ] {
            let problem = parse(filter).unwrap_err();
            assert!(problem.contains(expected), "{filter}: {problem}");
        }
    }

    #[test]
    fn what_means_the_same_is_read_the_same() {
        let canonical =
            "state = RUNNING AND arm = BASELINE AND create_time > 2026-01-31T12:00:00Z AND display_name = x";
        let canonical = parse(canonical).unwrap();
        for filter in [
            "state == running and arm == Baseline and createTime > '2026-01-31T12:00:00Z' and displayName = 'x'",
            "STATE=STATE_RUNNING && ARM=ARM_BASELINE AND create-time>\"2026-01-31 12:00:00Z\" AND Display-Name=\"x\"\n",
        ] {
            assert_eq!(parse(filter).unwrap_or_else(|problem| panic!("{filter}: {problem}")), canonical, "{filter}");
        }
        assert_eq!(parse("Labels.Team = x").unwrap(), [Condition::Label("Team".into(), Comparison::Equal, "x".into())]);
        assert_eq!(parse("labels.a = it's").unwrap(), parse("labels.a = \"it's\"").unwrap());
        assert_eq!(parse_order("createTime DESC"), parse_order("create_time desc"));
        assert_eq!(parse_order(" Name ASC "), parse_order("name"));
        assert!(parse_order("-create_time").unwrap_err().contains("such as \"create_time desc\""));
    }

    #[test]
    fn a_filter_is_bounded() {
        assert!(parse(&"x".repeat(MAX_FILTER_CHARS + 1)).unwrap_err().contains("at most 2000"));
        let many = vec!["arm = BASELINE"; MAX_CONDITIONS + 1].join(" AND ");
        assert!(parse(&many).unwrap_err().contains("at most 20"));
    }

    #[test]
    fn an_order_is_a_key_and_a_direction() {
        assert_eq!(parse_order("").unwrap(), JobOrder { key: OrderKey::Name, descending: false });
        assert_eq!(parse_order("create_time desc").unwrap(), JobOrder { key: OrderKey::CreateTime, descending: true });
        for bad in ["age", "name down", "name desc extra", "name, create_time"] {
            assert!(parse_order(bad).unwrap_err().contains("must be name, create_time or update_time"), "{bad}");
        }
    }
}
