//! `OTEL_SEMCONV_STABILITY_OPT_IN`: which names instrumentation is to use while conventions become stable
//! (<https://opentelemetry.io/docs/specs/semconv/non-normative/>). This agent has the stable ones from the beginning, so that only
//! who asks for the older ones beside them (`/dup`) is given something else.

use super::{
    error::Problem,
    node::{Node, Origin},
};

pub(super) const NAME: &str = "OTEL_SEMCONV_STABILITY_OPT_IN";
/// Conventions that it speaks of.
const CATEGORIES: [&str; 8] =
    ["http", "rpc", "database", "messaging", "code", "k8s", "gen_ai_latest_experimental", "service.peer"];

/// Takes up what it `says`: of remote calls, metrics have their older names too.
pub(super) fn read(says: &str, tree: &mut Node, warnings: &mut Vec<Problem>) {
    let origin = || Origin::env(NAME);
    for word in says.split(',').map(str::trim).filter(|word| !word.is_empty()) {
        let mut warn = |message: String| warnings.push(Problem::at(origin(), "", message));
        match word.strip_suffix("/dup") {
            Some("rpc") => tree.set("telemetry.naming", Node::text("both", origin())),
            Some(category) if CATEGORIES.contains(&category) => {
                warn(format!("`{word}`: there are no older names of `{category}` here, only the stable ones"));
            }
            None if CATEGORIES.contains(&word) => {}
            _ => warn(format!("`{word}` is no known category; it is ignored")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn older_names_are_had_where_there_are_some() {
        let asked = |value: &str| {
            let (mut tree, mut warnings) = (Node::empty_map(Origin::Default), Vec::new());
            read(value, &mut tree, &mut warnings);
            let naming = tree.get("telemetry.naming").map(|node| format!("{:?}", node.value));
            (naming.is_some_and(|text| text.contains("both")), warnings.len())
        };
        assert_eq!(asked(""), (false, 0));
        assert_eq!(asked("http,database, rpc"), (false, 0));
        assert_eq!(asked("http/dup,rpc/dup"), (true, 1));
        assert_eq!(asked("htpp"), (false, 1));
    }
}
