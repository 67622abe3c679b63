//! Which processes: rules become entries of `discovery.instrument` and `discovery.exclude_instrument`.

use super::{
    super::{
        error::Problem,
        node::{Key, Node, Value},
        pattern::REGEX_PREFIX,
    },
    trees::{is_nothing, left, take, text_of},
};

/// Matches no path.
const NOTHING: &str = "^$";

/// A rule that asks for what is not known is refused: without it other processes are watched than were meant.
pub(super) fn selection(obi: &mut Node, ours: &mut Node, refused: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    let excludes_rest =
        take(obi, "capture.policy.default_action").is_some_and(|node| text_of(&node) == Some("exclude"));
    let order = take(obi, "capture.policy.match_order");
    let Some(Node { value: Value::Seq(mut rules), origin }) = take(obi, "capture.rules") else {
        if excludes_rest {
            ours.set("discovery.instrument", nothing(obi));
        }
        return;
    };
    if order.is_some_and(|node| text_of(&node) == Some("last_match_wins")) {
        rules.reverse();
    }
    let (mut included, mut excluded) = (Vec::new(), Vec::new());
    for mut rule in rules {
        let place = rule.origin.clone();
        let action = take(&mut rule, "action");
        let includes = action.as_ref().and_then(text_of) == Some("include");
        for said in ["name", "description"] {
            let _for_readers = take(&mut rule, said);
        }
        // Of services that export, what they describe themselves is not told in any case.
        let exports_otlp = take(&mut rule, "match.process.exports_otlp");
        let mut criterion = criterion(&mut rule);
        let chooses = !criterion.is_empty();
        if let Some(exports) = exports_otlp.as_ref().filter(|_| includes || chooses) {
            let (key, origin) = ("extensions.obi.capture.rules[].match.process.exports_otlp", exports.origin.clone());
            if includes {
                let message = "chooses no processes here: that a service exports is known once it does";
                refused.push(Problem::at(origin, key, message));
            } else {
                let message = "leaves its rule out: what services that export describe is not told a second time (`discovery.sdk`), the rest of them is";
                warnings.push(Problem::at(origin, key, message));
                continue;
            }
        }
        if includes {
            refine(&mut rule, &mut criterion);
        } else if chooses && !included.is_empty() {
            let message = "excludes also what a rule before it includes";
            warnings.push(Problem::at(place.clone(), "extensions.obi.capture.rules", message));
        }
        if let Some(unknown) = take(&mut rule, "match").filter(|rest| !is_nothing(rest)) {
            unknown_of(&unknown, "extensions.obi.capture.rules[].match", refused);
        }
        left(&rule, "extensions.obi.capture.rules[]", warnings);
        match (chooses, includes) {
            (true, true) => included.push(criterion),
            (true, false) => excluded.push(criterion),
            (false, _) if exports_otlp.is_some() => {}
            (false, _) => {
                let message = "is left out: it asks for nothing";
                warnings.push(Problem::at(place, "extensions.obi.capture.rules", message));
            }
        }
    }
    let list = |items| Node { value: Value::Seq(items), origin: origin.clone() };
    if included.is_empty() && excludes_rest {
        ours.set("discovery.instrument", nothing(obi));
    } else if !included.is_empty() {
        if included.len() > 1 {
            included.iter_mut().for_each(inherits_nothing);
        }
        if !excludes_rest {
            let mut all = Node::empty_map(origin.clone());
            all.set("exe_path", Node::text("*", origin.clone()));
            included.push(all);
        }
        // There the last one that matches says what is set.
        included.reverse();
        ours.set("discovery.instrument", list(included));
    }
    if !excluded.is_empty() {
        ours.set("discovery.exclude_instrument", list(excluded));
    }
}

/// Names what is left of what a rule asks for.
fn unknown_of(node: &Node, path: &str, refused: &mut Vec<Problem>) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            entries.iter().for_each(|(key, node)| unknown_of(node, &format!("{path}.{}", key.name), refused));
        }
        _ if is_nothing(node) => {}
        _ => refused.push(Problem::at(
            node.origin.clone(),
            path,
            "is not known: without it the rule would choose other processes",
        )),
    }
}

/// What a rule does not set is as for all, whatever another rule sets that matches too: it is set to that.
fn inherits_nothing(criterion: &mut Node) {
    let origin = criterion.origin.clone();
    if criterion.get("exports").is_none() {
        criterion.set("exports", Node::list(["traces", "metrics"].map(str::to_owned), origin.clone()));
    }
    if criterion.get("routes").is_none() {
        criterion.set("routes.incoming", Node::list([], origin));
    }
}

/// A list of one entry that chooses no process.
fn nothing(place: &Node) -> Node {
    let mut entry = Node::empty_map(place.origin.clone());
    entry.set("exe_path", Node::text(format!("{REGEX_PREFIX}{NOTHING}"), place.origin.clone()));
    Node { value: Value::Seq(vec![entry]), origin: place.origin.clone() }
}

/// An entry of `discovery.instrument` out of what a rule matches.
fn criterion(rule: &mut Node) -> Node {
    let mut ours = Node::empty_map(rule.origin.clone());
    for key in ["open_ports", "target_pids", "containers_only"] {
        if let Some(node) = take(rule, &format!("match.process.{key}")) {
            ours.set(key, joined(node));
        }
    }
    for (ending, combine) in [("_glob", any_of as fn(Node) -> Node), ("_regex", any_expression)] {
        for (theirs, key) in [
            ("match.process.exe_path", "exe_path"),
            ("match.process.cmd_args", "cmd_args"),
            ("match.process.language", "languages"),
            ("match.kubernetes.namespace", "k8s_namespace"),
        ] {
            if let Some(node) = take(rule, &format!("{theirs}{ending}")) {
                ours.set(key, combine(node));
            }
        }
    }
    for (theirs, key, combine) in [
        ("match.kubernetes.metadata_glob", None, any_of as fn(Node) -> Node),
        ("match.kubernetes.metadata_regex", None, any_expression),
        ("match.kubernetes.pod_labels_glob", Some("k8s_pod_labels"), any_of),
        ("match.kubernetes.pod_labels_regex", Some("k8s_pod_labels"), any_expression),
        ("match.kubernetes.pod_labels", Some("k8s_pod_labels"), any_of),
        ("match.kubernetes.pod_annotations_glob", Some("k8s_pod_annotations"), any_of),
        ("match.kubernetes.pod_annotations_regex", Some("k8s_pod_annotations"), any_expression),
        ("match.kubernetes.pod_annotations", Some("k8s_pod_annotations"), any_of),
    ] {
        let Some(Node { value: Value::Map(entries), origin }) = take(rule, theirs) else { continue };
        let entries: Vec<(Key, Node)> = entries.into_iter().map(|(name, some)| (name, combine(some))).collect();
        match key {
            Some(key) => ours.set(key, Node { value: Value::Map(entries), origin }),
            None => entries.into_iter().for_each(|(name, pattern)| ours.set(&name.name, pattern)),
        }
    }
    ours
}

/// What is set for what a rule includes.
fn refine(rule: &mut Node, criterion: &mut Node) {
    let given = ["traces", "metrics"].map(|signal| (signal, take(rule, &format!("refine.exports.{signal}"))));
    if let Some(origin) = given.iter().find_map(|(_, node)| Some(node.as_ref()?.origin.clone())) {
        let is_off = |node: &Option<Node>| node.as_ref().and_then(text_of) == Some("false");
        let on = given.iter().filter(|(_, node)| !is_off(node)).map(|(signal, _)| (*signal).to_owned());
        criterion.set("exports", Node::list(on, origin));
    }
    for (theirs, key) in [
        ("refine.http.routes.patterns", "routes.incoming"),
        ("refine.http.routes.incoming.patterns", "routes.incoming"),
        ("refine.http.routes.outgoing.patterns", "routes.outgoing"),
    ] {
        if let Some(patterns) = take(rule, theirs) {
            criterion.set(key, patterns);
        }
    }
}

/// Several globs as one.
fn any_of(node: Node) -> Node {
    let Value::Seq(items) = &node.value else { return node };
    let globs: Vec<String> = items
        .iter()
        .filter_map(text_of)
        // A comma would part alternatives.
        .map(|glob| if glob.contains('{') { glob.to_owned() } else { glob.replace(',', "[,]") })
        .collect();
    let text = match items.as_slice() {
        [one] => text_of(one).unwrap_or_default().to_owned(),
        _ => format!("{{{}}}", globs.join(",")),
    };
    Node { value: Value::Scalar { text, is_plain: false }, origin: node.origin }
}

/// Several regular expressions as one.
fn any_expression(node: Node) -> Node {
    let items = match &node.value {
        Value::Seq(items) => items.as_slice(),
        _ => std::slice::from_ref(&node),
    };
    let text = match items {
        [one] => text_of(one).unwrap_or_default().to_owned(),
        _ => items.iter().filter_map(text_of).map(|one| format!("(?:{one})")).collect::<Vec<_>>().join("|"),
    };
    Node {
        value: Value::Scalar { text: format!("{REGEX_PREFIX}{text}"), is_plain: false },
        origin: node.origin.clone(),
    }
}

/// A list of numbers as one text.
fn joined(node: Node) -> Node {
    let Value::Seq(items) = &node.value else { return node };
    let text = items.iter().filter_map(text_of).collect::<Vec<_>>().join(",");
    Node::text(text, node.origin)
}
