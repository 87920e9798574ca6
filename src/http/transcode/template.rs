//! Templates of paths, such as `/v1/{name=namespaces/*/jobs/*}:pause`: see `HttpRule` in `options.proto`.

/// A template, taken apart.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Template {
    segments: Vec<Segment>,
    variables: Vec<Variable>,
    /// What stands after the colon at the end, if the last segment is a `*`. Empty if there is none.
    pub(super) verb: String,
}

#[derive(Clone, Debug, PartialEq)]
enum Segment {
    Literal(String),
    /// `*`: one segment of any text.
    Any,
}

/// Which segments are the value of which field of the request.
#[derive(Clone, Debug, PartialEq)]
struct Variable {
    field: String,
    segments: std::ops::Range<usize>,
}

impl Template {
    /// Takes a template apart. A variable without a pattern, `{name}`, is one segment.
    pub(super) fn parse(template: &str) -> Self {
        let (mut segments, mut variables) = (Vec::new(), Vec::new());
        let mut rest = template;
        let mut add = |text: &str| {
            let found = text.split('/').filter(|segment| !segment.is_empty());
            let found = found.map(|text| if text == "*" { Segment::Any } else { Segment::Literal(text.to_owned()) });
            let begin = segments.len();
            segments.extend(found);
            begin..segments.len()
        };
        while let Some((before, (variable, after))) =
            rest.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
        {
            add(before);
            let (field, pattern) = variable.split_once('=').unwrap_or((variable, "*"));
            variables.push(Variable { field: field.to_owned(), segments: add(pattern) });
            rest = after;
        }
        let (rest, verb) = rest.strip_prefix(':').map_or((rest, ""), |verb| ("", verb));
        add(rest);
        Self { segments, variables, verb: verb.to_owned() }
    }

    /// The path in the language of the router, where a `*` has a name: that of what stands before it, in the singular.
    pub(super) fn router_path(&self) -> String {
        let mut collection = "name";
        let mut path = String::new();
        for segment in &self.segments {
            path.push('/');
            match segment {
                Segment::Literal(text) => {
                    path.push_str(text);
                    collection = text;
                }
                Segment::Any => {
                    path.extend(["{", collection.strip_suffix('s').unwrap_or(collection), "}"]);
                }
            }
        }
        path
    }

    /// Whether the path ends with a `*`, so that a verb may follow.
    pub(super) fn takes_verbs(&self) -> bool {
        self.segments.last() == Some(&Segment::Any)
    }

    /// The fields that the path gives a value.
    pub(super) fn fields(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|variable| variable.field.as_str())
    }

    /// The fields and their values, where the path has these texts for its `*`s.
    pub(super) fn values(&self, texts: &[String]) -> Vec<(&str, String)> {
        let mut texts = texts.iter().map(String::as_str);
        let path: Vec<&str> = self
            .segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => text.as_str(),
                Segment::Any => texts.next().unwrap_or_default(),
            })
            .collect();
        let value = |variable: &Variable| path[variable.segments.clone()].join("/");
        self.variables.iter().map(|variable| (variable.field.as_str(), value(variable))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|&text| text.to_owned()).collect()
    }

    #[test]
    fn a_variable_has_the_text_of_its_segments() {
        let template = Template::parse("/v1/{name=namespaces/*/jobs/*}:pause");
        assert_eq!((template.verb.as_str(), template.takes_verbs()), ("pause", true));
        assert_eq!(template.router_path(), "/v1/namespaces/{namespace}/jobs/{job}");
        let values = template.values(&texts(&["größe", "a"]));
        assert_eq!(values, [("name", "namespaces/größe/jobs/a".to_owned())]);
    }

    #[test]
    fn what_follows_a_variable_belongs_to_the_path() {
        let template = Template::parse("/v1/{job=namespaces/*/jobs/*}/attempts/{attempt}");
        assert_eq!(template.router_path(), "/v1/namespaces/{namespace}/jobs/{job}/attempts/{attempt}");
        let values = template.values(&texts(&["a", "b", "7"]));
        assert_eq!(values, [("job", "namespaces/a/jobs/b".to_owned()), ("attempt", "7".to_owned())]);
    }

    #[test]
    fn a_path_without_variables_stays_as_it_is() {
        let template = Template::parse("/v1/schedules:preview");
        assert_eq!((template.router_path().as_str(), template.verb.as_str()), ("/v1/schedules:preview", ""));
        assert!(!template.takes_verbs() && template.values(&[]).is_empty());
    }
}
