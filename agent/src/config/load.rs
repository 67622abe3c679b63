//! Puts the layers together: defaults, file, environment, flags.

use std::{
    collections::BTreeSet,
    io::Read,
    ops::Deref,
    path::{Path, PathBuf},
};

use super::{
    Config,
    de::from_node,
    env::{self, Environment, OTLP_KEYS},
    error::{ConfigError, Problem},
    keys,
    node::{Node, Origin},
    obi, obi_v2,
    schema::schema,
    show, validate,
    yaml::{self, MAX_FILE_BYTES},
};

/// What a configuration is made of. Kept, so that it can be read again.
#[derive(Clone, Debug)]
pub struct Sources {
    /// The file, if one is named.
    pub file: Option<PathBuf>,
    /// The agent's environment.
    pub environment: Environment,
    /// What flags set.
    pub flags: FlagLayer,
    /// Whether a warning is an error.
    pub is_strict: bool,
    /// Whether this is to be checked and not used: then a key that nobody knows is an error too.
    pub is_check: bool,
}

impl Sources {
    /// An environment alone.
    pub fn from_environment(environment: Environment) -> Self {
        Self { file: None, environment, flags: FlagLayer::default(), is_strict: false, is_check: false }
    }
}

/// What flags set.
#[derive(Clone, Debug)]
pub struct FlagLayer(Node);

impl Default for FlagLayer {
    fn default() -> Self {
        Self(Node::empty_map(Origin::Default))
    }
}

impl FlagLayer {
    /// Sets the dotted `key` to what `flag` says, if it was given.
    pub fn set(&mut self, flag: &'static str, key: &str, value: Option<String>) {
        if let Some(value) = value {
            self.0.set(key, Node::text(value, Origin::Flag(flag)));
        }
    }
}

/// A configuration with where its values came from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The values.
    pub config: Config,
    /// What is doubtful but does not stop the agent; to be logged.
    pub warnings: Vec<Problem>,
    sources: Sources,
    tree: Node,
}

impl Deref for Loaded {
    type Target = Config;

    fn deref(&self) -> &Config {
        &self.config
    }
}

/// A flag that chooses processes replaces what file and environment choose.
const SELECTING: &[&str] = &["target_pids", "open_port", "auto_target_exe"];

impl Loaded {
    /// Reads all sources.
    ///
    /// # Errors
    /// Everything that is wrong in them, each with its place; but for values of variables of OpenTelemetry's specification, which
    /// are warned of and ignored unless warnings are errors.
    pub fn load(sources: Sources) -> Result<Self, ConfigError> {
        let (mut ignored, mut before) = (BTreeSet::new(), Vec::new());
        loop {
            let error = match Self::load_without(&ignored, sources.clone()) {
                Ok(mut loaded) => {
                    loaded.warnings.splice(..0, before);
                    return Ok(loaded);
                }
                Err(error) if sources.is_strict => return Err(error),
                Err(error) => error,
            };
            let known = ignored.len();
            for problem in &error.problems {
                let Origin::Env(name) = &problem.origin else { continue };
                if env::is_specified(name) && !ignored.contains(&**name) {
                    let message = format!("{}; it is ignored", problem.message);
                    before.push(Problem::at(problem.origin.clone(), problem.key.clone(), message));
                }
            }
            ignored.extend(before.iter().filter_map(|problem| match &problem.origin {
                Origin::Env(name) => Some(name.to_string()),
                _ => None,
            }));
            if ignored.len() == known {
                return Err(error);
            }
        }
    }

    /// The same without the values of some variables.
    fn load_without(ignored: &BTreeSet<String>, sources: Sources) -> Result<Self, ConfigError> {
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let schema = schema();
        let named = sources
            .file
            .clone()
            .or_else(|| env::config_path(&sources.environment).map(|(_, path)| PathBuf::from(path)));
        let mut file = match &named {
            Some(path) => read_file(path, &sources.environment, &mut warnings)?,
            None => Node::empty_map(Origin::Default),
        };
        let unknown = translate(&mut file, &schema, &mut problems, &mut warnings);
        if sources.is_check {
            problems.extend(
                unknown
                    .into_iter()
                    .map(|problem| Problem { message: problem.message.replace("; it is ignored", ""), ..problem }),
            )
        } else {
            warnings.extend(unknown)
        }
        let given = if sources.is_check { Environment::default() } else { sources.environment.without(ignored) };
        let mut environment = env::layer(&given, &mut problems, &mut warnings);
        obi::modernise(&mut environment, &mut problems, &mut warnings);

        let mut tree = defaults()?;
        tree.overlay(file);
        lay(&mut tree, environment);
        let FlagLayer(flags) = sources.flags.clone();
        if SELECTING.iter().any(|key| flags.get(key).is_some()) {
            replace_selection(&mut tree, &flags, &mut warnings);
        }
        lay(&mut tree, flags);

        match from_node::<Config>(&mut tree.clone()) {
            Ok(config) => {
                validate::validate(&config, &tree, &mut problems, &mut warnings);
                if sources.is_strict {
                    problems.append(&mut warnings);
                }
                if problems.is_empty() {
                    return Ok(Self { config, warnings, sources, tree });
                }
            }
            Err(more) => problems.extend(more),
        }
        Err(ConfigError { problems })
    }

    /// Reads the same sources again, after the file may have changed.
    ///
    /// # Errors
    /// As [`Loaded::load`]; this configuration stays as it is.
    pub fn reload(&self) -> Result<Self, ConfigError> {
        let new = Self::load(self.sources.clone())?;
        if self.tree.is_of_file() && !new.tree.is_of_file() {
            // It may just be written, or was cut off: with nothing of what it said everything would be watched.
            let file = self.file().map(|path| path.display().to_string()).unwrap_or_default();
            let message = "says nothing that is known any more; at a start it would mean the defaults".to_owned();
            return Err(ConfigError { problems: vec![Problem::at(Origin::Default, &file, message)] });
        }
        Ok(new)
    }

    /// The configuration file, if there is one.
    pub fn file(&self) -> Option<PathBuf> {
        let named = || env::config_path(&self.sources.environment).map(|(_, path)| PathBuf::from(path));
        self.sources.file.clone().or_else(named)
    }

    /// Where the value of a dotted key came from.
    pub fn origin(&self, key: &str) -> Option<&Origin> {
        self.tree.get(key).map(|node| &node.origin)
    }

    /// The effective configuration as JSON. Values of headers and other secrets are not shown.
    pub fn show_json(&self) -> serde_json::Value {
        let mut json = serde_json::to_value(&self.config).unwrap_or_default();
        show::hide(&mut json);
        json
    }

    /// The effective configuration as YAML, each value with its origin as a comment. Values of headers are not shown.
    pub fn show(&self) -> String {
        let mut tree = self.tree.clone();
        if self.config.print.is_none()
            && let Ok(print) = serde_json::to_value(self.config.print_mode())
        {
            tree.set("print", Node::from_json(&print, &Origin::Default));
        }
        show::show(&tree)
    }
}

/// Reads one file by itself, without flags, as `config check` does. The environment is only what stands in `${NAME}`.
///
/// # Errors
/// Everything that is wrong in it.
pub(crate) fn check_file(path: &Path, environment: Environment, is_strict: bool) -> Result<Loaded, ConfigError> {
    let file = Some(path.to_owned());
    let sources = Sources { file, is_strict, is_check: true, ..Sources::from_environment(environment) };
    Loaded::load(sources)
}

/// Rewrites what other programs call otherwise, and takes out what is no key of ours: what is told of those that are near to nothing
/// that is known is given back.
pub(super) fn translate(
    file: &mut Node,
    schema: &serde_json::Value,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Vec<Problem> {
    let renamed = obi_v2::modernise(file, schema, problems, warnings);
    obi::modernise(file, problems, warnings);
    let mut unknown = keys::check(file, schema, problems, warnings);
    for list in [problems, warnings, &mut unknown] {
        renamed.apply(list);
    }
    unknown
}

pub(super) fn defaults() -> Result<Node, Problem> {
    let json = serde_json::to_value(Config::default())
        .map_err(|error| Problem::at(Origin::Default, "", format!("the defaults cannot be written: {error}")))?;
    Ok(Node::from_json(&json, &Origin::Default))
}

/// Keys that are also an attribute in `resource_attributes`. Within one layer the key wins.
const ALSO_ATTRIBUTES: &[(&str, &str)] =
    &[("service_name", "service.name"), ("service_namespace", "service.namespace")];

/// Lays a stronger layer over `tree`. What it says for both signals also replaces what weaker layers say for one, and an
/// attribute of the resource what they say of it by a key of its own.
fn lay(tree: &mut Node, layer: Node) {
    for (key, attribute) in ALSO_ATTRIBUTES {
        if let Some(stronger) = layer.get("resource_attributes").and_then(|attributes| attributes.entry(attribute)) {
            tree.set(key, Node::null(stronger.origin.clone()));
        }
    }
    for (key, _) in OTLP_KEYS {
        let Some(common) = layer.get(&format!("otlp.{key}")) else { continue };
        for section in ["otel_traces_export", "otel_metrics_export"] {
            tree.set(&format!("{section}.{key}"), Node::null(common.origin.clone()));
        }
    }
    tree.overlay(layer);
}

fn replace_selection(tree: &mut Node, flags: &Node, warnings: &mut Vec<Problem>) {
    let flag = SELECTING.iter().find_map(|key| flags.get(key)).map(|node| node.origin.clone());
    let Some(Origin::Flag(name)) = flag else { return };
    for key in ["target_pids", "open_port", "auto_target_exe", "auto_target_language", "discovery.instrument"] {
        let Some(node) = tree.get(key) else { continue };
        if node.is_empty() || node.origin == Origin::Default {
            continue;
        }
        let message = format!("is not used, because {name} chooses what is watched");
        // A flag may override a variable or file without a word; a list of services with names and routes may be missed.
        if key == "discovery.instrument" {
            warnings.push(Problem::at(node.origin.clone(), key, message));
        }
        tree.set(key, Node::null(Origin::Flag(name)));
    }
}

fn read_file(path: &Path, environment: &Environment, warnings: &mut Vec<Problem>) -> Result<Node, Problem> {
    yaml::parse(&path.display().to_string(), &file_text(path)?, environment, warnings)
}

/// The text of a configuration file.
pub(super) fn file_text(path: &Path) -> Result<String, Problem> {
    let shown = path.display().to_string();
    let refuse = |reason: String| Problem::at(Origin::Default, "", format!("cannot read {shown}: {reason}"));
    let file = std::fs::File::open(path).map_err(|error| refuse(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|error| refuse(error.to_string()))?;
    if bytes.len() as u64 > MAX_FILE_BYTES {
        return Err(refuse(format!("it is larger than {MAX_FILE_BYTES} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("it is not UTF-8".to_owned()))?;
    Ok(text.trim_start_matches('\u{feff}').to_owned())
}
