//! Addresses without the passwords in them, for messages and logs.

/// The parameters of a database's address whose values may be shown. Any other may be a password.
const HARMLESS: &[&str] = &[
    "application_name",
    "cache",
    "dbname",
    "host",
    "hostaddr",
    "immutable",
    "mode",
    "port",
    "sslmode",
    "ssl-mode",
    "sslrootcert",
    "statement-cache-capacity",
    "user",
    "vfs",
];
/// In place of what is not shown.
const HIDDEN: &str = "***";

/// An address without its password, wherever the password stands, even if the address is not well formed: before the
/// host, among the parameters, or in a text that is no URL at all.
#[must_use]
pub fn redacted(address: &str) -> String {
    let (base, parameters) = address.split_once('?').map_or((address, None), |(base, rest)| (base, Some(rest)));
    let scheme = base.split_once(':').map_or("", |(scheme, _)| scheme);
    if parameters.is_some_and(|parameters| parameters.contains('@')) {
        // A question mark that was not escaped may stand in the password.
        return format!("{}:{HIDDEN}", if scheme.contains('=') { "" } else { scheme });
    }
    let mut shown = match base.split_once("://") {
        Some((scheme, rest)) => format!("{scheme}://{}", redacted_authority(rest)),
        // The keywords of PostgreSQL's libpq, or the arguments of a program.
        None if base.contains(['=', ' ']) => return HIDDEN.to_owned(),
        None if scheme == "sqlite" && !base.contains('@') => base.to_owned(),
        None => redacted_authority(base),
    };
    for (i, parameter) in parameters.iter().flat_map(|parameters| parameters.split('&')).enumerate() {
        shown.push(if i == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, _)) if HARMLESS.contains(&name) => shown.push_str(parameter),
            Some((name, _)) => shown.extend([name, "=", HIDDEN]),
            None => shown.push_str(HIDDEN),
        }
    }
    shown
}

/// `user:password@host/path` without the password.
fn redacted_authority(rest: &str) -> String {
    // The last `@`, as a password may have one that was not escaped.
    if let Some((user, host)) = rest.rsplit_once('@') {
        return match user.split_once(':') {
            Some((user, _)) => format!("{user}:{HIDDEN}@{host}"),
            None => rest.to_owned(),
        };
    }
    // Without a host, what should be the port may be the password.
    match rest.split_once(':') {
        Some((host, port)) if !host.contains(['/', '[']) => {
            let digits = port.split('/').next().unwrap_or_default();
            if digits.bytes().all(|byte| byte.is_ascii_digit()) { rest.to_owned() } else { format!("{host}:{HIDDEN}") }
        }
        _ => rest.to_owned(),
    }
}

/// Whether a text may be an address with a password, though it stands where none belongs.
#[must_use]
pub fn may_be_secret(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let has_user = text.split_once('@').is_some_and(|(before, _)| before.contains(':'));
    let has_parameter = text.split_once('?').is_some_and(|(_, parameters)| parameters.contains('='));
    has_user || has_parameter || ["://", "pass", "pwd"].iter().any(|sign| lower.contains(sign))
}

/// A message in which every address with a password is redacted, wherever it stands: somebody may have given it in place
/// of a file or of a name.
#[must_use]
pub fn without_addresses(message: &str) -> String {
    let Some(end) = message.find("://") else { return message.to_owned() };
    let start = message[..end].rfind(|c: char| !c.is_ascii_alphanumeric()).map_or(0, |at| at + 1);
    let (before, address) = message.split_at(start);
    let next = end - start + 3;
    // A password may have any character. It ends before the last `@` of the line, or before the next address.
    let line = [address.find('\n'), address[next..].find("://").map(|at| next + at)];
    let line = line.into_iter().flatten().min().unwrap_or(address.len());
    let Some(at) = address[..line].rfind('@') else {
        return format!("{before}{}{}", &address[..next], without_addresses(&address[next..]));
    };
    let host = address[at..].find(char::is_whitespace).map_or(address.len(), |length| at + length);
    format!("{before}{}{}", redacted(&address[..host]), without_addresses(&address[host..]))
}

/// A message of another library, in which every quoted part that may have a password is redacted.
#[must_use]
pub fn without_secrets(message: &str) -> String {
    let mut shown = String::new();
    let mut rest = message;
    while let Some((before, quote)) = rest.find(['"', '`', '\'']).map(|at| rest.split_at(at)) {
        shown.push_str(before);
        let mark = &quote[..1];
        // A password may have such a mark: a part that may be secret goes on to the last mark of its kind.
        let inner = &quote[1..];
        let first = inner.find(mark);
        let end =
            first.map(|first| if may_be_secret(&inner[..first]) { inner.rfind(mark).unwrap_or(first) } else { first });
        let Some(end) = end else {
            shown.push_str(if may_be_secret(quote) { HIDDEN } else { quote });
            return shown;
        };
        let part = &inner[..end];
        shown.push_str(mark);
        shown.push_str(&if may_be_secret(part) { redacted(part) } else { part.to_owned() });
        shown.push_str(mark);
        rest = &inner[end + 1..];
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown_wherever_it_stands() {
        for (address, shown) in [
            ("postgres://u:s3cret@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:s3c%40ret@h/d", "postgres://u:***@h/d"),
            ("postgres://u:s3c@ret/x@h/d?sslmode=require", "postgres://u:***@h/d?sslmode=require"),
            ("postgres://u:s3c#ret@h/d", "postgres://u:***@h/d"),
            ("postgres://u:s3c?ret@h/d", "postgres:***"),
            ("postgresql://h/d?user=u&password=s3cret&x=1", "postgresql://h/d?user=u&password=***&x=***"),
            ("postgresql://h/d?%70assword=s3cret", "postgresql://h/d?%70assword=***"),
            ("postgresql://h/d?sslpassword=s3cret", "postgresql://h/d?sslpassword=***"),
            ("postgresql://h/d?s3cret", "postgresql://h/d?***"),
            ("postgres://u:s3cret", "postgres://u:***"),
            ("postgres://u:s3cret/d", "postgres://u:***"),
            ("u:s3cret@h/d", "u:***@h/d"),
            ("//u:s3cret@h/d", "//u:***@h/d"),
            ("host=h user=u password=s3cret", "***"),
            ("psql -h h -U u -W s3cret", "***"),
            ("sqlite:u:s3cret@h/d", "sqlite:***@h/d"),
            ("password=s3cret?x@y", ":***"),
        ] {
            assert_eq!(redacted(address), shown);
        }
    }

    #[test]
    fn an_address_without_a_password_is_shown_as_it_is() {
        for address in [
            "postgres://u@h/d",
            "postgres://h:5432/d",
            "postgres://u@[::1]:5432/d",
            "sqlite:///a/b.db?mode=rwc",
            "sqlite:data/x.db",
            "localhost:5432/d",
            "http://127.0.0.1:50051",
        ] {
            assert_eq!(redacted(address), address);
        }
    }

    #[test]
    fn an_address_in_a_message_is_redacted() {
        for (message, shown) in [
            ("cannot read postgres://u:s3cret@h:1/d", "cannot read postgres://u:***@h:1/d"),
            ("\"postgres://u:s3cret@h/d\" is not allowed", "\"postgres://u:***@h/d\" is not allowed"),
            ("a@b: see http://h/d\n", "a@b: see http://h/d\n"),
            ("postgres://u:s3cret and more@h/d is no file", "postgres://u:***@h/d is no file"),
            ("http://h/d\nof postgres://u:s3cret@h/d", "http://h/d\nof postgres://u:***@h/d"),
            ("\"x://u:s3cret@h\": use y://U@H", "\"x://u:***@h\": use y://U@H"),
        ] {
            assert_eq!(without_addresses(message), shown);
        }
    }

    #[test]
    fn quoted_parts_of_a_message_are_redacted() {
        for (message, shown) in [
            (
                r#"invalid type: string "postgres://u:s3"c ret@h/d", expected usize"#,
                r#"invalid type: string "postgres://u:***@h/d", expected usize"#,
            ),
            ("unknown field `colour`, expected `a` or `b`", "unknown field `colour`, expected `a` or `b`"),
            ("unexpected argument 'u:s3cret@h' found", "unexpected argument 'u:***@h' found"),
            ("unclosed \"postgres://u:s3cret@h", "unclosed ***"),
        ] {
            assert_eq!(without_secrets(message), shown);
        }
    }
}
