//! What the messages and services are made of, read from the descriptors. Nothing that they say needs a list by hand.

use std::sync::LazyLock;

use prost::{DecodeError, Message, Name};
pub use prost_reflect::{
    Cardinality, DescriptorPool, DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor,
    MethodDescriptor, ReflectMessage, SetFieldError, Value,
};

use crate::{DESCRIPTORS, HttpRule, http_rule::Pattern};

static POOL: LazyLock<DescriptorPool> =
    LazyLock::new(|| DescriptorPool::decode(DESCRIPTORS).expect("the descriptors are those that the build wrote"));

/// Every service, message and enum of the interface.
#[must_use]
pub fn pool() -> &'static DescriptorPool {
    &POOL
}

/// The descriptor of a message.
///
/// # Panics
/// Never: every generated message has a descriptor.
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

/// Every method of every service.
pub fn methods() -> impl Iterator<Item = MethodDescriptor> {
    POOL.services().flat_map(|service| service.methods().collect::<Vec<_>>())
}

/// The path that gRPC calls a method by: `/lrs.v1.JobService/GetJob`.
#[must_use]
pub fn path(method: &MethodDescriptor) -> String {
    format!("/{}/{}", method.parent_service().full_name(), method.name())
}

/// A field by its name in the proto or in the canonical JSON: `total_steps` or `totalSteps`.
#[must_use]
pub fn field(message: &MessageDescriptor, name: &str) -> Option<FieldDescriptor> {
    message.get_field_by_name(name).or_else(|| message.get_field_by_json_name(name))
}

/// A path of fields, such as `spec.totalSteps`, with every name as it is in the proto. Keys of maps stay as they are,
/// and so does everything from the first unknown field on.
#[must_use]
pub fn proto_path(message: &MessageDescriptor, path: &str) -> String {
    let (name, below) = path.split_once('.').map_or((path, None), |(name, below)| (name, Some(below)));
    let Some(field) = field(message, name) else { return path.to_owned() };
    match (below, field.kind()) {
        (Some(below), Kind::Message(inner)) if !field.is_map() && !field.is_list() => {
            format!("{}.{}", field.name(), proto_path(&inner, below))
        }
        (Some(below), _) => format!("{}.{below}", field.name()),
        (None, _) => field.name().to_owned(),
    }
}

/// The field of the same message that `field` is a short form of, as the option `short_for` says.
///
/// # Panics
/// If the option names no field of the message.
#[must_use]
pub fn long_form(field: &FieldDescriptor) -> Option<FieldDescriptor> {
    let extension = POOL.get_extension_by_name("lrs.v1.short_for").expect("options.proto declares it");
    let options = field.options();
    let long = options.has_extension(&extension).then(|| options.get_extension(&extension))?;
    let name = long.as_str().expect("options.proto says that it is text");
    Some(field.parent_message().get_field_by_name(name).expect("a short form is of a field of the same message"))
}

/// Whether a field is a length or a position in steps, as the option `length` says.
///
/// # Panics
/// Never: the protos declare the option.
#[must_use]
pub fn is_length(field: &FieldDescriptor) -> bool {
    let extension = POOL.get_extension_by_name("lrs.v1.length").expect("options.proto declares it");
    field.options().get_extension(&extension).as_bool().unwrap_or_default()
}

/// A method over HTTP.
#[derive(Clone, Debug)]
pub struct HttpRoute {
    /// The RPC.
    pub method: MethodDescriptor,
    /// `GET`, `POST`, `PATCH` or `DELETE`.
    pub verb: &'static str,
    /// The template of the path: `/v1/{name=namespaces/*/jobs/*}:pause`.
    pub template: String,
    /// The field of the request that the HTTP body holds; `*` if the body is the request; empty if there is no body.
    pub body: String,
}

/// Every HTTP route that the option `http` gives a method.
///
/// # Panics
/// If a rule has no pattern.
pub fn http_routes() -> impl Iterator<Item = HttpRoute> {
    let extension = POOL.get_extension_by_name("lrs.v1.http").expect("options.proto declares it");
    methods().flat_map(move |method| {
        let options = method.options();
        let rule = options.has_extension(&extension).then(|| options.get_extension(&extension).into_owned());
        let rule: Option<HttpRule> = rule.and_then(|rule| from_dynamic(rule.as_message()?).ok());
        let rules = rule.into_iter().flat_map(|mut rule| {
            let more = std::mem::take(&mut rule.additional_bindings);
            std::iter::once(rule).chain(more)
        });
        let route = |rule: HttpRule| {
            let (verb, template) = match rule.pattern.expect("a rule has a pattern") {
                Pattern::Get(path) => ("GET", path),
                Pattern::Post(path) => ("POST", path),
                Pattern::Patch(path) => ("PATCH", path),
                Pattern::Delete(path) => ("DELETE", path),
            };
            HttpRoute { method: method.clone(), verb, template, body: rule.body }
        };
        rules.map(route).collect::<Vec<_>>()
    })
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

    #[test]
    fn a_path_of_fields_gets_the_names_of_the_proto() {
        for (path, expected) in [
            ("spec.totalSteps", "spec.total_steps"),
            ("spec.rate_limits.maxLr", "spec.rate_limits.max_lr"),
            ("spec.labels.myKey", "spec.labels.myKey"),
            ("spec.noSuchField.maxLr", "spec.noSuchField.maxLr"),
            ("*", "*"),
        ] {
            assert_eq!(proto_path(&descriptor::<Job>(), path), expected);
        }
    }

    #[test]
    fn a_short_form_knows_its_long_form() {
        let spec = descriptor::<JobSpec>();
        let long = |name| long_form(&spec.get_field_by_name(name).unwrap()).map(|field| field.name().to_owned());
        assert_eq!((long("controller").as_deref(), long("controllers")), (Some("controllers"), None));
    }

    #[test]
    fn a_method_may_have_several_routes() {
        let of = |name: &str| http_routes().filter(|route| route.method.name() == name).collect::<Vec<_>>();
        assert_eq!(of("GetAuditReport").len(), 2);
        let [update] = &of("UpdateJob")[..] else { panic!("not one route") };
        let template = "/v1/{job.name=namespaces/*/jobs/*}";
        assert_eq!((update.verb, update.template.as_str(), update.body.as_str()), ("PATCH", template, "job"));
        assert!(of("StreamTelemetry").is_empty());
    }
}
