//! YAML text to a tree with places. Understands what OBI's files use: `${NAME}`, `${NAME:-fallback}` and `$$` inside
//! scalars, anchors, aliases and merge keys. Size, depth and the nodes that aliases make are bounded.
//!
//! Not by serde-saphyr: it reads into types at once, while values stay text here until all sources are laid over each other.
//! It gives no key its place, gives what stands behind a tag or in a map of any keys none, and does not tell `"1"` from `1`
//! where there is no type. What it is made of, the parser, is used here, so that its YAML is the same.

use std::{collections::HashMap, sync::Arc};

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, Span};
use thiserror::Error;

use super::{
    env::Environment,
    error::Problem,
    node::{Key, Node, Origin, Value},
};

/// A file larger than this is no configuration.
pub(crate) const MAX_FILE_BYTES: u64 = 1 << 20;
const MAX_DEPTH: usize = 64;
/// Bounds what aliases can multiply.
const MAX_NODES: usize = 100_000;

/// Reads one YAML document. What stands for nothing, since a variable is not set, is told in `warnings`.
///
/// # Errors
/// What is no YAML, a key twice in one map, more than one document, an unknown alias, too deep or too much; each with
/// its line and column.
pub(crate) fn parse(
    file: &str,
    text: &str,
    environment: &Environment,
    warnings: &mut Vec<Problem>,
) -> Result<Node, Problem> {
    built(file, text, Some(environment), warnings)
}

/// The same with `${NAME}` and `$$` as they are written.
///
/// # Errors
/// As [`parse`].
pub(crate) fn parse_as_written(file: &str, text: &str) -> Result<Node, Problem> {
    built(file, text, None, &mut Vec::new())
}

fn built(
    file: &str,
    text: &str,
    environment: Option<&Environment>,
    warnings: &mut Vec<Problem>,
) -> Result<Node, Problem> {
    let events = Parser::new_from_str(text);
    Builder { events, environment, warnings, anchors: HashMap::new(), nodes: 0, file: file.into() }.document()
}

struct Builder<'a, P> {
    events: P,
    environment: Option<&'a Environment>,
    warnings: &'a mut Vec<Problem>,
    anchors: HashMap<usize, Node>,
    nodes: usize,
    file: Arc<str>,
}

impl<'a, P> Builder<'_, P>
where
    P: Iterator<Item = Result<(Event<'a>, Span), saphyr_parser::ScanError>>,
{
    fn origin(&self, mark: &Marker) -> Origin {
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Origin::File { file: Arc::clone(&self.file), line: number(mark.line()), column: number(mark.col() + 1) }
    }

    fn problem(&self, mark: &Marker, message: impl Into<String>) -> Problem {
        Problem::at(self.origin(mark), "", message)
    }

    fn next(&mut self) -> Result<(Event<'a>, Span), Problem> {
        match self.events.next() {
            Some(Ok(event)) => Ok(event),
            Some(Err(error)) => {
                let message = format!("this is no YAML: {}", error.info());
                Err(self.problem(error.marker(), message))
            }
            None => Ok((Event::StreamEnd, Span::empty(Marker::new(0, 1, 0)))),
        }
    }

    fn document(&mut self) -> Result<Node, Problem> {
        let mut tree = Node::empty_map(self.origin(&Marker::new(0, 1, 0)));
        let mut documents = 0;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(tree),
                Event::StreamStart | Event::DocumentEnd | Event::Nothing => {}
                Event::DocumentStart(_) => {
                    documents += 1;
                    if documents > 1 {
                        return Err(self.problem(&span.start, "a second document; a configuration is one"));
                    }
                }
                event => {
                    let node = self.node(event, span, 0)?;
                    match node.value {
                        Value::Map(_) => tree = node,
                        Value::Null => {}
                        _ => return Err(self.problem(&span.start, "a configuration is a map of keys to values")),
                    }
                }
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            return Err(self.problem(&span.start, format!("nested deeper than {MAX_DEPTH}")));
        }
        self.count(1, &span)?;
        let origin = self.origin(&span.start);
        let (anchor, value) = match event {
            Event::Scalar(text, style, anchor, _) => (anchor, self.scalar(&text, style, &span)?),
            Event::SequenceStart(anchor, _) => (anchor, Value::Seq(self.sequence(depth)?)),
            Event::MappingStart(anchor, _) => (anchor, Value::Map(self.mapping(depth)?)),
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id).cloned() else {
                    return Err(self.problem(&span.start, "an alias of something unknown"));
                };
                self.count(size(&node), &span)?;
                return Ok(node);
            }
            _ => return Err(self.problem(&span.start, "unexpected here")),
        };
        let node = Node { value, origin };
        if anchor != 0 {
            self.anchors.insert(anchor, node.clone());
        }
        Ok(node)
    }

    fn count(&mut self, nodes: usize, span: &Span) -> Result<(), Problem> {
        self.nodes = self.nodes.saturating_add(nodes);
        if self.nodes > MAX_NODES {
            Err(self.problem(&span.start, format!("more than {MAX_NODES} values")))
        } else {
            Ok(())
        }
    }

    fn scalar(&mut self, text: &str, style: ScalarStyle, span: &Span) -> Result<Value, Problem> {
        let is_plain = style == ScalarStyle::Plain;
        let mut unset = Vec::new();
        let expanded = match self.environment {
            Some(environment) => expand(text, environment, &mut unset),
            None => Ok(text.to_owned()),
        };
        for name in unset {
            let message = format!("`${{{name}}}` is not set in the environment, and stands for nothing");
            self.warnings.push(self.problem(&span.start, message));
        }
        let text = expanded.map_err(|error| self.problem(&span.start, error.to_string()))?;
        if is_plain && matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL") {
            return Ok(Value::Null);
        }
        Ok(Value::Scalar { text, is_plain })
    }

    fn sequence(&mut self, depth: usize) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        loop {
            match self.next()? {
                (Event::SequenceEnd, _) => return Ok(items),
                (event, span) => items.push(self.node(event, span, depth + 1)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize) -> Result<Vec<(Key, Node)>, Problem> {
        let mut entries: Vec<(Key, Node)> = Vec::new();
        let mut merged = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let Event::Scalar(name, ..) = event else {
                return Err(self.problem(&span.start, "a key must be a word"));
            };
            let key = Key { name: name.into_owned(), origin: self.origin(&span.start) };
            let (event, value_span) = self.next()?;
            let node = self.node(event, value_span, depth + 1)?;
            if key.name == "<<" {
                merged.push(node);
            } else if entries.iter().any(|(known, _)| known.name == key.name) {
                return Err(Problem::at(key.origin, &key.name, "is given twice"));
            } else {
                entries.push((key, node));
            }
        }
        for node in merged {
            let maps = match node.value {
                Value::Seq(items) => items,
                _ => vec![node],
            };
            for map in maps {
                let Value::Map(more) = map.value else {
                    return Err(Problem::at(map.origin, "<<", "merges maps only"));
                };
                for (key, node) in more {
                    if !entries.iter().any(|(known, _)| known.name == key.name) {
                        entries.push((key, node));
                    }
                }
            }
        }
        Ok(entries)
    }
}

fn size(node: &Node) -> usize {
    match &node.value {
        Value::Null | Value::Scalar { .. } => 1,
        Value::Seq(items) => items.iter().map(size).sum::<usize>() + 1,
        Value::Map(entries) => entries.iter().map(|(_, node)| size(node)).sum::<usize>() + 1,
    }
}

/// A variable's name has no end.
#[derive(Clone, Copy, Debug, Error)]
#[error("`${{` without its `}}`; a plain `${{` is written `$${{`")]
struct Unclosed;

/// Puts the environment into `${NAME}` and `${NAME:-fallback}`, also written `${env:NAME}`; `$$` is one `$`, any other `$` stays. Names that are not set
/// and have no fallback are added to `unset`.
fn expand<'a>(text: &'a str, environment: &Environment, unset: &mut Vec<&'a str>) -> Result<String, Unclosed> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        let (before, after) = rest.split_at(at);
        out.push_str(before);
        if let Some(after) = after.strip_prefix("$$") {
            out.push('$');
            rest = after;
        } else if let Some(after) = after.strip_prefix("${") {
            let (inside, after) = after.split_once('}').ok_or(Unclosed)?;
            let (name, fallback) = inside.split_once(":-").map_or((inside, None), |(name, other)| (name, Some(other)));
            // As the declarative configuration has it.
            let name = name.strip_prefix("env:").unwrap_or(name);
            match (environment.get(name), fallback) {
                (Some(value), _) if !value.is_empty() => out.push_str(value),
                (_, Some(fallback)) => out.push_str(fallback),
                (Some(_), None) => {}
                (None, None) => unset.push(name),
            }
            rest = after;
        } else {
            out.push('$');
            rest = after.strip_prefix('$').unwrap_or(after);
        }
    }
    out.push_str(rest);
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Node, String> {
        let environment = Environment::from_pairs([("PORT", "9090"), ("EMPTY", "")]);
        parse("a.yaml", text, &environment, &mut Vec::new()).map_err(|problem| problem.to_string())
    }

    fn text_at(tree: &Node, path: &str) -> String {
        match &tree.get(path).unwrap().value {
            Value::Scalar { text, .. } => text.clone(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_value_knows_its_line_and_column() {
        let tree = read("a:\n  b: 1\n  c: [x]\n").unwrap();
        let place = |path| tree.get(path).unwrap().origin.to_string();
        assert_eq!(place("a.b"), "file a.yaml:2");
        assert_eq!(place("a.c"), "file a.yaml:3");
        assert_eq!(tree.get("a.b").unwrap().origin.blame("a.b"), "a.yaml:2:6: a.b");
    }

    #[test]
    fn the_environment_is_put_into_scalars() {
        let tree = read("a: ${env:PORT}\nb: x-${EMPTY:-y}-${NONE:-z}\nc: $$HOME and $x\nd: ${NONE}\n").unwrap();
        assert_eq!(text_at(&tree, "a"), "9090");
        assert_eq!(text_at(&tree, "b"), "x-y-z");
        assert_eq!(text_at(&tree, "c"), "$HOME and $x");
        assert_eq!(tree.get("d").unwrap().value, Value::Null);
        assert!(read("a: ${PORT").unwrap_err().contains("without its `}`"));
    }

    #[test]
    fn a_variable_that_is_not_set_is_named_with_its_place() {
        let environment = Environment::from_pairs([("EMPTY", "")]);
        let mut warnings = Vec::new();
        parse("a.yaml", "a: x-${NONE}\nb: ${EMPTY}\nc: ${OTHER:-}\nd: $${NONE}\n", &environment, &mut warnings)
            .unwrap();
        let warnings: Vec<String> = warnings.iter().map(Problem::to_string).collect();
        assert_eq!(warnings, ["a.yaml:1:4: `${NONE}` is not set in the environment, and stands for nothing"]);
    }

    #[test]
    fn anchors_aliases_and_merge_keys_are_followed() {
        let tree = read("a: &a\n  x: 1\n  y: 2\nb:\n  <<: *a\n  y: 3\n").unwrap();
        assert_eq!(text_at(&tree, "b.x"), "1");
        assert_eq!(text_at(&tree, "b.y"), "3");
    }

    #[test]
    fn aliases_cannot_multiply_without_end() {
        let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
        for n in 1..12 {
            let list = vec![format!("*a{}", n - 1); 10].join(",");
            text.push_str(&format!("a{n}: &a{n} [{list}]\n"));
        }
        assert!(read(&text).unwrap_err().contains("more than 100000 values"));
        let deep = format!("a: {}", "[".repeat(200));
        assert!(read(&deep).is_err());
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        assert_eq!(read("a: 1\nb: 2\na: 3\n").unwrap_err(), "a.yaml:3:1: a: is given twice");
        assert!(read("a: [1\nb: 2\n").unwrap_err().starts_with("a.yaml:"));
        assert!(read("- a\n").unwrap_err().contains("a map of keys"));
        assert!(read("a: 1\n---\nb: 2\n").unwrap_err().contains("a second document"));
        assert_eq!(read("").unwrap().value, Value::Map(vec![]));
    }
}
