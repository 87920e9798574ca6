//! Between canonical JSON and the wire form of messages that are known only by name.

use prost::{
    Message,
    bytes::{Buf as _, BufMut as _, Bytes},
};
use serde::{
    Serialize,
    de::{self, DeserializeOwned},
};
use tonic::{
    Status,
    codec::{DecodeBuf, Decoder, EncodeBuf, Encoder},
};

use crate::{
    json::Canonical,
    lengths::{self, Scale},
    once::{self, Once},
    reflect, written,
};

/// Reads and writes the canonical JSON of one kind of message.
#[derive(Clone, Copy, Debug)]
pub struct Codec {
    name: &'static str,
    read: fn(&[u8], &str) -> Result<Vec<u8>, serde_json::Error>,
    read_value: fn(serde_json::Value, &str) -> Result<Vec<u8>, serde_json::Error>,
    write: fn(&[u8]) -> Result<String, Unwritable>,
}

/// Why a message has no JSON.
#[derive(Debug)]
pub struct Unwritable(String);

impl std::fmt::Display for Unwritable {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "the message cannot be written as JSON: {}", self.0)
    }
}

impl std::error::Error for Unwritable {}

impl Codec {
    /// The codec of a message by its full name, such as `lrs.v1.Job`: of every message that a method takes or answers,
    /// and of every message that is a field of a request.
    #[must_use]
    pub fn by_name(full_name: &str) -> Option<Self> {
        include!(concat!(env!("OUT_DIR"), "/lrs.v1.codecs.rs"))
    }

    fn of<M: Message + Default + Serialize + DeserializeOwned>(name: &'static str) -> Self {
        Self {
            name,
            read: |json, name| {
                let json = json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json);
                let Once = serde_json::from_slice(json).map_err(|problem| once::in_words(&problem))?;
                match serde_json::from_slice::<M>(json) {
                    Ok(message) => encode(&message),
                    Err(problem) => encode(&as_written::<M>(name, &serde_json::from_slice(json)?, problem)?),
                }
            },
            read_value: |json, name| match M::deserialize(&json) {
                Ok(message) => encode(&message),
                Err(problem) => encode(&as_written::<M>(name, &json, problem)?),
            },
            write: |wire| {
                let message = M::decode(wire).map_err(|problem| Unwritable(problem.to_string()))?;
                serde_json::to_string(&Canonical(&message)).map_err(|problem| Unwritable(problem.to_string()))
            },
        }
    }

    /// The wire form of a message in JSON.
    ///
    /// # Errors
    /// What is wrong with the JSON, and where.
    pub fn read(self, json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
        (self.read)(json, self.name)
    }

    /// The wire form of a message in parsed JSON.
    ///
    /// # Errors
    /// What is wrong with the JSON.
    pub fn read_value(self, json: serde_json::Value) -> Result<Vec<u8>, serde_json::Error> {
        (self.read_value)(json, self.name)
    }

    /// The canonical JSON of a message in its wire form.
    ///
    /// # Errors
    /// If `wire` is not such a message.
    pub fn write(self, wire: &[u8]) -> Result<String, Unwritable> {
        (self.write)(wire)
    }
}

/// A message that is not in canonical JSON, but may be as people write it.
fn as_written<M: DeserializeOwned>(
    name: &str,
    json: &serde_json::Value,
    problem: serde_json::Error,
) -> Result<M, serde_json::Error> {
    let Some(message) = reflect::pool().get_message_by_name(name) else { return Err(problem) };
    let mut json = json.clone();
    lengths::resolve(&message, &mut json, Scale::default()).map_err(de::Error::custom)?;
    let canonical = written::read(&message, &json).map_err(|wrong| {
        let place = if problem.line() > 0 { format!(" (near line {})", problem.line()) } else { String::new() };
        de::Error::custom(format!("{wrong}{place}"))
    })?;
    M::deserialize(canonical)
}

/// The wire form of a message, unless it is nested more deeply than the wire form may be: JSON allows more.
fn encode<M: Message + Default>(message: &M) -> Result<Vec<u8>, serde_json::Error> {
    let wire = message.encode_to_vec();
    match M::decode(wire.as_slice()) {
        Ok(_) => Ok(wire),
        Err(_) => Err(de::Error::custom("messages are nested too deeply")),
    }
}

/// For calls of gRPC whose messages stay in their wire form.
#[derive(Clone, Copy, Debug)]
pub struct Wire;

impl tonic::codec::Codec for Wire {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{GetJobRequest, reflect::pool};

    #[test]
    fn a_message_survives_json_and_back() {
        let codec = Codec::by_name("lrs.v1.GetJobRequest").unwrap();
        let wire = codec.read(br#"{"name": "a"}"#).unwrap();
        assert_eq!(wire, GetJobRequest { name: "a".to_owned() }.encode_to_vec());
        assert_eq!(codec.write(&wire).unwrap(), r#"{"name":"a"}"#);
    }

    #[test]
    fn a_message_that_is_nested_too_deeply_for_the_wire_is_refused() {
        let nested = |depth: usize| {
            let (open, close) = (r#"{"stair": {"schedule": "#.repeat(depth), "}}".repeat(depth));
            Codec::by_name("lrs.v1.JobSpec").unwrap().read(format!(r#"{{"schedule": {open}{{}}{close}}}"#).as_bytes())
        };
        assert!(nested(40).is_ok());
        let problem = nested(55).unwrap_err().to_string();
        assert!(problem.contains("nested too deeply"), "{problem}");
    }

    #[test]
    fn whatever_a_method_takes_or_answers_has_a_codec() {
        for method in pool().services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
            for message in [method.input(), method.output()] {
                assert!(Codec::by_name(message.full_name()).is_some(), "{}", message.full_name());
            }
        }
    }

    #[test]
    fn bytes_that_are_no_message_are_an_error() {
        let problem = Codec::by_name("lrs.v1.Job").unwrap().write(&[0xff]).unwrap_err().to_string();
        assert!(problem.starts_with("the message cannot be written as JSON"), "{problem}");
    }
}
