//! Express and the routers of its applications, in the modules that a program starts with and those that these load.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{
    Start,
    files::{Files, folder, joined},
    javascript::tokens,
    template::{self, Style, under},
    tokens::{Token, items, within},
};
use crate::model::route::{Part, ProgramRoute};

/// Most modules that are read.
pub(super) const MODULES_MAX: usize = 500;
/// How deep routers may be within others.
const DEPTH_MAX: usize = 16;
const METHODS: [&str; 8] = ["get", "post", "put", "patch", "delete", "options", "head", "all"];

/// Where a name is defined: a module's file and the name there.
type Key = (String, String);
/// What a module gives to who loads it.
const EXPORTED: &str = "module.exports";

#[derive(Default)]
struct Program {
    /// Names that stand for what other modules define.
    aliases: HashMap<Key, Key>,
    applications: Vec<Key>,
    routers: HashSet<Key>,
    /// Defined more than once.
    ambiguous: HashSet<Key>,
    below: HashMap<Key, Vec<Below>>,
}

enum Below {
    Route(String),
    Router(String, Key),
}

/// The routes of what a program serves.
pub(super) fn routes(files: &dyn Files, start: &Start) -> Vec<ProgramRoute> {
    let Some(entry) = entry(files, start) else { return Vec::new() };
    let mut program = Program::default();
    let mut waiting = VecDeque::from([entry]);
    let mut read: Vec<(String, Vec<Token>)> = Vec::new();
    while let Some(file) = waiting.pop_front() {
        if read.len() >= MODULES_MAX || read.iter().any(|(known, _)| *known == file) {
            continue;
        }
        let Some(source) = files.text(&file) else { continue };
        let tokens = tokens(&source);
        waiting.extend(program.define(files, &file, &tokens));
        read.push((file, tokens));
    }
    for (file, tokens) in &read {
        program.add(files, file, tokens);
    }
    let mut routes = Vec::new();
    for application in &program.applications {
        program.collect(application, "", 0, &mut routes);
    }
    routes
}

/// The script that Node was started with.
fn entry(files: &dyn Files, start: &Start) -> Option<String> {
    let script = scripts(&start.args).next()?;
    module(files, &start.cwd, &joined(&start.cwd, script))
}

/// Arguments of Node that are no options: the script comes first.
pub(super) fn scripts(args: &[String]) -> impl Iterator<Item = &str> {
    let mut args = args.iter().skip(1);
    std::iter::from_fn(move || {
        loop {
            let arg = args.next()?;
            match arg.as_str() {
                "-r" | "--require" | "--import" | "--loader" | "--experimental-loader" | "-C" | "--conditions" => {
                    args.next();
                }
                "-e" | "--eval" | "-p" | "--print" => return None,
                arg if arg.starts_with('-') => {}
                arg => return Some(arg),
            }
        }
    })
}

/// The file of a module that is named by a path.
fn module(files: &dyn Files, from: &str, path: &str) -> Option<String> {
    let path = joined(from, path);
    ["", ".js", ".cjs", ".mjs", "/index.js", "/index.cjs", "/index.mjs"]
        .iter()
        .map(|end| format!("{path}{end}"))
        .find(|file| has_extension(file) && files.length(file).is_some())
}

fn has_extension(file: &str) -> bool {
    [".js", ".cjs", ".mjs"].iter().any(|end| file.ends_with(end))
}

fn name(token: Option<&Token>) -> Option<&str> {
    match token {
        Some(Token::Name(name)) => Some(name),
        _ => None,
    }
}

/// The path of `require("./x")`, at its first token.
pub(super) fn required(tokens: &[Token]) -> Option<&str> {
    match tokens {
        [Token::Name(require), Token::Operator('('), Token::Text(Some(path)), Token::Operator(')'), ..]
            if require == "require" =>
        {
            Some(path)
        }
        _ => None,
    }
}

pub(super) fn is_relative(path: &str) -> bool {
    path.starts_with("./") || path.starts_with("../") || matches!(path, "." | "..")
}

impl Program {
    /// Takes in what a module defines and loads; gives the files of the latter.
    fn define(&mut self, files: &dyn Files, file: &str, tokens: &[Token]) -> Vec<String> {
        let its = |name: &str| (file.to_owned(), name.to_owned());
        let mut loaded = Vec::new();
        let mut express: HashSet<&str> = HashSet::new();
        let mut router: HashSet<&str> = HashSet::new();
        for at in 0..tokens.len() {
            let rest = tokens.get(at..).unwrap_or_default();
            if let Some(path) = required(rest).filter(|path| is_relative(path)) {
                loaded.extend(module(files, folder(file), path));
            }
            match rest {
                // `import a, { b as c } from "x"`
                [Token::Name(import), names @ ..] if import == "import" => {
                    let Some(from) = names.iter().take(200).position(|token| *token == Token::Name("from".into()))
                    else {
                        continue;
                    };
                    let Some(Token::Text(Some(path))) = names.get(from + 1) else { continue };
                    let names = names.get(..from).unwrap_or_default();
                    let (default, others) = imported(names);
                    if path == "express" {
                        express.extend(default);
                        router.extend(others.iter().filter(|(name, _)| *name == "Router").map(|(_, alias)| *alias));
                    } else if is_relative(path)
                        && let Some(found) = module(files, folder(file), path)
                    {
                        for (exported, alias) in default.into_iter().map(|alias| (EXPORTED, alias)).chain(others) {
                            self.aliases.insert(its(alias), (found.clone(), exported.to_owned()));
                        }
                        loaded.push(found);
                    }
                }
                // `const a = require("x")`
                [Token::Name(target), Token::Operator('='), value @ ..] if name(value.first()).is_some() => {
                    let is_own = !matches!(tokens.get(at.wrapping_sub(1)), Some(Token::Operator('.')));
                    if let Some(path) = required(value).filter(|_| is_own) {
                        match value.get(4) {
                            Some(Token::Operator('(')) => {}
                            Some(Token::Operator('.')) => {
                                if path == "express" && name(value.get(5)) == Some("Router") {
                                    if value.get(6) == Some(&Token::Operator('(')) {
                                        self.router(its(target));
                                    } else {
                                        router.insert(target);
                                    }
                                } else if let Some(exported) = name(value.get(5)).filter(|_| is_relative(path))
                                    && let Some(found) = module(files, folder(file), path)
                                {
                                    self.aliases.insert(its(target), (found, exported.to_owned()));
                                }
                            }
                            _ if path == "express" => drop(express.insert(target)),
                            _ if is_relative(path) => {
                                if let Some(found) = module(files, folder(file), path) {
                                    self.aliases.insert(its(target), (found, EXPORTED.to_owned()));
                                }
                            }
                            _ => {}
                        }
                        continue;
                    }
                    let target = if is_own {
                        target.as_str()
                    } else if target == "exports" && name(tokens.get(at.wrapping_sub(2))) == Some("module") {
                        EXPORTED
                    } else {
                        // `exports.router = …`
                        target.as_str()
                    };
                    match value {
                        [Token::Name(callee), Token::Operator('('), ..] if express.contains(callee.as_str()) => {
                            self.application(its(target));
                        }
                        [Token::Name(callee), Token::Operator('('), ..] if router.contains(callee.as_str()) => {
                            self.router(its(target));
                        }
                        [Token::Name(callee), Token::Operator('.'), Token::Name(method), Token::Operator('('), ..]
                            if express.contains(callee.as_str()) && method == "Router" =>
                        {
                            self.router(its(target));
                        }
                        [Token::Name(other), after, ..]
                            if !is_own && !matches!(after, Token::Operator('(' | '.' | '[')) =>
                        {
                            self.aliases.insert(its(target), its(other));
                        }
                        [Token::Name(other)] if !is_own => drop(self.aliases.insert(its(target), its(other))),
                        _ => {}
                    }
                }
                // `const { Router } = require("express")`
                [Token::Operator('{'), ..] => {
                    let (inner, end) = within(rest, 0);
                    if rest.get(end + 1) == Some(&Token::Operator('='))
                        && let Some(path) = required(rest.get(end + 2..).unwrap_or_default())
                    {
                        for item in items(inner) {
                            let (exported, alias) = match item {
                                [Token::Name(one)] => (one, one),
                                [Token::Name(one), Token::Operator(':'), Token::Name(other)] => (one, other),
                                _ => continue,
                            };
                            if path == "express" && exported == "Router" {
                                router.insert(alias);
                            } else if is_relative(path)
                                && let Some(found) = module(files, folder(file), path)
                            {
                                self.aliases.insert(its(alias), (found, exported.clone()));
                            }
                        }
                    }
                    // `module.exports = { a, b: c }`
                    let before = (name(tokens.get(at.wrapping_sub(2))), tokens.get(at.wrapping_sub(1)));
                    if before == (Some("exports"), Some(&Token::Operator('='))) {
                        for item in items(inner) {
                            match item {
                                [Token::Name(one)] => self.alias(its(one), its(one)),
                                [Token::Name(one), Token::Operator(':'), Token::Name(other)] => {
                                    self.alias(its(one), its(other));
                                }
                                _ => {}
                            }
                        }
                    }
                }
                // `export default a`, `export { a as b }`
                [Token::Name(export), Token::Name(default), Token::Name(one), after @ ..]
                    if export == "export" && default == "default" && after.first() != Some(&Token::Operator('(')) =>
                {
                    self.alias(its(EXPORTED), its(one));
                }
                [Token::Name(export), Token::Operator('{'), ..] if export == "export" => {
                    for item in items(within(rest, 1).0) {
                        if let [Token::Name(one), Token::Name(word), Token::Name(other)] = item
                            && word == "as"
                        {
                            let other = if other == "default" { EXPORTED } else { other };
                            self.alias(its(other), its(one));
                        }
                    }
                }
                _ => {}
            }
        }
        loaded
    }

    fn alias(&mut self, key: Key, of: Key) {
        if key != of {
            self.aliases.insert(key, of);
        }
    }

    fn application(&mut self, key: Key) {
        if self.applications.contains(&key) || self.routers.contains(&key) {
            self.ambiguous.insert(key);
        } else {
            self.applications.push(key);
        }
    }

    fn router(&mut self, key: Key) {
        if self.applications.contains(&key) || !self.routers.insert(key.clone()) {
            self.ambiguous.insert(key);
        }
    }

    fn resolve(&self, key: Key) -> Key {
        let mut key = key;
        for _ in 0..DEPTH_MAX {
            match self.aliases.get(&key) {
                Some(of) => key = of.clone(),
                None => break,
            }
        }
        key
    }

    fn is_known(&self, key: &Key) -> bool {
        (self.applications.contains(key) || self.routers.contains(key)) && !self.ambiguous.contains(key)
    }

    /// `app.get("/x", …)`, `app.use("/y", router)`, `router.route("/z")`
    fn add(&mut self, files: &dyn Files, file: &str, tokens: &[Token]) {
        for at in 0..tokens.len() {
            let [Token::Name(object), Token::Operator('.'), Token::Name(method), Token::Operator('('), ..] =
                tokens.get(at..).unwrap_or_default()
            else {
                continue;
            };
            if matches!(tokens.get(at.wrapping_sub(1)), Some(Token::Operator('.'))) {
                continue;
            }
            let key = self.resolve((file.to_owned(), object.clone()));
            if !self.is_known(&key) {
                continue;
            }
            let arguments = items(within(tokens, at + 3).0);
            let path = match arguments.first() {
                Some([Token::Text(path)]) => path.clone(),
                _ => None,
            };
            let mut added = Vec::new();
            if METHODS.contains(&method.as_str()) && arguments.len() > 1 || method == "route" && arguments.len() == 1 {
                added.extend(path.map(Below::Route));
            } else if method == "use" {
                let is_text = matches!(arguments.first(), Some([Token::Text(_)]));
                // A list of paths, a pattern or what is put together.
                let Some(prefix) = (if is_text { path } else { Some(String::new()) }) else { continue };
                for argument in arguments.iter().skip(usize::from(is_text)) {
                    let router = match argument {
                        [Token::Name(router)] => Some((file.to_owned(), router.clone())),
                        [Token::Name(of), Token::Operator('.'), Token::Name(exported)] => {
                            let (its, what) = self.resolve((file.to_owned(), of.clone()));
                            (what == EXPORTED).then(|| (its, exported.clone()))
                        }
                        argument => required(argument)
                            .filter(|path| is_relative(path) && argument.len() == 4)
                            .and_then(|path| module(files, folder(file), path))
                            .map(|found| (found, EXPORTED.to_owned())),
                    };
                    let router = router.map(|router| self.resolve(router)).filter(|router| self.is_known(router));
                    // What stands first and is no router may be a path that is known when it runs.
                    if router.is_none() && !is_text {
                        break;
                    }
                    added.extend(router.map(|router| Below::Router(prefix.clone(), router)));
                }
            }
            self.below.entry(key).or_default().extend(added);
        }
    }

    fn collect(&self, key: &Key, prefix: &str, depth: usize, out: &mut Vec<ProgramRoute>) {
        if depth >= DEPTH_MAX || !self.is_known(key) {
            return;
        }
        for below in self.below.get(key).into_iter().flatten() {
            match below {
                Below::Route(path) => {
                    let whole = under(prefix, path);
                    let whole = if whole.len() > 1 { whole.trim_end_matches('/') } else { &whole };
                    let Some(route) = template::route(Style::Colon, whole) else { continue };
                    // A slash more at the end is the same to it.
                    let mut parts = route.parts.clone();
                    if !matches!(parts.last(), Some(Part::Rest)) && whole.len() > 1 {
                        parts.push(Part::Word(String::new()));
                        out.push(ProgramRoute { text: route.text.clone(), parts });
                    }
                    out.push(route);
                }
                Below::Router(path, router) => {
                    // An application within another counts here alone.
                    let prefix = if path.is_empty() { prefix.to_owned() } else { under(prefix, path) };
                    self.collect(router, &prefix, depth + 1, out);
                }
            }
        }
    }
}

/// The default of an import, and the others with what they are called here.
fn imported(names: &[Token]) -> (Option<&str>, Vec<(&str, &str)>) {
    let default = match names {
        [Token::Name(default), ..] => Some(default.as_str()),
        _ => None,
    };
    let mut others = Vec::new();
    if let Some(open) = names.iter().position(|token| *token == Token::Operator('{')) {
        for item in items(within(names, open).0) {
            match item {
                [Token::Name(one)] => others.push((one.as_str(), one.as_str())),
                [Token::Name(one), Token::Name(word), Token::Name(other)] if word == "as" => {
                    let one = if one == "default" { EXPORTED } else { one.as_str() };
                    others.push((one, other.as_str()));
                }
                _ => {}
            }
        }
    }
    (default, others)
}

#[cfg(test)]
mod tests {
    use super::{super::files::tests::Given, *};

    fn found(files: &[(&str, &str)], args: &[&str]) -> Vec<String> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let start = Start { exe: "node".into(), args, cwd: "/app".into() };
        let mut texts: Vec<String> = routes(&Given::new(files), &start).into_iter().map(|route| route.text).collect();
        texts.dedup();
        texts
    }

    #[test]
    fn routers_are_where_they_are_mounted() {
        let files = [
            (
                "/app/server.js",
                "const express = require('express');\nconst app = express();\nconst users = require('./routes/users');\n\
                 const { admin, other: rest } = require('./routes');\napp.get('/health', (req, res) => res.send('ok'));\n\
                 app.get('title');\napp.use(express.json());\napp.use('/api/users', auth, users);\napp.use('/admin', admin);\n\
                 app.use(prefix, rest);\napp.use('/orders', require('./routes/orders.js'));\n\
                 app.route('/book').get(a).post(b);\napp.get(`/${x}`, y);\nfoo.get('/no', z);\n",
            ),
            (
                "/app/routes/users.js",
                "const router = require('express').Router();\nrouter.get('/', list);\nrouter.get('/me', me);\n\
                 router.get('/:id', one);\nrouter.all('/files/*', f);\nmodule.exports = router;\n",
            ),
            (
                "/app/routes/index.js",
                "const { Router } = require('express');\nconst admin = Router();\nadmin.post('/x/:y/', f);\nconst other = Router();\n\
                 other.get('/o', f);\nmodule.exports = { admin, other };\n",
            ),
            (
                "/app/routes/orders.js",
                "const express = require('express');\nconst r = express.Router();\nr.get('/:id', f);\nmodule.exports = r;\n",
            ),
        ];
        let expected = [
            "/health",
            "/api/users",
            "/api/users/me",
            "/api/users/:id",
            "/api/users/files/*",
            "/admin/x/:y",
            "/orders/:id",
            "/book",
        ];
        assert_eq!(found(&files, &["node", "--enable-source-maps", "server.js"]), expected);
        assert_eq!(found(&files, &["node", "-r", "./x.js", "."]), [""; 0]);
    }

    #[test]
    fn modules_of_the_language_are_followed() {
        let files = [
            (
                "/app/main.mjs",
                "import express, { Router } from 'express';\nimport users from './users.mjs';\nimport { things as all } from './users.mjs';\n\
                 const app = express();\nconst api = Router();\napi.use('/users', users);\napi.use('/things', all);\napp.use('/v1', api);\n",
            ),
            (
                "/app/users.mjs",
                "import { Router as R } from 'express';\nconst users = R();\nusers.delete('/:id', f);\nexport default users;\n\
                 export const things = R();\nthings.get('/a', f);\n",
            ),
        ];
        assert_eq!(found(&files, &["node", "main.mjs"]), ["/v1/users/:id", "/v1/things/a"]);
    }
}
