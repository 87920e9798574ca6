//! Where the data is. A password in it is never shown.

use std::{fmt, path::PathBuf};

/// The address of a database.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    url: String,
    /// The directory of the default database, which is made when it is missing.
    directory: Option<PathBuf>,
}

const ALLOWED: &str = "must begin with sqlite: or postgres://, such as sqlite:///var/lib/lrs/lrs.db";
const SCHEMES: [&str; 3] = ["sqlite:", "postgres://", "postgresql://"];

impl DatabaseUrl {
    /// An address that was given.
    ///
    /// # Errors
    /// If it is of no kind that is known.
    pub fn parse(url: &str) -> Result<Self, String> {
        if SCHEMES.iter().any(|scheme| url.starts_with(scheme)) {
            Ok(Self { url: url.to_owned(), directory: None })
        } else {
            Err(format!("{:?} is not allowed: {ALLOWED}", redacted(url)))
        }
    }

    /// The default: one SQLite file in the user's data directory.
    ///
    /// # Errors
    /// If the user has no such directory.
    pub fn in_data_directory() -> Result<Self, String> {
        let directory = dirs::data_dir()
            .ok_or_else(|| format!("is required, as this user has no data directory: it {ALLOWED}"))?
            .join("lrs");
        let path = directory.join("lrs.db");
        let path = path.to_str().ok_or_else(|| format!("the data directory {} is not UTF-8", directory.display()))?;
        Ok(Self { url: format!("sqlite://{}", escaped(path)), directory: Some(directory) })
    }

    /// The whole address, with its secrets: only for opening the database.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.url
    }

    /// Makes the directory of the default database.
    ///
    /// # Errors
    /// If it can not be made.
    pub fn prepare(&self) -> std::io::Result<()> {
        self.directory.as_ref().map_or(Ok(()), std::fs::create_dir_all)
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&redacted(&self.url))
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}

/// Characters of a path that have a meaning in a URL.
fn escaped(path: &str) -> String {
    path.replace('%', "%25").replace('?', "%3F").replace('#', "%23")
}

/// The address without the password, whether it stands before the host or among the parameters.
fn redacted(url: &str) -> String {
    let (address, parameters) = url.split_once('?').map_or((url, None), |(address, rest)| (address, Some(rest)));
    let mut shown = redacted_authority(address);
    for (i, parameter) in parameters.iter().flat_map(|parameters| parameters.split('&')).enumerate() {
        shown.push(if i == 0 { '?' } else { '&' });
        match parameter.split_once('=') {
            Some((name, _)) if name.to_ascii_lowercase().contains("password") => {
                shown.push_str(name);
                shown.push_str("=***");
            }
            _ => shown.push_str(parameter),
        }
    }
    shown
}

fn redacted_authority(address: &str) -> String {
    // The last `@`, as a password may have one that was not escaped.
    let parts = address.split_once("://").and_then(|(scheme, rest)| Some((scheme, rest.rsplit_once('@')?)));
    let Some((scheme, (user, host))) = parts else { return address.to_owned() };
    match user.split_once(':') {
        Some((name, _)) => format!("{scheme}://{name}:***@{host}"),
        None => address.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgres://u:s3cret@h:5432/d", "postgres://u:***@h:5432/d"),
            ("postgres://u:s3c@ret/x@h/d?sslmode=require", "postgres://u:***@h/d?sslmode=require"),
            ("postgresql://h/d?user=u&password=s3cret&x=1", "postgresql://h/d?user=u&password=***&x=1"),
            ("postgres://u@h/d", "postgres://u@h/d"),
            ("sqlite:///a/b.db?mode=rwc", "sqlite:///a/b.db?mode=rwc"),
        ] {
            let parsed = DatabaseUrl::parse(url).unwrap();
            assert_eq!(parsed.to_string(), shown);
            assert!(!format!("{parsed:?}").contains("s3c"), "{parsed:?}");
            assert_eq!(parsed.expose(), url);
        }
    }

    #[test]
    fn an_unknown_kind_is_refused_without_its_password() {
        let problem = DatabaseUrl::parse("mysql://u:s3cret@h/d").unwrap_err();
        assert!(problem.contains("mysql://u:***@h/d") && problem.contains("postgres://"), "{problem}");
    }

    #[test]
    fn a_path_with_a_question_mark_stays_a_path() {
        assert_eq!(escaped("/a b/50%?#.db"), "/a b/50%25%3F%23.db");
    }
}
