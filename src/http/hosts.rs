//! The names by which a browser may reach the server.
//!
//! A page of an attacker can have its own name resolve to this server's address (DNS rebinding); to the browser, the
//! server is then of the page's origin. The request still has the page's name in its `Host`, so only known names are
//! answered. Addresses are no names: they cannot be made to resolve to something else.

use std::{
    fmt::{self, Display},
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use axum::http::uri::Authority;

/// The most characters of a name.
const LONGEST: usize = 253;
/// The ends of names that exist in private networks alone: of Kubernetes' services, and what is reserved for that.
const PRIVATE: &[&str] = &[".svc", ".cluster.local", ".internal"];

/// The option: names separated by commas, in the file a list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostNames(Vec<String>);

impl FromStr for HostNames {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(|name| checked(name.trim())).collect::<Result<_, _>>().map(Self)
    }
}

/// A name, or `*.` and the end of names, in lower case.
fn checked(name: &str) -> Result<String, String> {
    let labels = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        let is_letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.bytes().all(is_letter)
    };
    if labels.len() > LONGEST || !labels.split('.').all(is_label) {
        let allowed = "the name of a host without scheme and port, such as lrs.example.org or *.example.org";
        return Err(format!("{name:?} is not allowed: must be {allowed}"));
    }
    Ok(name.to_ascii_lowercase())
}

/// The hosts that are answered. Loopback names and addresses always are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hosts {
    /// No other names.
    Loopback,
    /// Names that only a private network has: without a dot, or ending as the services of Kubernetes do.
    Private,
    /// These names.
    Named(HostNames),
}

impl Hosts {
    /// Whether a request for this host is answered. `host` may have a port.
    pub(super) fn allow(&self, host: &str) -> bool {
        let Ok(authority) = host.parse::<Authority>() else { return false };
        if authority.as_str().contains('@') {
            return false;
        }
        let name = authority.host().to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let address = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
        if name.parse::<IpAddr>().is_ok() || address.is_some_and(|name| name.parse::<Ipv6Addr>().is_ok()) {
            return true;
        }
        if name == "localhost" || name.ends_with(".localhost") {
            return true;
        }
        match self {
            Self::Loopback => false,
            Self::Private => !name.is_empty() && (!name.contains('.') || PRIVATE.iter().any(|end| name.ends_with(end))),
            Self::Named(HostNames(names)) => names.iter().any(|allowed| match allowed.strip_prefix('*') {
                Some(end) => name.ends_with(end),
                None => name == allowed,
            }),
        }
    }
}

impl Display for Hosts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("localhost, addresses")?;
        match self {
            Self::Loopback => Ok(()),
            Self::Private => write!(f, ", names without a dot, *{}", PRIVATE.join(", *")),
            Self::Named(HostNames(names)) => write!(f, ", {}", names.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_and_addresses_are_always_answered_and_a_name_of_the_internet_never_unasked() {
        let named = Hosts::Named("lrs.example.org, *.Training.example".parse().unwrap());
        for hosts in [&Hosts::Loopback, &Hosts::Private, &named] {
            for host in ["localhost", "LOCALHOST:8080", "a.localhost", "127.0.0.1:8080", "10.1.2.3", "[::1]:8080"] {
                assert!(hosts.allow(host), "{host} by {hosts:?}");
            }
            for host in [
                "",
                "evil.example",
                "evil.example:8080",
                "localhost.evil.example",
                "127.0.0.1.evil.example",
                "evilocalhost.example",
                "svc.evil.example",
                "user@localhost",
                "[::1",
                "a b",
                "example.org",
                "evil-training.example",
            ] {
                assert!(!hosts.allow(host), "{host:?} by {hosts:?}");
            }
        }
        for host in ["lrs", "lrs:8080", "lrs.training.svc", "lrs.training.svc.cluster.local", "lrs.corp.internal"] {
            assert!(Hosts::Private.allow(host) && !Hosts::Loopback.allow(host) && !named.allow(host), "{host}");
        }
        for host in ["lrs.example.org", "LRS.example.org.:80", "a.training.example", "a.b.training.example"] {
            assert!(named.allow(host) && !Hosts::Private.allow(host), "{host}");
        }
    }

    #[test]
    fn a_name_has_no_scheme_and_no_port() {
        for bad in ["http://lrs", "lrs:8080", "", "*", "*.", "a..b", "a,,b", "a b", "*.*.b"] {
            let problem = bad.parse::<HostNames>().unwrap_err();
            assert!(problem.contains("must be the name of a host"), "{problem}");
        }
    }
}
