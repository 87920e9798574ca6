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
    encode: fn(serde_json::Value) -> Result<Vec<u8>, serde_json::Error>,
    /// The line of a text at which it stops being canonical.
    line: fn(&[u8]) -> usize,
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
            encode: |json| encode(&M::deserialize(json)?),
            line: |json| serde_json::from_slice::<M>(json).err().map_or(0, |problem| problem.line()),
            write: |wire| {
                let message = M::decode(wire).map_err(|problem| Unwritable(problem.to_string()))?;
                serde_json::to_string(&Canonical(&message)).map_err(|problem| Unwritable(problem.to_string()))
            },
        }
    }

    /// The wire form of a message in JSON, as people write messages. What it does not say of its lengths is as in
    /// `scale`.
    ///
    /// # Errors
    /// What is wrong with the JSON, and where.
    pub fn read(self, json: &[u8], scale: Scale) -> Result<Vec<u8>, serde_json::Error> {
        let json = json.strip_prefix("\u{feff}".as_bytes()).unwrap_or(json);
        let Once = serde_json::from_slice(json).map_err(|problem| once::in_words(&problem))?;
        self.as_written(serde_json::from_slice(json)?, scale).map_err(|wrong| match (self.line)(json) {
            0 => de::Error::custom(wrong),
            line => de::Error::custom(format!("{wrong} (near line {line})")),
        })
    }

    /// The wire form of a message in parsed JSON, as people write messages. What it does not say of its lengths is as
    /// in `scale`.
    ///
    /// # Errors
    /// What is wrong with the JSON.
    pub fn read_value(self, json: serde_json::Value, scale: Scale) -> Result<Vec<u8>, serde_json::Error> {
        self.as_written(json, scale)
    }

    /// Whether a message in JSON has lengths in words.
    #[must_use]
    pub fn is_in_words(self, json: &[u8]) -> bool {
        let json = serde_json::from_slice(json).ok();
        let message = reflect::pool().get_message_by_name(self.name);
        json.zip(message).is_some_and(|(json, message)| lengths::in_words(&message, &json))
    }

    fn as_written(self, mut json: serde_json::Value, scale: Scale) -> Result<Vec<u8>, serde_json::Error> {
        let Some(message) = reflect::pool().get_message_by_name(self.name) else { return (self.encode)(json) };
        lengths::resolve(&message, &mut json, scale).map_err(de::Error::custom)?;
        let canonical = written::read(&message, &json).map_err(de::Error::custom)?;
        (self.encode)(canonical)
    }

    /// The canonical JSON of a message in its wire form.
    ///
    /// # Errors
    /// If `wire` is not such a message.
    pub fn write(self, wire: &[u8]) -> Result<String, Unwritable> {
        (self.write)(wire)
    }
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
        let wire = codec.read(br#"{"name": "a"}"#, Scale::default()).unwrap();
        assert_eq!(wire, GetJobRequest { name: "a".to_owned() }.encode_to_vec());
        assert_eq!(codec.write(&wire).unwrap(), r#"{"name":"a"}"#);
    }

    #[test]
    fn a_message_that_is_nested_too_deeply_for_the_wire_is_refused() {
        let nested = |depth: usize| {
            let (open, close) = (r#"{"stair": {"schedule": "#.repeat(depth), "}}".repeat(depth));
            let json = format!(r#"{{"schedule": {open}{{}}{close}}}"#);
            Codec::by_name("lrs.v1.JobSpec").unwrap().read(json.as_bytes(), Scale::default())
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
