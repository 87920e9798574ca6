//! Where in a file something is that a problem is about.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_saphyr::Spanned;

use crate::cli::yaml;
use lrs_proto::written::{Part, Problem};

/// A value with the places of everything in it.
enum Node {
    Fields(Vec<(Spanned<String>, Spanned<Node>)>),
    Elements(Vec<Spanned<Node>>),
    Scalar,
}

/// Line and column, from 1, of what a problem of a document of `text` is about; `None` if the text does not say.
pub(super) fn of(text: &str, document: usize, problem: &Problem) -> Option<(u64, u64)> {
    let documents: Vec<Spanned<Node>> = yaml::read_all(text).ok()?;
    let mut node = documents.get(document)?;
    let mut location = node.referenced;
    for (depth, part) in problem.path.iter().enumerate() {
        let (name, next) = match (part, &node.value) {
            (Part::Name(name), Node::Fields(fields)) => {
                let (name, value) = fields.iter().find(|(written, _)| written.value == *name)?;
                (Some(name), value)
            }
            (Part::Index(index), Node::Elements(elements)) => (None, elements.get(*index)?),
            // One element that stands for a list of one.
            (Part::Index(_), _) => (None, node),
            _ => break,
        };
        let is_last = depth + 1 == problem.path.len();
        location = name.filter(|_| is_last && problem.is_name).map_or(next.referenced, |name| name.referenced);
        node = next;
    }
    (location.line() > 0).then(|| (location.line(), location.column()))
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Nodes)
    }
}

struct Nodes;

impl<'de> Visitor<'de> for Nodes {
    type Value = Node;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("any value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut fields = Vec::new();
        while let Some(field) = map.next_entry()? {
            fields.push(field);
        }
        Ok(Node::Fields(fields))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Node, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = seq.next_element()? {
            elements.push(element);
        }
        Ok(Node::Elements(elements))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Node, D::Error> {
        Node::deserialize(deserializer)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_i128<E>(self, _: i128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u128<E>(self, _: u128) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_str<E>(self, _: &str) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_bytes<E>(self, _: &[u8]) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Scalar)
    }
}
