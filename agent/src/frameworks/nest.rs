//! Nest: controllers' decorators, as they are written (TypeScript) and as `nest build` emits them (`tsc`, SWC and webpack, or esbuild), in the modules
//! that a program starts with and those that these load. A controller counts where a module of Nest's names it.

use std::collections::{BTreeMap, HashSet, VecDeque};

use super::{
    Harvest, Start, bundle,
    express::{self, MODULES_MAX, is_relative, required},
    files::{Files, folder, joined},
    javascript::tokens,
    template::{self, Style, under},
    tokens::{Token, items, within},
};
use crate::model::route::{Part, ProgramRoute};

const COMMON: &str = "@nestjs/common";
const CORE: &str = "@nestjs/core";
/// Beginnings of the names of OpenTelemetry's SDK, as far as it makes spans.
const SDKS: [&str; 2] = ["@opentelemetry/sdk-node", "@opentelemetry/sdk-trace"];
/// By these Node is told to load modules before the program's.
const LOADS: [&str; 3] = ["--require", "-r", "--import"];
/// What TypeScript is run by without being built.
const RUNNERS: [&str; 4] = ["ts-node", "ts-node-dev", "tsx", "ts-node-esm"];
const EXTENSIONS: [&str; 4] = [".js", ".cjs", ".mjs", ".ts"];
const METHODS: [&str; 9] = ["Get", "Post", "Put", "Patch", "Delete", "Options", "Head", "All", "Sse"];
/// What decorators are applied by: `tsc`'s, SWC's, esbuild's.
const DECORATE: [&str; 3] = ["__decorate", "_ts_decorate", "__decorateClass"];
/// With one of these, paths are made of what is not written at controllers alone.
const ELSEWHERE: [&str; 2] = ["RouterModule", "defaultVersion"];

/// A class with routes.
#[derive(Debug, Default)]
struct Controller {
    /// Its own paths; `None`: it is no controller, or its paths are not certain.
    prefixes: Option<Vec<String>>,
    paths: Vec<String>,
    /// Classes that have this name.
    classes: u32,
}

#[derive(Debug, Default)]
struct Program {
    is_nest: bool,
    /// All paths' own; `None`: there is none, or it is not certain (then nothing is).
    prefix: Option<String>,
    is_uncertain: bool,
    /// By the order in which they are met.
    controllers: Vec<(String, Controller)>,
    /// Classes that modules name as controllers.
    named: HashSet<String>,
}

/// The routes of what a program serves, none where it is not Nest's; and whether its modules load an SDK.
pub(super) fn harvest(files: &dyn Files, start: &Start) -> Harvest {
    let mut program = Program::default();
    let entries = preloaded(files, start).chain(entry(files, start));
    let (mut waiting, mut read) = (entries.collect::<VecDeque<_>>(), HashSet::new());
    let mut uses_sdk = false;
    while let Some(file) = waiting.pop_front() {
        if read.len() >= MODULES_MAX || !read.insert(file.clone()) {
            continue;
        }
        let Some(source) = files.text(&file) else { continue };
        let tokens = bundle::unbundled(tokens(&source));
        let loaded = loaded(&tokens);
        program.is_nest |= loaded.contains(&CORE);
        uses_sdk |= loaded.iter().any(|name| SDKS.iter().any(|sdk| name.starts_with(sdk)));
        waiting.extend(loaded.iter().filter(|path| is_relative(path)).filter_map(|path| {
            let path = joined(folder(&file), path);
            module(files, &path)
        }));
        program.take(&tokens);
    }
    Harvest { routes: program.routes(), uses_sdk }
}

/// Modules of the program that Node was told to load before it.
fn preloaded<'a>(files: &'a dyn Files, start: &'a Start) -> impl Iterator<Item = String> + 'a {
    // What comes behind the script is the program's own.
    let script = express::scripts(&start.args).next();
    let end = start.args.iter().position(|arg| Some(arg.as_str()) == script).unwrap_or(start.args.len());
    let args = start.args.get(..end).unwrap_or_default();
    let named = args.iter().enumerate().filter_map(|(at, arg)| match arg.split_once('=') {
        Some((option, path)) => LOADS.contains(&option).then_some(path),
        None => LOADS.contains(&arg.as_str()).then(|| args.get(at + 1).map(String::as_str))?,
    });
    let own = named.filter(|path| is_relative(path) || path.starts_with('/'));
    own.filter_map(move |path| module(files, &joined(&start.cwd, path)))
}

/// The script that Node was started with, or what a runner of TypeScript was.
fn entry(files: &dyn Files, start: &Start) -> Option<String> {
    let mut scripts = express::scripts(&start.args);
    let mut script = scripts.next()?;
    let name = script.rsplit('/').next().unwrap_or(script);
    if RUNNERS.iter().any(|runner| name == *runner || name.strip_suffix(".js") == Some(runner)) {
        script = scripts.next()?;
    }
    module(files, &joined(&start.cwd, script))
}

fn module(files: &dyn Files, path: &str) -> Option<String> {
    let ends = EXTENSIONS.iter().map(|end| (*end).to_owned());
    let of_folders = EXTENSIONS.iter().map(|end| format!("/index{end}"));
    let all = [String::new()].into_iter().chain(ends).chain(of_folders).map(|end| format!("{path}{end}"));
    // `./x.js` is `./x.ts` where it was not built.
    let unbuilt = path.strip_suffix(".js").map(|path| format!("{path}.ts"));
    let is_source = |file: &String| EXTENSIONS.iter().any(|end| file.ends_with(end));
    all.chain(unbuilt).find(|file| is_source(file) && files.length(file).is_some())
}

/// What a module loads.
fn loaded(tokens: &[Token]) -> Vec<&str> {
    let at = |at: usize| tokens.get(at..).unwrap_or_default();
    (0..tokens.len())
        .filter_map(|index| match at(index) {
            [Token::Name(from), Token::Text(Some(path)), ..] if from == "from" || from == "import" => {
                Some(path.as_str())
            }
            rest => required(rest),
        })
        .collect()
}

/// Names of decorators as a module has them from Nest, or of all that Nest gives.
#[derive(Default)]
struct Names<'a> {
    /// `const common_1 = require("@nestjs/common")`
    whole: HashSet<&'a str>,
    /// `import { Get as Fetch } from '@nestjs/common'`: what it is called, what it is.
    single: BTreeMap<&'a str, &'a str>,
}

impl<'a> Names<'a> {
    fn of(tokens: &'a [Token]) -> Self {
        let mut names = Self::default();
        for at in 0..tokens.len() {
            match tokens.get(at..).unwrap_or_default() {
                [Token::Name(name), Token::Operator('='), value @ ..] if required(value) == Some(COMMON) => {
                    names.whole.insert(name);
                }
                [Token::Name(import), Token::Operator('{'), ..] if import == "import" => {
                    let (list, end) = within(tokens, at + 1);
                    let is_of_nest = matches!(
                        tokens.get(end + 1..end + 3),
                        Some([Token::Name(from), Token::Text(Some(path))]) if from == "from" && path == COMMON
                    );
                    for item in items(list).into_iter().filter(|_| is_of_nest) {
                        match item {
                            [Token::Name(one)] => drop(names.single.insert(one, one)),
                            [Token::Name(one), Token::Name(word), Token::Name(other)] if word == "as" => {
                                names.single.insert(other, one);
                            }
                            _ => {}
                        }
                    }
                }
                _ => {}
            }
        }
        names
    }

    /// The decorator that is called here, by Nest's name, and where its arguments open.
    fn decorator(&self, tokens: &'a [Token]) -> Option<(&'a str, usize)> {
        match tokens {
            // `(0, common_1.Get)(…)`
            [
                Token::Operator('('),
                Token::Number(0),
                Token::Operator(','),
                Token::Name(whole),
                Token::Operator('.'),
                Token::Name(name),
                Token::Operator(')'),
                Token::Operator('('),
                ..,
            ] if self.whole.contains(whole.as_str()) => Some((name, 7)),
            // `common_1.Get(…)`
            [Token::Name(whole), Token::Operator('.'), Token::Name(name), Token::Operator('('), ..]
                if self.whole.contains(whole.as_str()) =>
            {
                Some((name, 3))
            }
            // `Get(…)`
            [Token::Name(name), Token::Operator('('), ..] => Some((self.single.get(name.as_str())?, 1)),
            _ => None,
        }
    }
}

/// The paths that a decorator names: one, a list, none; `None`: they are not certain.
fn paths(arguments: &[Token]) -> Option<Vec<String>> {
    match arguments {
        [] => Some(vec![String::new()]),
        [Token::Text(path)] => Some(vec![path.clone()?]),
        [Token::Operator('['), ..] => items(within(arguments, 0).0)
            .into_iter()
            .map(|item| match item {
                [Token::Text(path)] => path.clone(),
                _ => None,
            })
            .collect(),
        [Token::Operator('{'), ..] => {
            let mut found = Some(vec![String::new()]);
            for item in items(within(arguments, 0).0) {
                match item {
                    [Token::Name(key), Token::Operator(':'), value @ ..] if key == "path" => found = paths(value),
                    // Requests to another host, and another version of an interface, have paths that are not written here.
                    [Token::Name(key), ..] if key == "host" || key == "version" => return None,
                    [Token::Name(_), Token::Operator(':'), ..] => {}
                    _ => return None,
                }
            }
            found
        }
        _ => None,
    }
}

impl Program {
    /// Does something to a class, which may be met for the first time.
    fn change(&mut self, class: &str, change: impl FnOnce(&mut Controller)) {
        match self.controllers.iter_mut().find(|(name, _)| name == class) {
            Some((_, controller)) => change(controller),
            None => {
                let mut controller = Controller::default();
                change(&mut controller);
                self.controllers.push((class.to_owned(), controller));
            }
        }
    }

    fn take(&mut self, tokens: &[Token]) {
        let names = Names::of(tokens);
        let mut at = 0;
        while at < tokens.len() {
            let rest = tokens.get(at..).unwrap_or_default();
            match rest {
                [Token::Name(name), ..] if ELSEWHERE.contains(&name.as_str()) => self.is_uncertain = true,
                // `app.setGlobalPrefix('api')`
                [Token::Operator('.'), Token::Name(name), Token::Operator('('), ..] if name == "setGlobalPrefix" => {
                    match items(within(rest, 2).0).first() {
                        Some([Token::Text(Some(prefix))]) if self.prefix.is_none() => {
                            self.prefix = Some(prefix.clone());
                        }
                        _ => self.is_uncertain = true,
                    }
                }
                // `controllers: [CatsController, dogs_1.DogsController]`
                [Token::Name(key), Token::Operator(':'), Token::Operator('['), ..] if key == "controllers" => {
                    for item in items(within(rest, 2).0) {
                        if let [.., Token::Name(class)] = item {
                            self.named.insert(class.clone());
                        }
                    }
                }
                // `__decorate([…], CatsController.prototype, "find", null)`
                [Token::Name(decorate), Token::Operator('('), Token::Operator('['), ..]
                    if DECORATE.contains(&decorate.as_str()) =>
                {
                    let (list, end) = within(rest, 2);
                    let decorators: Vec<_> = items(list).into_iter().filter_map(|it| called(&names, it)).collect();
                    match rest.get(end + 1..).unwrap_or_default() {
                        [
                            Token::Operator(','),
                            Token::Name(class),
                            Token::Operator('.'),
                            Token::Name(prototype),
                            ..,
                        ] if prototype == "prototype" => {
                            self.method(class, &decorators);
                        }
                        [Token::Operator(','), Token::Name(class), Token::Operator(')'), ..] => {
                            self.class(class, &decorators);
                        }
                        _ => {}
                    }
                }
                // `@Controller('cats') export class CatsController { … }`
                [Token::Operator('@'), decorated @ ..]
                    if names.decorator(decorated).is_some_and(|(name, _)| name == "Controller") =>
                {
                    at += self.written(&names, rest);
                    continue;
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// A class as it is written, from its decorator on; how many tokens that are.
    fn written(&mut self, names: &Names<'_>, tokens: &[Token]) -> usize {
        let (mut decorators, mut at) = (Vec::new(), 0);
        let class = loop {
            match tokens.get(at..).unwrap_or_default() {
                [Token::Operator('@'), decorated @ ..] => {
                    decorators.extend(called(names, decorated));
                    // Behind its arguments, of Nest's and of others.
                    let open = decorated.iter().position(|token| *token == Token::Operator('('));
                    let Some(open) = open.filter(|open| *open < 8) else { return at + 1 };
                    at += 1 + within(decorated, open).1 + 1;
                }
                [Token::Name(word), Token::Name(class), ..] if word == "class" => break class,
                [Token::Name(word), ..] if matches!(word.as_str(), "export" | "default" | "abstract") => at += 1,
                _ => return at.max(1),
            }
        };
        self.class(class, &decorators);
        let Some(open) = tokens.iter().skip(at).position(|token| *token == Token::Operator('{')) else {
            return at + 1;
        };
        let (body, end) = within(tokens, at + open);
        for index in 0..body.len() {
            if body.get(index) == Some(&Token::Operator('@')) {
                let method = called(names, body.get(index + 1..).unwrap_or_default());
                self.method(class, &Vec::from_iter(method));
            }
        }
        end + 1
    }

    fn class(&mut self, class: &str, decorators: &[(&str, Option<Vec<String>>)]) {
        if let Some((_, paths)) = decorators.iter().find(|(name, _)| *name == "Controller") {
            let has_version = decorators.iter().any(|(name, _)| *name == "Version");
            self.change(class, |it| {
                it.classes = it.classes.saturating_add(1);
                it.prefixes = paths.clone().filter(|_| !has_version);
            });
        }
    }

    fn method(&mut self, class: &str, decorators: &[(&str, Option<Vec<String>>)]) {
        // Another version of an interface has another path.
        if decorators.iter().any(|(name, _)| *name == "Version") {
            return;
        }
        for (_, paths) in decorators.iter().filter(|(name, _)| METHODS.contains(name)) {
            let paths = paths.clone().unwrap_or_default();
            self.change(class, |it| it.paths.extend(paths));
        }
    }

    fn routes(self) -> Vec<ProgramRoute> {
        let Self { is_nest, prefix, is_uncertain, controllers, named } = self;
        if !is_nest || is_uncertain {
            return Vec::new();
        }
        let prefix = prefix.unwrap_or_default();
        let mut out = Vec::new();
        for (_, controller) in controllers.into_iter().filter(|(class, its)| named.contains(class) && its.classes == 1)
        {
            for own in controller.prefixes.unwrap_or_default() {
                for path in &controller.paths {
                    let whole = [prefix.as_str(), &own, path].iter().fold(String::new(), |whole, part| {
                        if part.trim_matches('/').is_empty() { whole } else { under(&whole, part) }
                    });
                    let whole = if whole.is_empty() { "/" } else { whole.trim_end_matches('/') };
                    let Some(route) = template::route(Style::Colon, whole) else { continue };
                    // A slash more at the end is the same to it.
                    let mut parts = route.parts.clone();
                    if !matches!(parts.last(), Some(Part::Rest)) && whole.len() > 1 {
                        parts.push(Part::Word(String::new()));
                        out.push(ProgramRoute { text: route.text.clone(), parts });
                    }
                    out.push(route);
                }
            }
        }
        out
    }
}

/// The decorator that is called here, and the paths that it names.
fn called<'a>(names: &Names<'a>, tokens: &'a [Token]) -> Option<(&'a str, Option<Vec<String>>)> {
    let (name, open) = names.decorator(tokens)?;
    Some((name, paths(within(tokens, open).0)))
}

#[cfg(test)]
mod tests {
    use super::{super::files::tests::Given, *};

    fn found(files: &[(&str, &str)], args: &[&str]) -> Vec<String> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let start = Start { exe: "node".into(), args, cwd: "/app".into() };
        let mut routes: Vec<String> =
            harvest(&Given::new(files), &start).routes.into_iter().map(|route| route.text).collect();
        routes.dedup();
        routes
    }

    #[test]
    fn an_sdk_is_used_where_a_module_of_the_program_loads_it() {
        let files = Given::new(&[
            ("/app/tracing.js", "const { NodeSDK } = require('@opentelemetry/sdk-node');\nnew NodeSDK().start();\n"),
            ("/app/esm.mjs", "import { BasicTracerProvider } from '@opentelemetry/sdk-trace-base';\n"),
            ("/app/own.js", "require('./tracing');\nrequire('http');\n"),
            ("/app/plain.js", "require('@opentelemetry/api'); // require('@opentelemetry/sdk-node')\n"),
        ]);
        let uses = |args: &[&str]| {
            let args = args.iter().map(|arg| (*arg).to_owned()).collect();
            harvest(&files, &Start { exe: "node".into(), args, cwd: "/app".into() }).uses_sdk
        };
        for args in [
            &["node", "own.js"][..],
            &["node", "--require", "./tracing.js", "plain.js"],
            &["node", "-r", "./tracing", "plain.js"],
            &["node", "--import=./esm.mjs", "plain.js"],
            &["node", "--require=/app/tracing.js", "plain.js"],
        ] {
            assert!(uses(args), "{args:?}");
        }
        for args in
            [&["node", "plain.js"][..], &["node", "plain.js", "--require", "./tracing.js"], &["node", "--require"]]
        {
            assert!(!uses(args), "{args:?}");
        }
    }

    const MAIN: &str = "\"use strict\";\nObject.defineProperty(exports, \"__esModule\", { value: true });\nconst core_1 = require(\"@nestjs/core\");\n\
        const app_module_1 = require(\"./app.module\");\nasync function bootstrap() {\n    const app = await core_1.NestFactory.create(app_module_1.AppModule);\n    \
        app.setGlobalPrefix('api');\n    await app.listen(process.env.PORT ?? 3000);\n}\nbootstrap();\n";
    const MODULE: &str = "var __decorate = (this && this.__decorate) || function (decorators, target, key, desc) { return target; };\n\
        const common_1 = require(\"@nestjs/common\");\nconst cats_controller_1 = require(\"./cats/cats.controller\");\nlet AppModule = class AppModule {\n};\n\
        exports.AppModule = AppModule;\nexports.AppModule = AppModule = __decorate([\n    (0, common_1.Module)({\n        imports: [],\n        \
        controllers: [cats_controller_1.CatsController, cats_controller_1.RootController],\n        providers: [],\n    })\n], AppModule);\n";
    const CATS: &str = "const common_1 = require(\"@nestjs/common\");\nlet CatsController = class CatsController {\n    constructor(service) { this.service = service; }\n    \
        findAll() { return []; }\n};\nexports.CatsController = CatsController;\n\
        __decorate([\n    (0, common_1.Get)(),\n    __metadata(\"design:type\", Function),\n    __metadata(\"design:paramtypes\", [])\n], CatsController.prototype, \"findAll\", null);\n\
        __decorate([\n    (0, common_1.Get)(':id'),\n    __param(0, (0, common_1.Param)('id')),\n    __metadata(\"design:type\", Function)\n], CatsController.prototype, \"findOne\", null);\n\
        __decorate([\n    (0, common_1.UseGuards)(Guard),\n    (0, common_1.Post)([':id/toys', ':id/games'])\n], CatsController.prototype, \"add\", null);\n\
        __decorate([\n    (0, common_1.Get)(`x-${name}`)\n], CatsController.prototype, \"dynamic\", null);\n\
        __decorate([\n    (0, common_1.Version)('2'),\n    (0, common_1.Get)('versioned')\n], CatsController.prototype, \"other\", null);\n\
        exports.CatsController = CatsController = __decorate([\n    (0, common_1.Controller)('cats'),\n    __metadata(\"design:paramtypes\", [Object])\n], CatsController);\n\
        let RootController = class RootController {};\n__decorate([\n    common_1.Get()\n], RootController.prototype, \"root\", null);\n\
        RootController = __decorate([\n    common_1.Controller()\n], RootController);\nexports.RootController = RootController;\n\
        let Unused = class Unused {};\n__decorate([\n    (0, common_1.Get)('unused')\n], Unused.prototype, \"u\", null);\nUnused = __decorate([(0, common_1.Controller)('u')], Unused);\n";

    #[test]
    fn what_nest_builds_is_read() {
        let files = [
            ("/app/dist/main.js", MAIN),
            ("/app/dist/app.module.js", MODULE),
            ("/app/dist/cats/cats.controller.js", CATS),
        ];
        let expected = ["/api/cats", "/api/cats/:id", "/api/cats/:id/toys", "/api/cats/:id/games", "/api"];
        assert_eq!(found(&files, &["node", "--enable-source-maps", "dist/main"]), expected);
        // What is not Nest's is left to others.
        let express = [
            ("/app/dist/main.js", "const express = require('express');\nrequire('./app.module');\n"),
            files[1],
            files[2],
        ];
        assert_eq!(found(&express, &["node", "dist/main"]), [""; 0]);
        // Paths that are put together elsewhere too are not certain.
        for change in ["app.setGlobalPrefix(process.env.PREFIX)", "core_1.RouterModule.register(routes)"] {
            let main = MAIN.replace("app.setGlobalPrefix('api')", change);
            let files = [("/app/dist/main.js", main.as_str()), files[1], files[2]];
            assert_eq!(found(&files, &["node", "dist/main"]), [""; 0], "{change}");
        }
    }

    #[test]
    fn what_swc_builds_is_read() {
        let cats = CATS.replace("(0, common_1.", "(0, _common.").replace("__decorate([", "_ts_decorate([");
        let cats = cats.replace("const common_1 = require", "const _common = require").replace("common_1.", "_common.");
        let files = [
            ("/app/dist/main.js", MAIN),
            ("/app/dist/app.module.js", MODULE),
            ("/app/dist/cats/cats.controller.js", cats.as_str()),
        ];
        assert_eq!(found(&files, &["node", "dist/main.js"]).len(), 5);
    }

    #[test]
    fn what_webpack_and_esbuild_put_into_one_file_is_read() {
        let expected = ["/api/cats", "/api/cats/:id", "/api/cats/:id/toys", "/api/cats/:id/games", "/api"];
        let names =
            [("@nestjs/core", "1"), ("@nestjs/common", "3"), ("./app.module", "2"), ("./cats/cats.controller", "4")];
        let within = |source: &str| {
            names.iter().fold(source.to_owned(), |source, (name, number)| {
                source.replace(&format!("require(\"{name}\")"), &format!("__webpack_require__({number})"))
            })
        };
        let outside = |name: &str| format!("((module) => {{\n\nmodule.exports = require(\"{name}\");\n\n}})");
        let module = |source: &str| {
            format!("(function(__unused_webpack_module, exports, __webpack_require__) {{\n{}\n}})", within(source))
        };
        let bundle = format!(
            "(() => {{ // webpackBootstrap\n\"use strict\";\nvar __webpack_modules__ = ([\n/* 0 */,\n/* 1 */\n{},\n/* 2 */\n{},\n/* 3 */\n{},\n/* 4 */\n{}\n]);\n(() => {{\n{}\n}})();\n}})();\n",
            outside("@nestjs/core"),
            module(MODULE),
            outside("@nestjs/common"),
            module(CATS),
            within(MAIN)
        );
        assert_eq!(found(&[("/app/dist/main.js", bundle.as_str())], &["node", "dist/main"]), expected);
        let whole = [MODULE, CATS, MAIN].concat();
        let whole =
            whole.replace("require(\"./app.module\")", "{}").replace("require(\"./cats/cats.controller\")", "{}");
        let whole = whole.replace("__decorate([", "__decorateClass([");
        assert_eq!(found(&[("/app/dist/main.js", whole.as_str())], &["node", "dist/main"]), expected);
    }

    #[test]
    fn of_classes_with_the_same_name_nothing_is_certain() {
        let cats = [CATS, "let RootController = class RootController {};\nRootController = __decorate([(0, common_1.Controller)('v2')], RootController);\n"].concat();
        let files = [
            ("/app/dist/main.js", MAIN),
            ("/app/dist/app.module.js", MODULE),
            ("/app/dist/cats/cats.controller.js", cats.as_str()),
        ];
        let expected = ["/api/cats", "/api/cats/:id", "/api/cats/:id/toys", "/api/cats/:id/games"];
        assert_eq!(found(&files, &["node", "dist/main"]), expected);
    }

    #[test]
    fn sources_in_typescript_are_read() {
        let files = [
            (
                "/app/src/main.ts",
                "import { NestFactory } from '@nestjs/core';\nimport { AppModule } from './app.module';\n\
                 async function bootstrap(): Promise<void> {\n  const app = await NestFactory.create<NestExpressApplication>(AppModule);\n  await app.listen(3000);\n}\nvoid bootstrap();\n",
            ),
            (
                "/app/src/app.module.ts",
                "import { Module } from '@nestjs/common';\nimport { CatsController } from './cats/cats.controller.js';\n\n\
                 @Module({\n  imports: [],\n  controllers: [CatsController],\n})\nexport class AppModule {}\n",
            ),
            (
                "/app/src/cats/cats.controller.ts",
                "import { Controller, Get, Post as Add, Param, HttpCode } from '@nestjs/common';\nimport { ApiTags } from '@nestjs/swagger';\n\n\
                 @ApiTags('cats')\n@Controller({ path: 'cats', scope: Scope.REQUEST })\n@ApiOther()\nexport class CatsController {\n  \
                 constructor(private readonly cats: CatsService) {}\n\n  @Get()\n  findAll(@Query() query: ListAll): Observable<any[]> {\n    return of([]);\n  }\n\n  \
                 @Add(':id/toys')\n  @HttpCode(204)\n  async add(@Param('id') id: string, @Body() body: { name: string }) {\n    return `a ${id}`;\n  }\n\n  \
                 @Get('search/:term')\n  search(@Param() params: any): string {\n    return params.term;\n  }\n}\n",
            ),
        ];
        let expected = ["/cats", "/cats/:id/toys", "/cats/search/:term"];
        assert_eq!(found(&files, &["node", "/app/node_modules/.bin/ts-node", "src/main.ts"]), expected);
        assert_eq!(found(&files, &["node", "-r", "ts-node/register", "src/main.ts"]), expected);
        let of_host = files[2].1.replace("scope: Scope.REQUEST", "host: 'admin.example.com'");
        assert_eq!(found(&[files[0], files[1], (files[2].0, &of_host)], &["node", "src/main.ts"]), [""; 0]);
    }
}
