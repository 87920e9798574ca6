//! Calls of methods by their path, inside the process. Requests and answers stay in their wire form, so the caller
//! needs to know no message type.

use lrs_proto::codec::Wire;
use prost::bytes::Bytes;
use tonic::{Request, Status, Streaming, client::Grpc, codegen::http::uri::PathAndQuery, service::Routes};

use super::{Services, service_routes};

/// All methods of our services. Cheap to clone.
#[derive(Clone)]
pub struct Calls(Grpc<Routes>);

impl Calls {
    /// Calls of these services without a bound on the size of a message; the callers bound what they read.
    #[must_use]
    pub fn new(services: Services) -> Self {
        let client = Grpc::new(service_routes(services, usize::MAX).prepare());
        Self(client.max_decoding_message_size(usize::MAX))
    }

    /// Calls a method that gives one answer.
    ///
    /// # Errors
    /// The errors of the method, and `UNIMPLEMENTED` if the method does not exist.
    pub async fn unary(&self, path: PathAndQuery, request: Bytes) -> Result<Bytes, Status> {
        Ok(self.0.clone().unary(Request::new(request), path, Wire).await?.into_inner())
    }

    /// Calls a method that streams its answers.
    ///
    /// # Errors
    /// As for [`Self::unary`].
    pub async fn stream(&self, path: PathAndQuery, request: Bytes) -> Result<Streaming<Bytes>, Status> {
        Ok(self.0.clone().server_streaming(Request::new(request), path, Wire).await?.into_inner())
    }
}
