//! A controller as written: its kind and its parameters, which only `lrs_control` understands.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _, ser::SerializeMap as _};
use serde_json::{Map, Value};

/// A controller as written, not yet checked. In JSON it is an object with the kind as its only key:
/// `{"greedy": {"patience": 3}}`.
#[derive(Clone, Debug, PartialEq)]
pub struct ControllerSpec {
    kind: String,
    params: Map<String, Value>,
}

impl ControllerSpec {
    /// A controller of this kind. A parameter that is not in `params` has its default.
    #[must_use]
    pub fn new(kind: impl Into<String>, params: Map<String, Value>) -> Self {
        Self { kind: kind.into(), params }
    }

    /// The kind's name, as in `lrs.v1.Controller`.
    #[must_use]
    pub fn kind(&self) -> &str {
        &self.kind
    }

    /// The parameters by name.
    #[must_use]
    pub fn params(&self) -> &Map<String, Value> {
        &self.params
    }

    /// The parameters, to change them.
    pub fn params_mut(&mut self) -> &mut Map<String, Value> {
        &mut self.params
    }
}

impl Serialize for ControllerSpec {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        map.serialize_entry(&self.kind, &self.params)?;
        map.end()
    }
}

impl<'de> Deserialize<'de> for ControllerSpec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            // A kind without parameters may be written as its name alone.
            Value::String(kind) => Ok(Self::new(kind, Map::new())),
            Value::Object(kinds) if kinds.len() == 1 => match kinds.into_iter().next() {
                Some((kind, Value::Object(params))) => Ok(Self::new(kind, params)),
                _ => Err(D::Error::custom("the parameters of a controller are not an object")),
            },
            _ => Err(D::Error::custom("a controller is not an object with its kind alone")),
        }
    }
}

/// Whether lower or higher values of a metric are better.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Lower is better.
    #[default]
    Min,
    /// Higher is better.
    Max,
}

/// The meaning of a threshold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdMode {
    /// A fraction of the best value.
    #[default]
    Rel,
    /// An absolute difference.
    Abs,
}

/// What happens when a threshold is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ThresholdAction {
    /// It is recorded and told, and changes nothing.
    #[default]
    Notice,
    /// The trainer is advised to stop.
    Stop,
    /// The rates fall to 0, and then the trainer is advised to stop.
    Cooldown,
    /// The rates are multiplied by a factor.
    Cut,
}

impl ThresholdAction {
    /// Every action.
    pub const ALL: [Self; 4] = [Self::Notice, Self::Stop, Self::Cooldown, Self::Cut];
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_controller_is_its_kind_and_parameters() {
        let written = json!({"greedy": {"patience": 3}});
        let spec: ControllerSpec = serde_json::from_value(written.clone()).unwrap();
        assert_eq!((spec.kind(), &spec.params()["patience"]), ("greedy", &json!(3)));
        assert_eq!(serde_json::to_value(&spec).unwrap(), written);
        assert_eq!(serde_json::from_value::<ControllerSpec>(json!("auto")).unwrap().kind(), "auto");
    }

    #[test]
    fn anything_else_is_no_controller() {
        for wrong in [json!({}), json!({"auto": {}, "greedy": {}}), json!({"auto": 3}), json!(null)] {
            assert!(serde_json::from_value::<ControllerSpec>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
