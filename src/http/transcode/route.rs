//! A route of a method, and the request that it makes of a path, a query and a body.

use std::collections::BTreeSet;

use axum::http::{Method, uri::PathAndQuery};
use lrs_model::{name::JobName, typed::snake_case, violation::Violations};
use lrs_proto::{
    codec::Codec,
    lengths::Scale,
    reflect::{self, Cardinality, DynamicMessage, FieldDescriptor, HttpRoute, Kind, MessageDescriptor},
    written::choose,
};
use prost::encoding::{WireType, encode_key, encode_varint};
use serde_json::{Map, Value};

use super::template::Template;

const ANY_TEXT: [&str; 3] = ["google.protobuf.Duration", "google.protobuf.FieldMask", "google.protobuf.Timestamp"];
const FIELD_MASK: &str = "google.protobuf.FieldMask";

/// How a method is called over HTTP.
pub(super) struct Route {
    pub(super) method: Method,
    pub(super) template: Template,
    /// What the method answers.
    pub(super) output: MessageDescriptor,
    pub(super) answer: Codec,
    pub(super) is_stream: bool,
    /// What gRPC calls the method by.
    pub(super) rpc: PathAndQuery,
    input: MessageDescriptor,
    request: Codec,
    pub(super) body: Body,
    parameters: Vec<FieldDescriptor>,
}

/// What the HTTP body is.
pub(super) enum Body {
    /// Not read.
    None,
    /// The request.
    Whole,
    /// A field of the request.
    Field(FieldDescriptor, Codec),
}

impl Route {
    /// The route that an option of the protos says.
    pub(super) fn new(route: &HttpRoute) -> Self {
        let (input, output) = (route.method.input(), route.method.output());
        let body = match route.body.as_str() {
            "" => Body::None,
            "*" => Body::Whole,
            name => {
                let field = input.get_field_by_name(name).expect("the body is a field of the request");
                let Kind::Message(message) = field.kind() else { panic!("the body is a message") };
                Body::Field(field, codec(&message))
            }
        };
        let template = Template::parse(&route.template);
        let parameters = if matches!(body, Body::Whole) { Vec::new() } else { parameters(&input, &template, &body) };
        Self {
            method: route.verb.parse().expect("a method of HTTP"),
            template,
            rpc: reflect::path(&route.method).parse().expect("a path"),
            is_stream: route.method.is_server_streaming(),
            answer: codec(&output),
            request: codec(&input),
            input,
            output,
            body,
            parameters,
        }
    }

    /// The job in the path, if the request changes or steers one and the body has lengths in words: these are measured
    /// by what the job says, where the body does not say it. A body with the whole spec of another job says it all.
    pub(super) fn measure(&self, texts: &[String], body: &[u8]) -> Option<String> {
        let codec = match &self.body {
            Body::None => return None,
            Body::Whole if self.input.get_field_by_name("spec").is_some() => return None,
            Body::Whole => self.request,
            Body::Field(_, codec) => *codec,
        };
        let values = self.template.values(texts).into_iter();
        let job = values.map(|(_, value)| value).find(|value| value.parse::<JobName>().is_ok())?;
        codec.is_in_words(body).then_some(job)
    }

    /// The paths of the mask in the query, in the proto's names.
    pub(super) fn mask(&self, parameters: &[(String, String)]) -> Vec<String> {
        let is_mask = |name: &str| {
            let field = reflect::field(&self.input, name).or_else(|| reflect::field(&self.input, &snake_case(name)));
            field.is_some_and(|field| matches!(field.kind(), Kind::Message(mask) if mask.full_name() == FIELD_MASK))
        };
        let masks = parameters.iter().filter(|(name, _)| is_mask(name));
        masks.flat_map(|(_, text)| text.split(',').map(|path| self.proto_path(path.trim()))).collect()
    }

    /// The request in its wire form, with everything that is wrong with it noted. The path says what is meant; a body
    /// that says otherwise is refused. Lengths in words are measured by `scale`, where the body does not say it. Parts
    /// of a message may follow one another on the wire.
    pub(super) fn request(
        &self,
        texts: &[String],
        parameters: Vec<(String, String)>,
        (body, scale): (&[u8], Scale),
        violations: &mut Violations,
    ) -> Vec<u8> {
        let mut wire = self.read_body(body, scale, violations);
        let in_body = DynamicMessage::decode(self.input.clone(), wire.as_slice()).ok();
        self.read_parameters(parameters, &mut wire, violations);
        for (path, value) in self.template.values(texts) {
            let other = in_body.as_ref().and_then(|message| text_at(message, path)).filter(|text| *text != value);
            if let Some(other) = other {
                violations.add(
                    path,
                    format_args!("{other:?} is not what the path says, {value:?}: leave it out of the body"),
                );
            }
            put_text(&self.input, path, value.as_bytes(), &mut wire);
        }
        wire
    }

    /// An empty body is an empty message.
    fn read_body(&self, body: &[u8], scale: Scale, violations: &mut Violations) -> Vec<u8> {
        let codec = match &self.body {
            Body::None => return Vec::new(),
            _ if body.iter().all(u8::is_ascii_whitespace) => return Vec::new(),
            Body::Whole => self.request,
            Body::Field(_, codec) => *codec,
        };
        let message = codec.read(body, scale).unwrap_or_else(|problem| {
            violations.add("body", problem);
            Vec::new()
        });
        match &self.body {
            Body::Field(field, _) => {
                let mut wire = Vec::with_capacity(message.len() + 8);
                put(field, &message, &mut wire);
                wire
            }
            Body::None | Body::Whole => message,
        }
    }

    /// Reads each parameter alone, so that an error belongs to a parameter.
    fn read_parameters(&self, given: Vec<(String, String)>, wire: &mut Vec<u8>, violations: &mut Violations) {
        let mut seen = BTreeSet::new();
        for (name, text) in given {
            let field = reflect::field(&self.input, &name).or_else(|| reflect::field(&self.input, &snake_case(&name)));
            let field = field.filter(|field| self.parameters.contains(field));
            let Some(field) = field else {
                violations.add(&name, self.unknown(&name));
                continue;
            };
            let json = Map::from_iter([(field.name().to_owned(), self.to_json(&field, text))]);
            match self.request.read_value(json.into(), Scale::default()) {
                Err(problem) => {
                    let problem = problem.to_string();
                    let alone = problem.strip_prefix(field.name()).and_then(|rest| rest.strip_prefix(": "));
                    violations.add(&name, alone.unwrap_or(&problem));
                }
                Ok(_) if !field.is_list() && !seen.insert(field.number()) => violations.add(&name, "is given twice"),
                Ok(part) => wire.extend(part),
            }
        }
    }

    fn unknown(&self, name: &str) -> String {
        if self.parameters.is_empty() {
            return "is not allowed in the query of this method: write it into the body, or leave it out".to_owned();
        }
        let names: Vec<String> = self.parameters.iter().map(|field| field.name().to_owned()).collect();
        format!("{name:?} is not a parameter of this method: {}", choose(name, &names))
    }

    /// The JSON of a parameter. Numbers stay text, which canonical JSON allows.
    fn to_json(&self, field: &FieldDescriptor, text: String) -> Value {
        let value = match field.kind() {
            Kind::Message(message) if message.full_name() == FIELD_MASK => {
                let paths = text.split(',').map(|path| self.proto_path(path.trim()).into()).collect();
                Map::from_iter([("paths".to_owned(), Value::Array(paths))]).into()
            }
            _ => text.into(),
        };
        if field.is_list() { Value::Array(vec![value]) } else { value }
    }

    /// A path of a mask, which names fields of the message in the body, in the proto's names.
    fn proto_path(&self, path: &str) -> String {
        match &self.body {
            Body::Field(field, _) => match field.kind() {
                Kind::Message(message) => reflect::proto_path(&message, path),
                _ => path.to_owned(),
            },
            Body::None | Body::Whole => path.to_owned(),
        }
    }

    /// Whether a field of the request can be given: in the path, the query or the body.
    #[cfg(test)]
    pub(super) fn reaches(&self, field: &FieldDescriptor) -> bool {
        self.parameters.contains(field)
            || self.template.fields().any(|path| path == field.name())
            || match &self.body {
                Body::None => false,
                Body::Whole => true,
                Body::Field(body, _) => body == field,
            }
    }
}

/// The fields of a request that the query gives: those that a text can hold and neither the path nor the body gives.
fn parameters(input: &MessageDescriptor, template: &Template, body: &Body) -> Vec<FieldDescriptor> {
    let in_path: Vec<FieldDescriptor> = template.fields().filter_map(|path| input.get_field_by_name(path)).collect();
    let is_open = |field: &FieldDescriptor| {
        let is_given = in_path.iter().any(|given| {
            given == field || given.containing_oneof().is_some_and(|oneof| field.containing_oneof() == Some(oneof))
        });
        let is_body = matches!(body, Body::Field(given, _) if given == field);
        let is_text = match field.kind() {
            Kind::Message(message) => {
                field.cardinality() != Cardinality::Repeated && ANY_TEXT.contains(&message.full_name())
            }
            _ => true,
        };
        !is_given && !is_body && is_text
    };
    input.fields().filter(is_open).collect()
}

fn codec(message: &MessageDescriptor) -> Codec {
    Codec::by_name(message.full_name()).expect("every message of a method has a codec")
}

/// The text in the field at a path such as `job.name`, unless it is empty.
fn text_at(message: &DynamicMessage, path: &str) -> Option<String> {
    let (name, below) = path.split_once('.').map_or((path, None), |(name, below)| (name, Some(below)));
    let value = message.get_field_by_name(name)?;
    match below {
        Some(below) => text_at(value.as_message()?, below),
        None => value.as_str().filter(|text| !text.is_empty()).map(str::to_owned),
    }
}

/// Writes a text into the field at a path such as `job.name`.
fn put_text(message: &MessageDescriptor, path: &str, text: &[u8], wire: &mut Vec<u8>) {
    let (name, below) = path.split_once('.').map_or((path, None), |(name, below)| (name, Some(below)));
    let field = message.get_field_by_name(name).expect("a variable of a path is a field of the request");
    match (below, field.kind()) {
        (Some(below), Kind::Message(inner)) => {
            let mut part = Vec::new();
            put_text(&inner, below, text, &mut part);
            put(&field, &part, wire);
        }
        _ => put(&field, text, wire),
    }
}

/// Writes a field that has a length.
fn put(field: &FieldDescriptor, bytes: &[u8], wire: &mut Vec<u8>) {
    encode_key(field.number(), WireType::LengthDelimited, wire);
    encode_varint(bytes.len() as u64, wire);
    wire.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::{
        CreateJobRequest, DeleteJobRequest, PauseJobRequest, QueryTelemetryRequest, UpdateJobRequest,
        reflect::http_routes,
    };
    use prost::Message;

    fn route(method: &str) -> Route {
        Route::new(&http_routes().find(|route| route.method.name() == method).unwrap())
    }

    fn request(method: &str, parameters: &[(&str, &str)], body: &str) -> Result<Vec<u8>, Violations> {
        let texts = ["a".to_owned(), "b".to_owned()];
        let parameters = parameters.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect();
        let mut violations = Violations::new();
        let wire = route(method).request(&texts, parameters, (body.as_bytes(), Scale::default()), &mut violations);
        if violations.is_empty() { Ok(wire) } else { Err(violations) }
    }

    fn read<M: Message + Default>(method: &str, parameters: &[(&str, &str)], body: &str) -> M {
        M::decode(request(method, parameters, body).unwrap().as_slice()).unwrap()
    }

    #[test]
    fn numbers_lists_truths_and_masks_are_read() {
        let parameters = [
            ("attempt", "2"),
            ("startStep", "10"),
            ("end_step", "20"),
            ("metrics", "loss"),
            ("metrics", "acc"),
            ("max_points", "100"),
        ];
        let request: QueryTelemetryRequest = read("QueryTelemetry", &parameters, "");
        assert_eq!(request.job, "namespaces/a/jobs/b");
        assert_eq!((request.attempt, request.start_step, request.end_step), (2, 10, Some(20)));
        assert_eq!((request.metrics, request.max_points), (vec!["loss".to_owned(), "acc".to_owned()], 100));
        let request: DeleteJobRequest = read("DeleteJob", &[("force", "true"), ("etag", "\"7\"")], "");
        assert_eq!((request.force, request.etag.as_str()), (true, "\"7\""));
        let mask = [("update_mask", "spec.totalSteps,spec.labels.myKey, spec.arm")];
        let request: UpdateJobRequest = read("UpdateJob", &mask, "");
        assert_eq!(request.update_mask.unwrap().paths, ["spec.total_steps", "spec.labels.myKey", "spec.arm"]);
    }

    #[test]
    fn the_path_says_which_job_and_the_body_does_not_say_otherwise() {
        let body = r#"{"name": "namespaces/a/jobs/b", "spec": {"totalSteps": "7"}}"#;
        let job = read::<UpdateJobRequest>("UpdateJob", &[("reason", "why")], body).job.unwrap();
        assert_eq!((job.name.as_str(), job.spec.unwrap().total_steps), ("namespaces/a/jobs/b", Some(7)));
        for (method, body) in
            [("UpdateJob", r#"{"name": "namespaces/x/jobs/y"}"#), ("PauseJob", r#"{"name": "namespaces/x/jobs/y"}"#)]
        {
            let refused = request(method, &[], body).unwrap_err().to_string();
            assert!(refused.contains("\"namespaces/x/jobs/y\" is not what the path says"), "{refused}");
        }
        let request: PauseJobRequest = read("PauseJob", &[], r#"{"reason": "why"}"#);
        assert_eq!((request.name.as_str(), request.reason.as_str()), ("namespaces/a/jobs/b", "why"));
        let request: CreateJobRequest = read("CreateJob", &[("job_id", "c"), ("validateOnly", "true")], "");
        assert_eq!((request.parent.as_str(), request.job_id.as_str()), ("namespaces/a", "c"));
        assert!(request.validate_only);
    }

    #[test]
    fn words_of_length_ask_for_the_job_that_they_are_about() {
        let job = Some("namespaces/a/jobs/b".to_owned());
        let measure = |method: &str, body: &str| route(method).measure(&["a".into(), "b".into()], body.as_bytes());
        assert_eq!(measure("UpdateJob", r#"{"spec": {"total_steps": "20ep"}}"#), job);
        assert_eq!(measure("OverrideLearningRate", r#"{"set": {"factor": 0.5, "end_step": "5ep"}}"#), job);
        for (method, body) in [
            ("UpdateJob", r#"{"spec": {"total_steps": "20"}}"#),
            ("CreateJob", r#"{"spec": {"total_steps": "20ep"}}"#),
            ("ForkJob", r#"{"spec": {"total_steps": "20ep"}}"#),
            ("PauseJob", "no JSON"),
        ] {
            assert_eq!(measure(method, body), None, "{method} {body}");
        }
        let scale = Scale::of(&lrs_proto::JobSpec { steps_per_epoch: Some(10), ..Default::default() });
        let mut violations = Violations::new();
        let (texts, body) = (["a".to_owned(), "b".to_owned()], br#"{"spec": {"total_steps": "20ep"}}"#);
        let wire = route("UpdateJob").request(&texts, vec![], (body, scale), &mut violations);
        let request = UpdateJobRequest::decode(wire.as_slice()).unwrap();
        assert_eq!(request.job.unwrap().spec.unwrap().total_steps, Some(200));
        let mask = [("updateMask".to_owned(), "spec.totalSteps, schedule".to_owned())];
        assert_eq!(route("UpdateJob").mask(&mask), ["spec.total_steps", "schedule"]);
    }

    #[test]
    fn what_means_the_same_is_read_the_same() {
        for name in ["page_size", "pageSize", "page-size"] {
            for size in ["10", "1e1", "1_0", " 10 "] {
                assert_eq!(
                    read::<lrs_proto::ListJobsRequest>("ListJobs", &[(name, size)], "").page_size,
                    10,
                    "{name}={size}"
                );
            }
        }
        for truth in ["true", "True", "TRUE"] {
            assert!(read::<DeleteJobRequest>("DeleteJob", &[("force", truth)], "").force, "{truth}");
        }
    }

    #[test]
    fn every_wrong_parameter_is_named() {
        let parameters = [("page_size", "ten"), ("colour", "red"), ("filter", "a"), ("filter", "b"), ("parent", "p")];
        let violations = request("ListJobs", &parameters, "").unwrap_err();
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, ["page_size", "colour", "filter", "parent"]);
        let text = violations.to_string();
        assert!(
            text.contains("colour: \"colour\" is not a parameter of this method: there are page_size, page_token"),
            "{text}"
        );
        assert!(text.contains("page_size: \"ten\" is not allowed here: write a whole number"), "{text}");
        assert!(!text.contains("line"), "{text}");
        let violations = request("DeleteJob", &[("force", "yes")], "").unwrap_err();
        assert!(
            violations.to_string().contains("force: \"yes\" is not allowed here: write true or false"),
            "{violations}"
        );
    }

    #[test]
    fn a_method_whose_body_is_the_request_has_no_parameters() {
        let violations = request("PauseJob", &[("reason", "x")], "").unwrap_err();
        let text = violations.to_string();
        assert!(text.starts_with("reason: is not allowed in the query of this method"), "{text}");
    }

    #[test]
    fn of_a_oneof_that_the_path_decides_the_query_has_nothing() {
        let violations = request("GetAuditReport", &[("experiment", "x"), ("target", "0.5")], "").unwrap_err();
        let text = violations.to_string();
        assert_eq!(text, "experiment: \"experiment\" is not a parameter of this method: there are target");
    }

    #[test]
    fn an_error_says_where_in_the_body() {
        let problem = request("UpdateJob", &[], "{\"spec\": {\n  \"colour\": 1}}").unwrap_err().to_string();
        assert!(
            problem.contains("body: spec.colour: the field \"colour\" is not allowed here")
                && problem.contains("line 2"),
            "{problem}"
        );
        assert!(request("UpdateJob", &[], " \n").is_ok());
        for (body, says) in [
            (r#"{"total_steps": 5}"#, "did you mean \"spec.total_steps\"?"),
            (
                r#"{"spec": {"arm": "contrl"}}"#,
                "spec.arm: \"contrl\" is not allowed here: there are scheduled, baseline",
            ),
            (r#"{"create_time": "yesterday"}"#, "create_time: \"yesterday\" is not allowed here: write a time in UTC"),
            (r#"{"spec": {"total_steps": 1, "total_steps": 2}}"#, "\"total_steps\" is there already"),
            (r#"{"spec": {"labels": {"a": "b", "a": "c"}}}"#, "\"a\" is there already"),
            (r#"{"spec": {}"#, "the JSON ends too early, at line 1, column 11"),
            ("spec: {}", "line 1, column 1 is no JSON"),
            ("[]", "body: [] is not allowed here: write a job, such as {name:"),
            ("null", "body: null is not allowed here: write a job, such as {name:"),
        ] {
            let problem = request("UpdateJob", &[], body).unwrap_err().to_string();
            assert!(problem.contains(says), "{body}: {problem}");
            for foreign in ["expected", "struct", "invalid type", "variant", "EOF"] {
                assert!(!problem.contains(foreign) || problem.contains("no JSON (expected"), "{body}: {problem}");
            }
        }
        assert!(request("UpdateJob", &[], "\u{feff}{\"spec\": {}}\r\n").is_ok());
    }

    #[test]
    fn every_field_of_every_request_can_be_given() {
        for method in reflect::methods() {
            let routes = http_routes().filter(|route| route.method == method).map(|route| Route::new(&route));
            let routes: Vec<Route> = routes.collect();
            let is_for_trainers = method.parent_service().name() == "LearningRateService";
            assert_eq!(routes.is_empty(), is_for_trainers, "{}", method.full_name());
            for field in method.input().fields().filter(|_| !is_for_trainers) {
                assert!(routes.iter().any(|route| route.reaches(&field)), "{}", field.full_name());
            }
        }
    }
}
