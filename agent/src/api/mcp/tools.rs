//! The tools: what each is asked, which question of the query API that is, and what of its answer is told.

use serde_json::{Map, Value as Json, json};

use super::shorten::shorten;

/// A tool.
pub(super) struct Tool {
    name: &'static str,
    title: &'static str,
    description: &'static str,
    parameters: &'static [Parameter],
    /// The path of its question; `{}` stands for the argument that is required.
    path: &'static str,
    /// Keys of the answer that are not told.
    dropped: &'static [&'static str],
    /// Most entries of a list of it.
    items: usize,
    /// A list of the answer whose entries with the most requests are told first, wherever it has more than fit.
    by_requests: &'static [&'static str],
}

/// What a tool is asked by.
#[derive(Clone, Copy)]
struct Parameter {
    name: &'static str,
    kind: Kind,
    description: &'static str,
    is_required: bool,
}

#[derive(Clone, Copy)]
enum Kind {
    Text,
    /// From 1 to the most that there are.
    Count(u64),
    Texts,
    OneOf(&'static [&'static str]),
}

/// Longest text that is taken as an argument.
const ARGUMENT_MAX: usize = 1024;
/// Most texts of a list.
const TEXTS_MAX: usize = 8;
/// Most traces and requests that are told.
const FOUND_MAX: u64 = 20;

/// Why a tool cannot be called with the arguments that it was given.
#[derive(Debug, PartialEq, thiserror::Error)]
pub(super) enum ArgumentError {
    #[error("`arguments` is no object")]
    NoObject,
    #[error("{tool} has no argument {unknown}; it has: {known}")]
    Unknown { tool: &'static str, unknown: Json, known: String },
    #[error("{0} is missing")]
    Missing(&'static str),
    #[error("{name}: {fault}")]
    Wrong { name: &'static str, fault: Fault },
}

/// What is wrong with an argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Fault {
    #[error("it is empty")]
    Empty,
    #[error("it is longer than {} bytes", ARGUMENT_MAX)]
    Long,
    #[error("it is no text")]
    NoText,
    #[error("it is no number from 1 to {0}")]
    NoCount(u64),
    #[error("it is no list of at most {} texts", TEXTS_MAX)]
    NoTexts,
    #[error("it is none of {}", .0.join(", "))]
    NoneOf(&'static [&'static str]),
}

const fn optional(name: &'static str, kind: Kind, description: &'static str) -> Parameter {
    Parameter { name, kind, description, is_required: false }
}

const fn required(name: &'static str, description: &'static str) -> Parameter {
    Parameter { name, kind: Kind::Text, description, is_required: true }
}

const WINDOW: Parameter =
    optional("window", Kind::Text, "The time that rates are of, such as 60s (default), 15m, 6h; at most a day");
const NAMESPACE: Parameter = optional("namespace", Kind::Text, "service.namespace, where there are several of a name");
const LIMIT: Parameter = optional("limit", Kind::Count(FOUND_MAX), "How many; default: 10");

/// Which spans are asked for.
const FILTER: &[Parameter] = &[
    optional("service", Kind::Text, "service.name"),
    NAMESPACE,
    optional("name", Kind::Text, "Name of the span, such as 'GET /items/{id}'"),
    optional("kind", Kind::OneOf(&["server", "client", "producer", "consumer"]), "Which end of requests"),
    optional("status", Kind::OneOf(&["error", "ok"]), "Those that failed, or those that did not"),
    optional("min_duration", Kind::Text, "That took as long, such as 200ms"),
    optional("max_duration", Kind::Text, "That took no longer, such as 1s"),
    optional("attribute", Kind::Texts, "Attributes of the span or its resource, as key=value"),
    optional("q", Kind::Text, "A text in name, service, path, status or address"),
    optional("sort", Kind::OneOf(&["latest", "slowest"]), "What comes first; default: the latest"),
    LIMIT,
];

const TOOLS: &[Tool] = &[
    Tool {
        name: "list_services",
        title: "Services",
        description: "All services that are watched, the most asked first: requests answered (served) and made, each with rate a second, share that failed (0 to 1) and p50, p95, p99 in ms.",
        parameters: &[WINDOW],
        path: "/api/v1/services",
        dropped: &["sparkline"],
        items: 50,
        by_requests: &[],
    },
    Tool {
        name: "get_service",
        title: "One service",
        description: "One service: its rates, its routes, who asks it (callers), whom it asks (calls), its slowest and its latest failed requests with their trace ids.",
        parameters: &[required("name", "service.name"), NAMESPACE, WINDOW],
        path: "/api/v1/services/{}",
        dropped: &["sparkline", "over_time", "instances", "number"],
        items: 20,
        by_requests: &[],
    },
    Tool {
        name: "get_service_map",
        title: "Who asks whom",
        description: "The graph of services: nodes (services, users outside, databases, brokers and other addresses that are asked) and edges between their ids, with rate, share that failed and durations; those with the most requests first.",
        parameters: &[WINDOW],
        path: "/api/v1/graph",
        dropped: &[],
        items: 60,
        by_requests: &["nodes", "edges"],
    },
    Tool {
        name: "find_traces",
        title: "Find traces",
        description: "Traces with a span that is as asked for: id, root, the span that was found, number of spans and errors, services, duration.",
        parameters: FILTER,
        path: "/api/v1/traces",
        dropped: &["number"],
        items: FOUND_MAX as usize,
        by_requests: &[],
    },
    Tool {
        name: "get_trace",
        title: "One trace",
        description: "All spans of a trace with their attributes: who asked whom, when (offset_ms), how long, what failed, and what each parent is known by (evidence).",
        parameters: &[required("trace_id", "32 hexadecimal digits")],
        path: "/api/v1/traces/{}",
        dropped: &["number", "resource", "trace_state"],
        items: 60,
        by_requests: &[],
    },
    Tool {
        name: "find_requests",
        title: "Find single requests",
        description: "Single requests that are as asked for: the latest or the slowest, those that failed (status=error), with their trace ids.",
        parameters: FILTER,
        path: "/api/v1/spans",
        dropped: &["number"],
        items: FOUND_MAX as usize,
        by_requests: &[],
    },
    Tool {
        name: "list_processes",
        title: "What is watched, and what not",
        description: "Processes that are watched: service, language, ports, TLS libraries; why what is encrypted is not seen where it is not (unseen), and whether there were requests (has_spans). What is not here is not watched.",
        parameters: &[],
        path: "/api/v1/processes",
        dropped: &[],
        items: 50,
        by_requests: &[],
    },
    Tool {
        name: "get_agent",
        title: "The agent itself",
        description: "What the agent lost or cannot see and what to do about it (losses; empty: nothing), what it remembers and since when, and what it costs.",
        parameters: &[],
        path: "/api/v1/agent",
        dropped: &["metrics"],
        items: 50,
        by_requests: &[],
    },
];

/// All, as `tools/list` tells them.
pub(super) fn list() -> Json {
    TOOLS.iter().map(Tool::described).collect()
}

/// The one of this name.
pub(super) fn find(name: &str) -> Option<&'static Tool> {
    TOOLS.iter().find(|tool| tool.name == name)
}

impl Tool {
    fn described(&self) -> Json {
        let properties: Map<String, Json> =
            self.parameters.iter().map(|parameter| (parameter.name.to_owned(), parameter.schema())).collect();
        let required: Vec<&str> = self.parameters.iter().filter(|it| it.is_required).map(|it| it.name).collect();
        json!({
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": { "type": "object", "properties": properties, "required": required, "additionalProperties": false },
            "annotations": { "readOnlyHint": true, "openWorldHint": false },
        })
    }

    /// Its question with these arguments.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub(super) fn path(&self, arguments: &Json) -> Result<String, ArgumentError> {
        let none = Map::new();
        let arguments = match arguments {
            Json::Object(arguments) => arguments,
            Json::Null => &none,
            _ => return Err(ArgumentError::NoObject),
        };
        if let Some(unknown) = arguments.keys().find(|key| !self.parameters.iter().any(|it| it.name == key.as_str())) {
            let known: Vec<&str> = self.parameters.iter().map(|it| it.name).collect();
            let (tool, unknown, known) = (self.name, Json::from(unknown.as_str()), known.join(", "));
            return Err(ArgumentError::Unknown { tool, unknown, known });
        }
        let mut path = self.path.to_owned();
        let mut query = form_urlencoded::Serializer::new(String::new());
        for parameter in self.parameters {
            let values = match arguments.get(parameter.name) {
                None | Some(Json::Null) if parameter.is_required => {
                    return Err(ArgumentError::Missing(parameter.name));
                }
                None | Some(Json::Null) => continue,
                Some(value) => parameter.values(value)?,
            };
            for value in values {
                if parameter.is_required {
                    // A blank in a path is no plus.
                    let part: String = form_urlencoded::byte_serialize(value.as_bytes()).collect();
                    path = path.replace("{}", &part.replace('+', "%20"));
                } else {
                    query.append_pair(parameter.name, &value);
                }
            }
        }
        if self.parameters.iter().any(|it| it.name == LIMIT.name) && !arguments.contains_key(LIMIT.name) {
            query.append_pair(LIMIT.name, "10");
        }
        let query = query.finish();
        Ok(if query.is_empty() { path } else { format!("{path}?{query}") })
    }

    /// What of the answer is told.
    pub(super) fn told(&self, mut answer: Json) -> Json {
        for key in self.by_requests {
            let requests = |it: &Json| it.pointer("/rates/requests").and_then(Json::as_u64).unwrap_or(0);
            if let Some(list) = answer.get_mut(key).and_then(Json::as_array_mut) {
                list.sort_by_key(|it| std::cmp::Reverse(requests(it)));
            }
        }
        if let Json::Array(list) = answer {
            answer = json!({ "found": list });
        }
        shorten(&answer, self.dropped, self.items)
    }
}

impl Parameter {
    fn schema(&self) -> Json {
        let mut schema = match self.kind {
            Kind::Text => json!({ "type": "string" }),
            Kind::Count(most) => json!({ "type": "integer", "minimum": 1, "maximum": most }),
            Kind::Texts => json!({ "type": "array", "items": { "type": "string" }, "maxItems": TEXTS_MAX }),
            Kind::OneOf(words) => json!({ "type": "string", "enum": words }),
        };
        schema["description"] = self.description.into();
        schema
    }

    fn values(&self, value: &Json) -> Result<Vec<String>, ArgumentError> {
        let wrong = |fault| ArgumentError::Wrong { name: self.name, fault };
        let text = |value: &Json| match value.as_str() {
            Some("") if self.is_required => Err(wrong(Fault::Empty)),
            Some(text) if text.len() <= ARGUMENT_MAX => Ok(text.to_owned()),
            Some(_) => Err(wrong(Fault::Long)),
            None => Err(wrong(Fault::NoText)),
        };
        match self.kind {
            Kind::Text => Ok(vec![text(value)?]),
            Kind::Count(most) => match value.as_u64() {
                Some(count) if (1..=most).contains(&count) => Ok(vec![count.to_string()]),
                _ => Err(wrong(Fault::NoCount(most))),
            },
            Kind::Texts => match value.as_array() {
                Some(list) if list.len() <= TEXTS_MAX => list.iter().map(text).collect(),
                _ => Err(wrong(Fault::NoTexts)),
            },
            Kind::OneOf(words) => match value.as_str().filter(|word| words.contains(word)) {
                Some(word) => Ok(vec![word.to_owned()]),
                None => Err(wrong(Fault::NoneOf(words))),
            },
        }
    }
}
