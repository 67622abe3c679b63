//! Whether a program in Ruby or PHP uses OpenTelemetry's SDK: one of the files that it begins with, or that those require by a path of their own, does so in so many words.
//! What is required on a condition need not be, and is not believed.

use std::collections::{HashSet, VecDeque};

use super::{
    Start,
    files::{Files, folder, joined},
    javascript::tokens,
    tokens::Token,
};

/// Most files that are read.
const FILES_MAX: usize = 200;
/// Files by which servers and frameworks in Ruby begin, whatever their process is called; and where one sets up what it traces.
const BEGINNINGS: [&str; 10] = [
    "config.ru",
    "app.rb",
    "config/application.rb",
    "config/environment.rb",
    "config/puma.rb",
    "config/initializers/opentelemetry.rb",
    "config/initializers/open_telemetry.rb",
    "config/initializers/otel.rb",
    "config/initializers/telemetry.rb",
    "config/initializers/tracing.rb",
];
/// What Ruby calls the SDK.
const GEM: [&str; 2] = ["opentelemetry/sdk", "opentelemetry-sdk"];

/// Whether a program in Ruby uses the SDK.
pub(super) fn ruby(files: &dyn Files, start: &Start) -> bool {
    let mut args = start.args.iter().skip(1);
    let script = args.find(|arg| !arg.starts_with('-')).filter(|arg| arg.ends_with(".rb") || arg.ends_with(".ru"));
    let beginnings = BEGINNINGS.into_iter().chain(script.map(String::as_str));
    let beginnings = beginnings.map(|path| joined(&start.cwd, path)).collect();
    any(files, beginnings, |path, source| {
        let mut found = Required::default();
        let mut is_comment = false;
        for line in source.lines() {
            // What is indented may stand within a condition.
            match line.split([' ', '(', '\t']).next().unwrap_or_default() {
                "=begin" => is_comment = true,
                "=end" => is_comment = false,
                "__END__" => break,
                word @ ("require" | "require_relative" | "load") if !is_comment => {
                    let Some(name) = literal(line.get(word.len()..).unwrap_or_default()) else { continue };
                    found.uses_sdk |= word == "require" && GEM.contains(&name);
                    if word != "require" || name.starts_with('.') {
                        let file = joined(if word == "require_relative" { folder(path) } else { &start.cwd }, name);
                        found.files.push(if file.ends_with(".rb") { file } else { format!("{file}.rb") });
                    }
                }
                _ => {}
            }
        }
        found
    })
}

/// The one literal text that a statement has behind its word; nothing where it is done on a condition.
fn literal(rest: &str) -> Option<&str> {
    let rest = rest.trim_start_matches([' ', '(', '\t']);
    let quote = rest.chars().next().filter(|quote| matches!(quote, '\'' | '"'))?;
    let (text, behind) = rest.get(1..)?.split_once(quote)?;
    let behind = behind.trim_start_matches([')', ' ', '\t', ';']);
    (behind.is_empty() || behind.starts_with('#')).then_some(text).filter(|text| !text.contains("#{"))
}

/// Whether a program in PHP uses the SDK.
pub(super) fn php(files: &dyn Files, start: &Start) -> bool {
    let root = start.cwd.strip_suffix("/public").unwrap_or(&start.cwd);
    let scripts = start.args.iter().skip(1).filter(|arg| arg.ends_with(".php"));
    let scripts = scripts.map(|path| joined(&start.cwd, path));
    let of_root = ["public/index.php", "index.php", "bootstrap/app.php"].map(|path| joined(root, path));
    any(files, scripts.chain(of_root).collect(), |path, source| {
        // `#` begins a comment, `#[` what is said of what follows.
        let is_comment = |line: &&str| line.trim_start().starts_with('#') && !line.trim_start().starts_with("#[");
        let source: String = source.lines().filter(|line| !is_comment(line)).map(|line| format!("{line}\n")).collect();
        let tokens = tokens(&source);
        let mut found = Required::default();
        let mut depth = 0_usize;
        for (at, token) in tokens.iter().enumerate() {
            match token {
                Token::Operator('{') => depth += 1,
                Token::Operator('}') => depth = depth.saturating_sub(1),
                Token::Name(word) if depth == 0 && word == "use" => {
                    found.uses_sdk |= is_namespace(tokens.get(at + 1..).unwrap_or_default());
                }
                Token::Name(word)
                    if depth == 0
                        && ["require", "require_once", "include", "include_once"].contains(&word.as_str()) =>
                {
                    found.files.extend(required(tokens.get(at + 1..).unwrap_or_default(), folder(path)));
                }
                _ => {}
            }
        }
        found
    })
}

/// `OpenTelemetry\SDK\`, with or without one before it.
fn is_namespace(tokens: &[Token]) -> bool {
    let names: Vec<&Token> = tokens.iter().filter(|token| **token != Token::Operator('\\')).take(2).collect();
    let is = |at: usize, name: &str| matches!(names.get(at), Some(Token::Name(its)) if its == name);
    // Not a part of what is named so by others.
    let behind = if tokens.first() == Some(&Token::Operator('\\')) { 4 } else { 3 };
    is(0, "OpenTelemetry") && is(1, "SDK") && tokens.get(behind) == Some(&Token::Operator('\\'))
}

/// `__DIR__ . '/x.php'`, or a path alone.
fn required(tokens: &[Token], folder: &str) -> Option<String> {
    let tokens = if tokens.first() == Some(&Token::Operator('(')) { tokens.get(1..)? } else { tokens };
    let tokens = match tokens {
        [Token::Name(name), Token::Operator('.'), rest @ ..] if name == "__DIR__" => rest,
        tokens => tokens,
    };
    match tokens {
        [Token::Text(Some(text)), Token::Operator(';' | ')'), ..] if !text.contains("/vendor/") => {
            Some(joined(folder, text.trim_start_matches('/')))
        }
        _ => None,
    }
}

/// What a file says.
#[derive(Default)]
struct Required {
    uses_sdk: bool,
    /// Files that it loads.
    files: Vec<String>,
}

/// Whether one of these files, or of those that they load, uses the SDK.
fn any(files: &dyn Files, beginnings: VecDeque<String>, read: impl Fn(&str, &str) -> Required) -> bool {
    let (mut waiting, mut known) = (beginnings, HashSet::new());
    while let Some(path) = waiting.pop_front() {
        if known.len() >= FILES_MAX || !known.insert(path.clone()) {
            continue;
        }
        let Some(source) = files.text(&path) else { continue };
        let found = read(&path, &source);
        if found.uses_sdk {
            return true;
        }
        waiting.extend(found.files);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{super::files::tests::Given, *};

    fn start(args: &[&str]) -> Start {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        Start { exe: String::new(), args, cwd: "/app".into() }
    }

    #[test]
    fn a_program_in_ruby_that_requires_the_sdk_uses_it() {
        let uses = |files: &[(&str, &str)], args: &[&str]| ruby(&Given::new(files), &start(args));
        let requires = "require 'opentelemetry/sdk'\nOpenTelemetry::SDK.configure\n";
        assert!(uses(&[("/app/main.rb", requires)], &["ruby", "-W", "main.rb"]));
        assert!(uses(
            &[("/app/config.ru", "require(\"opentelemetry-sdk\") # spans\n")],
            &["puma 5.6.5 (tcp://0.0.0.0:9292)"]
        ));
        assert!(uses(&[("/app/config/initializers/opentelemetry.rb", requires)], &["rails", "server"]));
        let through = [("/app/main.rb", "require_relative 'lib/tracing'\n"), ("/app/lib/tracing.rb", requires)];
        assert!(uses(&through, &["ruby", "main.rb"]));
        let by_load = [("/app/main.rb", "load './lib/tracing.rb'\n"), ("/app/lib/tracing.rb", requires)];
        assert!(uses(&by_load, &["ruby", "main.rb"]));
        for source in [
            "require 'opentelemetry/sdk' if ENV['OTEL']\n",
            "# require 'opentelemetry/sdk'\n",
            "if ENV['OTEL']\n  require 'opentelemetry/sdk'\nend\n",
            "=begin\nrequire 'opentelemetry/sdk'\n=end\n",
            "require 'opentelemetry'\nrequire 'opentelemetry-api'\n",
            "puts \"require 'opentelemetry/sdk'\"\n",
            "__END__\nrequire 'opentelemetry/sdk'\n",
            "require_relative 'main'\nrequire_relative '../../..'\n",
            "require 'opentelemetry/sdk",
        ] {
            assert!(!uses(&[("/app/main.rb", source)], &["ruby", "main.rb"]), "{source}");
        }
        assert!(!uses(&[("/app/other.rb", requires)], &["ruby", "main.rb"]), "nobody loads it");
        assert!(!uses(&[], &[]));
    }

    #[test]
    fn a_program_in_php_that_imports_the_sdk_uses_it() {
        let uses = |files: &[(&str, &str)], args: &[&str]| php(&Given::new(files), &start(args));
        let imports = "<?php\nuse OpenTelemetry\\SDK\\Trace\\TracerProvider;\n$provider = new TracerProvider();\n";
        assert!(uses(&[("/app/server.php", imports)], &["php", "-S", "127.0.0.1:80", "server.php"]));
        assert!(uses(&[("/app/index.php", "<?php use \\OpenTelemetry\\SDK\\Sdk;\n")], &["php-fpm: pool www"]));
        let through = [
            (
                "/app/server.php",
                "<?php\nrequire __DIR__ . '/vendor/autoload.php';\nrequire_once __DIR__ . '/src/tracing.php';\n",
            ),
            ("/app/src/tracing.php", imports),
        ];
        assert!(uses(&through, &["php", "-S", "127.0.0.1:80", "server.php"]));
        for source in [
            "<?php\n// use OpenTelemetry\\SDK\\Sdk;\n# use OpenTelemetry\\SDK\\Sdk;\n/* use OpenTelemetry\\SDK\\Sdk; */\n",
            "<?php\nuse OpenTelemetry\\API\\Globals;\nuse OpenTelemetry\\SDKs\\X;\nuse Some\\OpenTelemetry\\SDK\\X;\n",
            "<?php\necho 'use OpenTelemetry\\SDK\\Sdk;';\n",
            "<?php\nclass A {\n  use OpenTelemetry\\SDK\\Trait;\n}\n",
            "<?php\nrequire __DIR__ . $name;\nrequire 'server.php';\n",
        ] {
            assert!(!uses(&[("/app/server.php", source)], &["php", "server.php"]), "{source}");
        }
    }
}
