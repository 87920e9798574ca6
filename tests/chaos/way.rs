//! The way of trainers and operators to the service, with repeats.

use std::{net::SocketAddr, time::Duration};

use tonic::{
    Code, Response, Status,
    transport::{Channel, Endpoint},
};

/// The longest time that a call may take before it is repeated.
const CALL: Duration = Duration::from_secs(3);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(30);
/// A call without an answer after this time counts as stuck.
const STUCK: Duration = Duration::from_secs(90);

/// A server that does not answer a probe of a connection in this time is given up, as the clients do (after more time).
const PROBE: Duration = Duration::from_secs(2);

/// Connects to the service.
#[derive(Clone, Copy)]
pub struct Way {
    pub service: SocketAddr,
}

impl Way {
    /// A new connection.
    pub async fn connect(&self) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.service)).expect("an address");
        endpoint.connect_timeout(CALL).timeout(CALL).connect().await
    }

    /// A connection for a stream, which may last.
    pub async fn connect_for_long(&self) -> Result<Channel, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.service)).expect("an address");
        endpoint
            .connect_timeout(CALL)
            .http2_keep_alive_interval(PROBE)
            .keep_alive_timeout(PROBE)
            .keep_alive_while_idle(true)
            .connect()
            .await
    }

    /// Makes an idempotent call until it is answered. An error that does not pass is returned.
    pub async fn insist<T, F>(&self, mut call: impl FnMut(Channel) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let insisting = async {
            loop {
                if let Ok(channel) = self.connect().await {
                    match call(channel).await {
                        Ok(answer) => return Ok(answer.into_inner()),
                        Err(status) if passes(&status) => {}
                        Err(status) => return Err(status),
                    }
                }
                tokio::time::sleep(PAUSE).await;
            }
        };
        let answer = tokio::time::timeout(STUCK, insisting).await;
        answer.unwrap_or_else(|_| Err(Status::deadline_exceeded(format!("not answered within {STUCK:?}"))))
    }
}

/// Whether another try may succeed: the server or its database is away, or the connection broke.
pub fn passes(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unavailable | Code::DeadlineExceeded | Code::Cancelled | Code::ResourceExhausted | Code::Unknown
    ) || std::error::Error::source(status).is_some()
}
