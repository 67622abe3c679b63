//! Which header fields of HTTP become attributes of spans: `attributes.http_headers`, and OBI's `ebpf.payload_extraction.http.enrichment`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Config, pattern::Glob};
use crate::model::headers::{Captured, Rules};

/// `attributes.http_headers`. Names are compared without case.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CapturedHeaders {
    /// Of requests, as `http.request.header.NAME`.
    pub request: Vec<Glob>,
    /// Of responses, as `http.response.header.NAME`.
    pub response: Vec<Glob>,
    /// Names whose values are told as `***`, of both.
    pub hide: Vec<Glob>,
    /// Names that carry credentials (`authorization`, `cookie` and the like) and are told nevertheless.
    pub force: Vec<String>,
}

/// `ebpf.payload_extraction`: what of OBI's is there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PayloadExtraction {
    /// Of HTTP.
    pub http: HttpExtraction,
}

/// `ebpf.payload_extraction.http`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HttpExtraction {
    /// Header fields.
    pub enrichment: Enrichment,
}

/// `ebpf.payload_extraction.http.enrichment`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Enrichment {
    /// Whether any of this holds.
    pub enabled: bool,
    /// What holds where no rule does.
    pub policy: EnrichmentPolicy,
    /// The first that matches decides.
    pub rules: Vec<EnrichmentRule>,
}

/// `….policy`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EnrichmentPolicy {
    /// What is done about fields that no rule matches.
    pub default_action: DefaultAction,
    /// Which of several rules decides.
    pub match_order: MatchOrder,
    /// What stands in place of hidden values.
    pub obfuscation_string: String,
}

impl Default for EnrichmentPolicy {
    fn default() -> Self {
        Self {
            default_action: DefaultAction::default(),
            match_order: MatchOrder::default(),
            obfuscation_string: "***".to_owned(),
        }
    }
}

/// `….policy.default_action`; of older files one word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(default)]
pub struct DefaultAction {
    /// Of header fields.
    pub headers: HeaderAction,
}

impl<'de> Deserialize<'de> for DefaultAction {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Word(HeaderAction),
            Each {
                #[serde(default)]
                headers: HeaderAction,
            },
        }
        Ok(match Form::deserialize(deserializer)? {
            Form::Word(headers) | Form::Each { headers } => Self { headers },
        })
    }
}

/// What is done about a header field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HeaderAction {
    /// It is not told.
    #[default]
    Exclude,
    /// It is told.
    Include,
    /// It is told without its value.
    Obfuscate,
}

/// Which of several rules decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MatchOrder {
    /// The first that matches.
    #[default]
    FirstMatchWins,
    /// The last that matches.
    LastMatchWins,
}

/// `….rules[]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EnrichmentRule {
    /// What is done.
    pub action: HeaderAction,
    /// Of what; rules of bodies do nothing yet.
    #[serde(default, rename = "type")]
    pub of: EnrichmentType,
    /// In which messages.
    #[serde(default)]
    pub scope: Scope,
    /// Which.
    #[serde(default, rename = "match")]
    pub matches: HeaderMatch,
}

/// What a rule is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EnrichmentType {
    /// Header fields.
    #[default]
    Headers,
    /// Bodies: not supported yet.
    Body,
}

/// In which messages a rule holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// In all.
    #[default]
    All,
    /// In requests.
    Request,
    /// In responses.
    Response,
}

/// Names of header fields.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HeaderMatch {
    /// Any of these.
    pub patterns: Vec<Glob>,
    /// Not used: names of fields have no case.
    pub case_sensitive: bool,
    /// Not supported yet.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub obfuscation_json_paths: Vec<String>,
}

/// Parts of names that carry credentials.
const SENSITIVE: [&str; 16] = [
    "authoriz",
    "cookie",
    "token",
    "secret",
    "password",
    "passwd",
    "api-key",
    "apikey",
    "credential",
    "client-cert",
    "session",
    "bearer",
    "access-key",
    "private-key",
    "assertion",
    "passphrase",
];

/// The same of whole words of a name.
const SENSITIVE_WORDS: [&str; 8] = ["auth", "authn", "authentication", "jwt", "pwd", "pass", "sid", "signature"];

/// Whether a field (in lower case) carries credentials, as far as its name tells.
pub(crate) fn is_sensitive(name: &str) -> bool {
    SENSITIVE.iter().any(|part| name.contains(part))
        || name.split(['-', '_', '.']).any(|word| SENSITIVE_WORDS.contains(&word))
}

impl Config {
    /// What is captured; `None`: nothing.
    pub(crate) fn header_rules(&self) -> Option<Rules> {
        let CapturedHeaders { request, response, hide, force } = self.attributes.http_headers.clone();
        let enrichment = self.ebpf.payload_extraction.http.enrichment.clone();
        let is_any = !(request.is_empty() && response.is_empty() && hide.is_empty()) || enrichment.enabled;
        if !is_any {
            return None;
        }
        let lists = [request, response].map(|list| lower(&list));
        let (hide, enrichment) = (lower(&hide), EnrichmentRules::of(&enrichment));
        Some(Box::new(move |name| {
            let is_forced = || force.iter().any(|forced| forced.eq_ignore_ascii_case(name));
            let is_told = !is_sensitive(name) || is_forced();
            let matches = |list: &[Glob]| list.iter().any(|glob| glob.is_match(name));
            let is_hidden = matches(&hide);
            [0, 1].map(|side: usize| {
                let own = lists.get(side).is_some_and(|list| matches(list));
                if is_hidden {
                    return Some(Captured::Hidden("***"));
                }
                if own && is_told {
                    return Some(Captured::Told);
                }
                match enrichment.as_ref().map(|rules| rules.action(name, side)) {
                    Some(HeaderAction::Include) if is_told => Some(Captured::Told),
                    Some(HeaderAction::Obfuscate) => enrichment.as_ref().map(|rules| Captured::Hidden(rules.instead)),
                    _ => None,
                }
            })
        }))
    }

    /// Names that are asked for by themselves, and refused.
    pub(crate) fn refused_headers(&self) -> Vec<String> {
        let CapturedHeaders { request, response, hide, force } = &self.attributes.http_headers;
        let enrichment = &self.ebpf.payload_extraction.http.enrichment;
        let included =
            enrichment.rules.iter().filter(|rule| enrichment.enabled && rule.action == HeaderAction::Include);
        let asked = request.iter().chain(response).chain(included.flat_map(|rule| &rule.matches.patterns));
        let mut names: Vec<String> = asked.map(|glob| glob.as_str().to_ascii_lowercase()).collect();
        names.retain(|name| {
            let is_open = force.iter().any(|forced| forced.eq_ignore_ascii_case(name))
                || lower(hide).iter().any(|glob| glob.is_match(name));
            is_sensitive(name) && !is_open
        });
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The same patterns for names in lower case.
fn lower(globs: &[Glob]) -> Vec<Glob> {
    globs.iter().filter_map(|glob| glob.as_str().to_ascii_lowercase().parse().ok()).collect()
}

struct EnrichmentRules {
    /// By action: in requests, in responses, and names; the first that matches decides.
    rules: Vec<(HeaderAction, [bool; 2], Vec<Glob>)>,
    default: HeaderAction,
    instead: &'static str,
}

impl EnrichmentRules {
    fn of(enrichment: &Enrichment) -> Option<Self> {
        let EnrichmentPolicy { default_action: DefaultAction { headers }, match_order, obfuscation_string } =
            &enrichment.policy;
        let of_headers = enrichment.rules.iter().filter(|rule| rule.of == EnrichmentType::Headers);
        let mut rules: Vec<_> = of_headers
            .map(|rule| {
                let sides = [rule.scope != Scope::Response, rule.scope != Scope::Request];
                (rule.action, sides, lower(&rule.matches.patterns))
            })
            .collect();
        if *match_order == MatchOrder::LastMatchWins {
            rules.reverse();
        }
        let instead = crate::model::propagation::key(obfuscation_string);
        enrichment.enabled.then_some(Self { rules, default: *headers, instead })
    }

    fn action(&self, name: &str, side: usize) -> HeaderAction {
        let matches = |(_, sides, globs): &&(HeaderAction, [bool; 2], Vec<Glob>)| {
            sides.get(side) == Some(&true) && globs.iter().any(|glob| glob.is_match(name))
        };
        self.rules.iter().find(matches).map_or(self.default, |(action, ..)| *action)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(config: &Config, name: &str) -> [Option<Captured>; 2] {
        config.header_rules().map_or([None; 2], |rules| rules(name))
    }

    fn config(json: serde_json::Value) -> Config {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn lists_say_what_is_captured_and_credentials_are_refused_unless_forced() {
        assert!(Config::default().header_rules().is_none());
        let of = serde_json::json!({"request": ["X-Tenant*", "authorization", "cookie"], "response": ["*"], "hide": ["Set-Cookie"], "force": ["Cookie"]});
        let config = config(serde_json::json!({"attributes": {"http_headers": of}}));
        assert_eq!(asked(&config, "x-tenant-id"), [Some(Captured::Told); 2]);
        assert_eq!(asked(&config, "accept"), [None, Some(Captured::Told)]);
        assert_eq!(asked(&config, "authorization"), [None; 2]);
        for name in
            ["x-auth-token", "x-auth", "x-jwt-assertion", "x-access-key", "x-pwd", "x-session", "authentication"]
        {
            assert_eq!(asked(&config, name), [None; 2], "{name}");
        }
        assert_eq!(asked(&config, "x-author"), [None, Some(Captured::Told)]);
        assert_eq!(asked(&config, "cookie"), [Some(Captured::Told); 2]);
        assert_eq!(asked(&config, "set-cookie"), [Some(Captured::Hidden("***")); 2]);
        assert_eq!(config.refused_headers(), ["authorization"]);
        let hides = serde_json::json!({"attributes": {"http_headers": {"hide": ["x-session-id"]}}});
        let hides: Config = serde_json::from_value(hides).unwrap();
        assert_eq!(asked(&hides, "x-session-id"), [Some(Captured::Hidden("***")); 2]);
        assert_eq!(asked(&hides, "accept"), [None; 2]);
    }

    #[test]
    fn obi_s_rules_mean_what_they_mean_there() {
        let config = config(serde_json::json!({"ebpf": {"payload_extraction": {"http": {"enrichment": {
            "enabled": true,
            "policy": {"default_action": {"headers": "exclude"}, "obfuscation_string": "…"},
            "rules": [
                {"action": "obfuscate", "type": "headers", "scope": "request", "match": {"patterns": ["Authorization"]}},
                {"action": "exclude", "type": "headers", "scope": "all", "match": {"patterns": ["X-RateLimit-Reset"]}},
                {"action": "include", "type": "headers", "scope": "all", "match": {"patterns": ["X-RateLimit-*", "cookie"]}},
                {"action": "include", "type": "body", "scope": "all", "match": {"patterns": ["*"]}}
            ]
        }}}}}));
        assert_eq!(asked(&config, "authorization"), [Some(Captured::Hidden("…")), None]);
        assert_eq!(asked(&config, "x-ratelimit-limit"), [Some(Captured::Told); 2]);
        assert_eq!(asked(&config, "x-ratelimit-reset"), [None; 2]);
        assert_eq!((asked(&config, "cookie"), asked(&config, "accept")), ([None; 2], [None; 2]));
        assert_eq!(config.refused_headers(), ["cookie"]);
    }
}
