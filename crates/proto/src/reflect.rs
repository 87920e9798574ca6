//! What the messages and services are made of, read from the descriptors: the one source for what would else be a list by hand.

use std::sync::LazyLock;

use prost::{DecodeError, Message, Name};
use prost_reflect::{DescriptorPool, DynamicMessage, MessageDescriptor, ReflectMessage as _};

use crate::DESCRIPTORS;

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the descriptors are those that the build wrote"));

/// Every service, message and enum of the interface.
#[must_use]
pub fn pool() -> &'static DescriptorPool {
    &POOL
}

/// The descriptor of a message.
#[must_use]
pub fn descriptor<M: Name>() -> MessageDescriptor {
    POOL.get_message_by_name(&M::full_name()).expect("every generated message has a descriptor")
}

/// A message whose fields can be asked for by name.
///
/// # Errors
/// If messages are nested more than a hundred deep, which the wire does not take either, but JSON does.
pub fn to_dynamic<M: Message + Name>(message: &M) -> Result<DynamicMessage, DecodeError> {
    DynamicMessage::decode(descriptor::<M>(), message.encode_to_vec().as_slice())
}

/// The generated form of a message.
///
/// # Errors
/// If messages are nested more than a hundred deep.
///
/// # Panics
/// If `message` is not an `M`.
pub fn from_dynamic<M: Message + Name + Default>(message: &DynamicMessage) -> Result<M, DecodeError> {
    assert_eq!(message.descriptor().full_name(), M::full_name());
    M::decode(message.encode_to_vec().as_slice())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Job, JobSpec};

    #[test]
    fn a_message_survives_with_every_field() {
        let spec = JobSpec { display_name: "x".to_owned(), seed: Some(-1), tier: Some(0), ..JobSpec::default() };
        let job = Job { name: "namespaces/a/jobs/b".to_owned(), spec: Some(spec), ..Job::default() };

        assert_eq!(from_dynamic::<Job>(&to_dynamic(&job).unwrap()).unwrap(), job);
    }

    #[test]
    fn every_service_is_known() {
        let services: Vec<_> = pool().services().map(|service| service.full_name().to_owned()).collect();
        assert!(services.contains(&"lrs.v1.JobService".to_owned()), "{services:?}");
    }
}
