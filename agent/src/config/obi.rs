//! What OBI and Beyla users bring along in older spellings, which are read as the newer ones.

use super::{
    error::Problem,
    node::{Key, Node, Value},
    pattern::{Glob, REGEX_PREFIX},
};

/// The newer name of a variable: `BEYLA_X` and `BEYLA_OTEL_X` are `OTEL_EBPF_X`.
pub(crate) fn canonical_variable(name: &str) -> Option<String> {
    let rest = name.strip_prefix("BEYLA_")?;
    Some(format!("OTEL_EBPF_{}", rest.strip_prefix("OTEL_").unwrap_or(rest)))
}

/// Keys that have another name since, of the same meaning.
const RENAMED: &[(&str, &str, &str)] = &[
    ("otel_traces_export", "max_queue_size", "queue_size"),
    ("otel_traces_export", "max_export_batch_size", "batch_max_size"),
];

/// Rewrites the older spellings of one layer: `trace_printer`, `executable_name`, and `discovery.services` with its kin.
/// What is said in both spellings is a contradiction; what OBI itself ignores is a warning.
pub(crate) fn modernise(layer: &mut Node, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    for (section, older, newer) in RENAMED {
        let Some(section_node) = layer.get_mut(section) else { continue };
        let Some((key, node)) = take(section_node, older) else { continue };
        if section_node.get(newer).is_some_and(|node| node.value != Value::Null) {
            problems.push(contradiction(&key, &format!("{section}.{older}"), &format!("{section}.{newer}")));
        } else {
            section_node.set(newer, node);
        }
    }
    print_traces(layer, problems);
    system_wide(layer, problems, warnings);
    if let Some((key, printer)) = take(layer, "trace_printer") {
        let mode = match text_of(&printer).map(str::to_ascii_lowercase).as_deref() {
            Some("disabled" | "off" | "false" | "") | None => Some("off"),
            Some("text") => Some("text"),
            Some("json" | "json_indent") => Some("json"),
            Some("counter") => {
                warnings.push(Problem::at(
                    printer.origin.clone(),
                    "trace_printer",
                    "`counter` is not supported; printing is off",
                ));
                Some("off")
            }
            _ => None,
        };
        match mode {
            None => problems.push(Problem::at(
                printer.origin.clone(),
                "trace_printer",
                format!("`{}` is none of disabled, text, json, json_indent", text_of(&printer).unwrap_or_default()),
            )),
            Some(mode) => match layer.get("print").and_then(text_of) {
                Some(print) if !print.eq_ignore_ascii_case(mode) => {
                    problems.push(contradiction(&key, "trace_printer", "print"))
                }
                Some(_) => {}
                None => layer.set("print", Node::text(mode, printer.origin)),
            },
        }
    }
    for older in ["executable_name", "executable_path"] {
        let Some((key, name)) = take(layer, older) else { continue };
        let Some(text) = text_of(&name).filter(|text| !text.is_empty()) else { continue };
        match layer.get("auto_target_exe") {
            Some(_) => problems.push(contradiction(&key, older, "auto_target_exe")),
            None => {
                let pattern = format!("{REGEX_PREFIX}{text}");
                layer.set("auto_target_exe", Node { value: Value::Scalar { text: pattern, is_plain: false }, ..name });
            }
        }
    }
    source_labels(layer);
    for (older, newer) in [
        ("services", "instrument"),
        ("exclude_services", "exclude_instrument"),
        ("default_exclude_services", "default_exclude_instrument"),
    ] {
        let Some(Node { value: Value::Map(entries), .. }) = layer.section_mut("discovery") else { continue };
        let Some(index) = entries.iter().position(|(key, _)| key.name == older) else { continue };
        let (key, mut list) = entries.remove(index);
        if list.value == Value::Null {
            continue;
        }
        if entries.iter().any(|(key, _)| key.name == newer) {
            let message = format!("is ignored, because `discovery.{newer}` is set");
            warnings.push(Problem::at(key.origin, format!("discovery.{older}"), message));
            continue;
        }
        if let Value::Seq(items) = &mut list.value {
            items.iter_mut().for_each(|item| expressions(item, problems, warnings));
        }
        entries.push((Key { name: newer.to_owned(), origin: key.origin }, list));
    }
}

/// `print_traces` of Beyla 1.x: what `trace_printer` says goes before it, as it did there.
fn print_traces(layer: &mut Node, problems: &mut Vec<Problem>) {
    let Some((_, printed)) = take(layer, "print_traces") else { return };
    let said = |name: &str| layer.get(name).and_then(text_of).is_some_and(|text| !text.is_empty());
    let mode = match text_of(&printed).unwrap_or_default().to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => "text",
        "false" | "0" | "f" | "" => "off",
        other => {
            let message = format!("`{other}` is neither true nor false; write `print: text` or `print: off` instead");
            return problems.push(Problem::at(printed.origin, "print_traces", message));
        }
    };
    if !said("trace_printer") && !said("print") {
        layer.set("print", Node::text(mode, printed.origin));
    }
}

/// `discovery.system_wide` of Beyla 1.x, once also at the top: all is watched, which is what happens where nothing is chosen.
fn system_wide(layer: &mut Node, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    let at_top = take(layer, "system_wide").map(|found| ("system_wide", found));
    let of_discovery = || Some(("discovery.system_wide", take(layer.section_mut("discovery")?, "system_wide")?));
    let Some((name, (_, node))) = at_top.or_else(of_discovery) else { return };
    match text_of(&node).unwrap_or_default().to_ascii_lowercase().as_str() {
        "false" | "0" | "f" | "" => return,
        "true" | "1" | "t" => {}
        other => {
            let message =
                format!("`{other}` is neither true nor false; leave it out, and choose nothing, to watch all");
            return problems.push(Problem::at(node.origin, name, message));
        }
    }
    let chosen = ["open_port", "executable_name", "auto_target_exe", "discovery.services", "discovery.instrument"];
    if let Some(chosen) = chosen.into_iter().find(|key| layer.get(key).is_some_and(|node| !node.is_empty())) {
        let message = format!("is not used, because `{chosen}` chooses what is watched; leave that out to watch all");
        warnings.push(Problem::at(node.origin, name, message));
    }
}

/// `meta_source_labels`: one label that names a service, or its namespace, before any other.
fn source_labels(layer: &mut Node) {
    const KUBERNETES: &str = "attributes.kubernetes";
    let Some(kubernetes) = layer.get_mut(KUBERNETES) else { return };
    let Some((_, labels)) = take(kubernetes, "meta_source_labels") else { return };
    for (name, attribute) in [("service_name", "service.name"), ("service_namespace", "service.namespace")] {
        let Some(label) = labels.entry(name).filter(|label| text_of(label).is_some_and(|text| !text.is_empty())) else {
            continue;
        };
        let all = match kubernetes.section_mut("resource_labels") {
            Some(all) => all,
            None => {
                kubernetes.set("resource_labels", Node::empty_map(label.origin.clone()));
                let Some(all) = kubernetes.section_mut("resource_labels") else { return };
                all
            }
        };
        if !matches!(all.value, Value::Map(_)) {
            all.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut all.value else { return };
        match entries.iter_mut().find(|(key, _)| key.name == attribute) {
            Some((_, Node { value: Value::Seq(items), .. })) => items.insert(0, label.clone()),
            Some(_) => {}
            // The name of an attribute has dots.
            None => {
                let list = Node { value: Value::Seq(vec![label.clone()]), origin: label.origin.clone() };
                entries.push((Key { name: attribute.to_owned(), origin: label.origin.clone() }, list));
            }
        }
    }
}

fn contradiction(key: &Key, one: &str, other: &str) -> Problem {
    Problem::at(key.origin.clone(), one, format!("contradicts `{other}`; keep one of them"))
}

/// Marks the patterns of an older entry as the regular expressions that they are.
fn expressions(entry: &mut Node, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    let Value::Map(fields) = &mut entry.value else { return };
    if let Some(index) = fields.iter().position(|(key, _)| key.name == "exe_path_regexp") {
        let (key, node) = fields.remove(index);
        if fields.iter().any(|(other, _)| other.name == "exe_path") {
            problems.push(contradiction(&key, "exe_path_regexp", "exe_path"));
        } else {
            fields.push((Key { name: "exe_path".to_owned(), ..key }, node));
        }
    }
    for (key, node) in fields {
        let is_pattern = matches!(key.name.as_str(), "exe_path" | "cmd_args" | "languages" | "container_name")
            || key.name.starts_with("k8s_");
        if is_pattern {
            mark(node, warnings);
        }
    }
}

/// What is no regular expression is a pattern as those of today: for some time, OBI read them there.
fn mark(node: &mut Node, warnings: &mut Vec<Problem>) {
    match &mut node.value {
        Value::Scalar { text, is_plain } if !text.is_empty() => {
            let marked = format!("{REGEX_PREFIX}{text}");
            if marked.parse::<Glob>().is_err() && text.parse::<Glob>().is_ok() {
                let message = format!("`{text}` is no regular expression; it is read as a glob");
                warnings.push(Problem::at(node.origin.clone(), "", message));
            } else {
                *text = marked;
            }
            *is_plain = false;
        }
        Value::Map(entries) => entries.iter_mut().for_each(|(_, node)| mark(node, warnings)),
        _ => {}
    }
}

fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

fn take(layer: &mut Node, name: &str) -> Option<(Key, Node)> {
    let Value::Map(entries) = &mut layer.value else { return None };
    let index = entries.iter().position(|(key, _)| key.name == name)?;
    let (key, node) = entries.remove(index);
    (node.value != Value::Null).then_some((key, node))
}

impl Node {
    fn section_mut(&mut self, name: &str) -> Option<&mut Self> {
        let Value::Map(entries) = &mut self.value else { return None };
        entries.iter_mut().find(|(key, _)| key.name == name).map(|(_, node)| node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyla_names_of_variables_are_obi_names() {
        assert_eq!(canonical_variable("BEYLA_OPEN_PORT").unwrap(), "OTEL_EBPF_OPEN_PORT");
        assert_eq!(canonical_variable("BEYLA_OTEL_METRICS_TTL").unwrap(), "OTEL_EBPF_METRICS_TTL");
        assert_eq!(canonical_variable("OTEL_EBPF_OPEN_PORT"), None);
    }

    #[test]
    fn keys_of_beyla_1_are_read_as_those_of_today() {
        let read = |text: &str| {
            let environment = super::super::env::Environment::default();
            let mut tree = super::super::yaml::parse("a.yaml", text, &environment, &mut Vec::new()).unwrap();
            let (mut problems, mut warnings) = (vec![], vec![]);
            modernise(&mut tree, &mut problems, &mut warnings);
            let shown = |list: Vec<Problem>| list.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ");
            let print = tree.get("print").and_then(text_of).map(str::to_owned);
            (print, tree, shown(problems), shown(warnings))
        };
        let print = |text: &str| read(text).0;
        assert_eq!(print("print_traces: true\n").as_deref(), Some("text"));
        assert_eq!(print("print_traces: false\n").as_deref(), Some("off"));
        assert_eq!(print("print_traces: true\ntrace_printer: json\n").as_deref(), Some("json"));
        assert!(read("print_traces: maybe\n").2.contains("write `print: text`"));
        for text in ["system_wide: true\n", "discovery: {system_wide: true}\n", "system_wide: false\nopen_port: 80\n"] {
            let (_, tree, problems, warnings) = read(text);
            assert_eq!((problems.as_str(), warnings.as_str()), ("", ""), "{text}");
            assert!(tree.get("system_wide").is_none() && tree.get("discovery.system_wide").is_none(), "{text}");
        }
        let (.., warnings) = read("system_wide: true\nopen_port: 80\n");
        assert!(warnings.contains("`open_port` chooses what is watched"), "{warnings}");
        let (_, tree, problems, _) = read("otel_traces_export: {max_queue_size: 100, max_export_batch_size: 10}\n");
        let text = |key: &str| tree.get(key).and_then(text_of);
        assert_eq!(
            (text("otel_traces_export.queue_size"), text("otel_traces_export.batch_max_size")),
            (Some("100"), Some("10"))
        );
        assert_eq!(problems, "");
        let both = read("otel_traces_export: {max_queue_size: 100, queue_size: 10}\n").2;
        assert!(both.contains("contradicts `otel_traces_export.queue_size`"), "{both}");
    }

    #[test]
    fn older_selection_becomes_newer_selection_with_expressions() {
        let environment = super::super::env::Environment::default();
        let text = "discovery:\n  services:\n    - exe_path_regexp: ^/opt/\n      open_ports: 80\n      k8s_pod_labels: {app: a|b}\n";
        let mut tree = super::super::yaml::parse("a.yaml", text, &environment, &mut Vec::new()).unwrap();
        let (mut problems, mut warnings) = (vec![], vec![]);
        modernise(&mut tree, &mut problems, &mut warnings);
        assert_eq!((problems, warnings), (vec![], vec![]));
        let discovery: super::super::discovery::Discovery =
            super::super::de::from_node(&mut tree.get("discovery").unwrap().clone()).unwrap();
        let [entry] = discovery.instrument.as_slice() else { panic!("{discovery:?}") };
        assert!(entry.exe_path.as_ref().unwrap().is_match("/opt/x/y"));
        assert!(entry.open_ports.contains(80));
        assert!(entry.k8s_pod_labels.get("app").unwrap().is_match("xbx"));
    }
}
