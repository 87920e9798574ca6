//! The way to a server: where it is, how long to wait for it, and when to ask again.

use std::time::Duration;

use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint, Uri},
};

use super::{
    failure::{Exit, Failure, retry_delay},
    values::text,
};
use crate::config::{self, Length, Text};
use lrs_model::typed::refused;
use lrs_proto::{job_service_client::JobServiceClient, report_service_client::ReportServiceClient};
use lrs_runtime::secret::redacted;

/// How long to wait for the server to take the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a call is made at most.
const MAX_TRIES: u32 = 3;
/// How long to wait before the second try, unless the server says; twice as long before the third.
const FIRST_DELAY: Duration = Duration::from_millis(200);
/// The longest that the server may ask for before a command gives up and says so.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Which server, and how long to wait for it.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct ConnectArgs {
    /// Address of the server's gRPC interface
    #[arg(
        long,
        env = "LRS_SERVER",
        default_value = "http://127.0.0.1:50051",
        value_name = "URL",
        value_parser = text,
        global = true
    )]
    pub server: String,
    /// How long to wait for an answer, such as 500ms, 30s or 2m
    #[arg(
        long,
        env = "LRS_TIMEOUT",
        default_value = "30s",
        value_name = "TIME",
        value_parser = Text::<Length>::new(),
        allow_hyphen_values = true,
        global = true
    )]
    timeout: Length,
}

/// A connection to a server.
#[derive(Clone, Debug)]
pub struct Connection {
    service: JobServiceClient<Channel>,
    reports: ReportServiceClient<Channel>,
}

impl ConnectArgs {
    /// Connects.
    ///
    /// # Errors
    /// If the address is invalid or the server is unreachable.
    pub async fn connect(&self) -> Result<Connection, Failure> {
        self.connect_as(concat!("lrs-cli/", env!("CARGO_PKG_VERSION"))).await
    }

    /// Connects by another name: the server records by which way a change came.
    ///
    /// # Errors
    /// As [`Self::connect`].
    pub async fn connect_as(&self, agent: &'static str) -> Result<Connection, Failure> {
        let channel = self.endpoint(agent)?.connect().await.map_err(|error| {
            Failure::new(Exit::Unavailable, format!("cannot reach {}: {}", redacted(&self.server), root_cause(&error)))
                .with_hint("is `lrs serve` running? --server or LRS_SERVER says where")
        })?;
        // Pages of raw telemetry, and reports over many jobs, are larger than tonic's default of 4 MiB.
        let service = JobServiceClient::new(channel.clone()).max_decoding_message_size(MAX_ANSWER_BYTES);
        let reports = ReportServiceClient::new(channel).max_decoding_message_size(MAX_ANSWER_BYTES);
        Ok(Connection { service, reports })
    }

    fn endpoint(&self, agent: &'static str) -> Result<Endpoint, Failure> {
        let invalid = |allowed: String| {
            let place = config::place_of("--server", "LRS_SERVER");
            Failure::invalid(format!("{place}: {}", refused(redacted(&self.server), allowed)))
        };
        let url = match self.server.split_once("://") {
            Some((scheme, rest)) => format!("{}://{rest}", scheme.to_ascii_lowercase()),
            None => format!("http://{}", self.server),
        };
        if url.starts_with("https://") {
            return Err(invalid("http://HOST:PORT, as this program speaks no TLS".to_owned()));
        }
        let uri: Option<Uri> = url.parse().ok();
        let host = uri.as_ref().and_then(Uri::host).filter(|host| !host.is_empty());
        let port = uri.as_ref().and_then(Uri::port_u16).filter(|port| *port > 0);
        let is_plain = uri.as_ref().is_some_and(|uri| uri.path() == "/" && uri.query().is_none());
        if !url.starts_with("http://") || !is_plain || host.is_none() || port.is_none() {
            let host = host.filter(|_| url.starts_with("http://")).unwrap_or("127.0.0.1");
            return Err(invalid(format!("http://HOST:PORT with a port from 1 to 65535, such as http://{host}:50051")));
        }
        let unusable = |_| invalid("http://HOST:PORT, such as http://127.0.0.1:50051".to_owned());
        let endpoint = Endpoint::from_shared(url).and_then(|endpoint| endpoint.user_agent(agent)).map_err(unusable)?;
        let Length(timeout) = self.timeout;
        if timeout.is_zero() {
            let place = config::place_of("--timeout", "LRS_TIMEOUT");
            return Err(Failure::invalid(format!("{place}: {}", refused("0s", "more than 0, such as 30s"))));
        }
        Ok(endpoint.connect_timeout(CONNECT_TIMEOUT.min(timeout)).timeout(timeout))
    }
}

const MAX_ANSWER_BYTES: usize = 64 << 20;

impl Connection {
    /// Makes a call that is safe to repeat, and repeats it while the server is away or busy for a moment.
    ///
    /// # Errors
    /// The server's last answer.
    pub async fn call<T>(
        &self,
        call: impl AsyncFn(JobServiceClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        patiently(async || call(self.service.clone()).await).await
    }

    /// The same for a call of the `ReportService`.
    ///
    /// # Errors
    /// The server's last answer.
    pub async fn call_reports<T>(
        &self,
        call: impl AsyncFn(ReportServiceClient<Channel>) -> Result<Response<T>, Status>,
    ) -> Result<T, Failure> {
        patiently(async || call(self.reports.clone()).await).await
    }

    /// The client, for calls that must not be repeated.
    #[must_use]
    pub fn service(&self) -> JobServiceClient<Channel> {
        self.service.clone()
    }
}

/// A connection that is lost during a call gives `UNKNOWN`; this turns it into `UNAVAILABLE`.
fn of_lost_connection(status: Status) -> Status {
    let source = std::error::Error::source(&status).filter(|source| source.is::<tonic::transport::Error>());
    match source.map(root_cause) {
        Some(cause) => Status::unavailable(format!("the connection was lost: {cause}")),
        None => status,
    }
}

/// Makes a call, and repeats it while the server is away or busy for a moment.
async fn patiently<T>(call: impl AsyncFn() -> Result<Response<T>, Status>) -> Result<T, Failure> {
    let mut tries = 1;
    loop {
        let status = match call().await {
            Ok(response) => return Ok(response.into_inner()),
            Err(status) => of_lost_connection(status),
        };
        match delay_before_retry(&status, tries) {
            Some(delay) => tokio::time::sleep(delay).await,
            None => return Err(status.into()),
        }
        tries += 1;
    }
}

/// How long to wait before the next try, after `tries` of them; `None` if another try is of no use.
fn delay_before_retry(status: &Status, tries: u32) -> Option<Duration> {
    let asked = retry_delay(status);
    let is_passing = status.code() == Code::Unavailable || asked.is_some();
    let delay = asked.unwrap_or(FIRST_DELAY * tries);
    (is_passing && tries < MAX_TRIES && delay <= MAX_DELAY).then_some(delay)
}

/// The innermost source of `error`: the layers above it only say that something failed.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;

    fn args(server: &str) -> ConnectArgs {
        ConnectArgs { server: server.to_owned(), timeout: Length(Duration::from_secs(1)) }
    }

    #[tokio::test]
    async fn a_server_that_is_not_there_is_named_with_a_hint() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);

        let failure = args(&address.to_string()).connect().await.unwrap_err();

        assert_eq!(failure.exit, Exit::Unavailable);
        assert!(failure.message.contains(&format!("cannot reach {address}")), "{failure}");
        assert!(failure.hint.unwrap().contains("is `lrs serve` running?"));
    }

    #[test]
    fn an_address_of_another_kind_is_refused() {
        for (server, says) in [
            ("postgres://db", "\"postgres://db\" is not allowed: must be http://HOST:PORT"),
            ("postgres://u:s3cret@h/d", "must be http://HOST:PORT"),
            ("https://lrs:50051", "as this program speaks no TLS"),
            ("http://", "such as http://127.0.0.1:50051"),
            ("not an address", "must be http://HOST:PORT"),
            ("lrs", "a port from 1 to 65535, such as http://lrs:50051"),
            ("lrs:99999", "a port from 1 to 65535"),
            ("http://lrs:0", "a port from 1 to 65535"),
            ("http://:80", "must be http://HOST:PORT"),
            ("http://lrs:50051/v1", "must be http://HOST:PORT"),
        ] {
            let failure = args(server).endpoint("lrs-cli/0").unwrap_err();
            assert_eq!(failure.exit, Exit::Invalid, "{server}");
            assert!(failure.message.contains(says) && !failure.message.contains("s3cret"), "{server}: {failure}");
        }
        for server in ["lrs:50051", "http://lrs:50051/", "HTTP://lrs:50051", "http://[::1]:50051"] {
            assert!(args(server).endpoint("lrs-cli/0").is_ok(), "{server}");
        }
    }

    #[test]
    fn only_what_may_pass_is_tried_again_and_not_for_ever() {
        let away = Status::unavailable("");
        assert_eq!(delay_before_retry(&away, 1), Some(FIRST_DELAY));
        assert_eq!(delay_before_retry(&away, MAX_TRIES), None);
        assert_eq!(delay_before_retry(&Status::not_found(""), 1), None);
        let details = |delay| ErrorDetails::with_retry_info(Some(delay));
        let busy = |delay| Status::with_error_details(Code::ResourceExhausted, "", details(delay));
        assert_eq!(delay_before_retry(&busy(Duration::from_secs(1)), 1), Some(Duration::from_secs(1)));
        assert_eq!(delay_before_retry(&busy(Duration::from_mins(1)), 1), None);
    }
}
