//! Calls of methods by their path, inside the process. Requests and answers are messages in their wire form, so that a caller
//! needs to know none of them.

use prost::bytes::{Buf as _, BufMut as _, Bytes};
use tonic::{
    Request, Status, Streaming,
    client::Grpc,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
    codegen::http::uri::PathAndQuery,
    service::Routes,
};

use super::{Services, service_routes};

/// Every method of our services. Cheap to clone.
#[derive(Clone)]
pub struct Calls(Grpc<Routes>);

impl Calls {
    /// Calls of these services, without a bound on the size of a message: callers bound what they read.
    #[must_use]
    pub fn new(services: Services) -> Self {
        let client = Grpc::new(service_routes(services, usize::MAX).prepare());
        Self(client.max_decoding_message_size(usize::MAX))
    }

    /// Calls a method that gives one answer.
    ///
    /// # Errors
    /// The method's own, and `UNIMPLEMENTED` if there is no such method.
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

/// Messages stay in their wire form.
#[derive(Clone, Copy)]
struct Wire;

impl Codec for Wire {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        *self
    }

    fn decoder(&mut self) -> Self {
        *self
    }
}

impl Encoder for Wire {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, message: Bytes, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
        buffer.put(message);
        Ok(())
    }
}

impl Decoder for Wire {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(buffer.copy_to_bytes(buffer.remaining())))
    }
}
