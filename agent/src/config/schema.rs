//! The JSON Schema of the configuration, from the typed structure.

use super::Config;

/// The schema, draft 2020-12.
pub(crate) fn schema() -> serde_json::Value {
    let mut schema = schemars::schema_for!(Config).to_value();
    schema["title"] = "beyla-rs configuration".into();
    schema["$defs"]["LogLevel"]["description"] = "How much is logged; case does not matter.".into();
    schema
}
