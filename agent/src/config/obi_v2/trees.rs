//! Taking trees apart.

use super::super::{
    error::Problem,
    node::{Node, Value},
};

pub(super) fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

/// Takes out what stands at a dotted path; nothing where that says nothing.
pub(super) fn take(tree: &mut Node, path: &str) -> Option<Node> {
    let (parent, name) = match path.rsplit_once('.') {
        Some((parent, name)) => (tree.get_mut(parent)?, name),
        None => (tree, path),
    };
    let Value::Map(entries) = &mut parent.value else { return None };
    let index = entries.iter().position(|(key, _)| key.name == name)?;
    let (_, node) = entries.remove(index);
    (node.value != Value::Null).then_some(node)
}

/// Within a list, what stands below `name` in the first item that has it.
pub(super) fn item_with<'a>(list: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    let Value::Seq(items) = &mut list.value else { return None };
    items.iter_mut().find_map(|item| item.get_mut(name))
}

/// Whether there is no value in a tree.
pub(super) fn is_nothing(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Scalar { .. } => false,
        Value::Seq(items) => items.iter().all(is_nothing),
        Value::Map(entries) => entries.iter().all(|(_, node)| is_nothing(node)),
    }
}

/// Names the values that were not read.
pub(super) fn left(node: &Node, path: &str, warnings: &mut Vec<Problem>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar { text, .. } if text.is_empty() => {}
        Value::Scalar { .. } => {
            let message = "is an option of OBI's configuration 2.0 that is not supported; it is ignored";
            warnings.push(Problem::at(node.origin.clone(), path, message));
        }
        Value::Seq(items) => items.iter().for_each(|item| left(item, &format!("{path}[]"), warnings)),
        Value::Map(entries) => {
            entries.iter().for_each(|(key, node)| left(node, &format!("{path}.{}", key.name), warnings));
        }
    }
}
