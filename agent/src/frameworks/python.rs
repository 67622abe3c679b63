//! Flask, FastAPI and Django, in the modules that a program starts with and those that these import.

use std::collections::{HashMap, HashSet, VecDeque};

use super::{
    Harvest, Start,
    files::{Files, folder, joined},
    python_syntax::{Arguments, Statement, dotted, literal, statements},
    template::{self, Style, under},
    tokens::{Token, items, within},
};
use crate::model::route::{Part, ProgramRoute};

/// Most modules that are read.
const MODULES_MAX: usize = 500;
/// How deep routers and urlconfs may be within others.
const DEPTH_MAX: usize = 16;
/// What starts a server of an application, which is named as an argument.
const SERVERS: [&str; 9] =
    ["gunicorn", "uvicorn", "hypercorn", "daphne", "granian", "waitress-serve", "waitress", "flask", "fastapi"];

/// A module by its file.
type File = String;

struct Modules<'a> {
    files: &'a dyn Files,
    /// Folders in which modules are looked for.
    roots: Vec<String>,
    read: HashMap<File, Module>,
    /// One of them imports OpenTelemetry's SDK.
    uses_sdk: bool,
}

#[derive(Default)]
struct Module {
    statements: Vec<Statement>,
    /// What a name stands for: a module, or a name in one.
    imports: HashMap<String, (File, Option<String>)>,
}

/// The routes of what a program serves, and whether its modules import an SDK.
pub(super) fn harvest(files: &dyn Files, start: &Start) -> Harvest {
    let mut modules = Modules { files, roots: Vec::new(), read: HashMap::new(), uses_sdk: false };
    let entries = modules.entries(start);
    let mut waiting: VecDeque<File> = entries.into();
    let mut order: Vec<File> = Vec::new();
    while let Some(file) = waiting.pop_front() {
        if order.len() >= MODULES_MAX || order.contains(&file) {
            continue;
        }
        if let Some(imported) = modules.read(&file) {
            order.push(file);
            waiting.extend(imported);
        }
    }
    let mut routes = Web::of(&modules, &order).routes();
    routes.extend(django(&mut modules, &order));
    Harvest { routes, uses_sdk: modules.uses_sdk }
}

/// Whether a module is one of OpenTelemetry's SDK, or sets it up.
fn is_sdk(name: &str) -> bool {
    ["opentelemetry.sdk", "opentelemetry.instrumentation.auto_instrumentation"]
        .iter()
        .filter_map(|module| name.strip_prefix(module))
        .any(|rest| rest.is_empty() || rest.starts_with('.'))
}

impl Modules<'_> {
    /// Files that the program starts with.
    fn entries(&mut self, start: &Start) -> Vec<File> {
        let mut args = start.args.iter().skip(1).skip_while(|arg| arg.starts_with('-') && *arg != "-m");
        self.roots.push(start.cwd.clone());
        let Some(first) = args.next() else { return Vec::new() };
        let rest: Vec<&String> = args.collect();
        let launcher = if first == "-m" { rest.first().copied().unwrap_or(first) } else { first };
        let name = launcher.rsplit('/').next().unwrap_or_default();
        let mut entries = Vec::new();
        if SERVERS.contains(&name) {
            let named = rest.iter().filter_map(|arg| arg.strip_prefix("--app=").unwrap_or(arg).split(':').next());
            for name in named.filter(|name| !name.starts_with('-')) {
                let name = name.strip_suffix(".py").unwrap_or(name).replace('/', ".");
                entries.extend(self.find(&name));
            }
            if entries.is_empty() && matches!(name, "flask" | "fastapi") {
                entries.extend(["app", "wsgi", "main"].iter().find_map(|name| self.find(name)));
            }
        } else if first == "-m" {
            let module = launcher.as_str();
            entries.extend(self.find(&format!("{module}.__main__")).or_else(|| self.find(module)));
        } else {
            let file = joined(&start.cwd, first);
            let its = folder(&file).to_owned();
            if !self.roots.contains(&its) {
                self.roots.insert(0, its);
            }
            entries.push(file);
        }
        entries
    }

    /// The file of a module.
    fn find(&self, name: &str) -> Option<File> {
        if name.is_empty() || name.contains('/') {
            return None;
        }
        let path = name.replace('.', "/");
        let places =
            self.roots.iter().flat_map(|root| [format!("{root}/{path}.py"), format!("{root}/{path}/__init__.py")]);
        places
            .map(|place| joined("", &place))
            .find(|place| self.read.contains_key(place) || self.files.length(place).is_some())
    }

    /// Reads a module; gives the files that it imports.
    fn read(&mut self, file: &str) -> Option<Vec<File>> {
        let source = self.files.text(file)?;
        let mut module = Module { statements: statements(&source), imports: HashMap::new() };
        let mut imported = Vec::new();
        let mut uses_sdk = false;
        for statement in &module.statements {
            match statement.tokens.as_slice() {
                [Token::Name(import), rest @ ..] if import == "import" => {
                    for item in items(rest) {
                        let (name, alias) = aliased(item);
                        let Some(name) = dotted(name) else { continue };
                        uses_sdk |= is_sdk(&name);
                        let Some(found) = self.find(&name) else { continue };
                        let alias = alias.unwrap_or(&name).to_owned();
                        module.imports.insert(alias, (found.clone(), None));
                        imported.push(found);
                    }
                }
                [Token::Name(from), rest @ ..] if from == "from" => {
                    let dots = rest.iter().take_while(|token| **token == Token::Operator('.')).count();
                    let rest = rest.get(dots..).unwrap_or_default();
                    let Some(at) = rest.iter().position(|token| *token == Token::Name("import".into())) else {
                        continue;
                    };
                    let (name, names) = rest.split_at(at);
                    let name = dotted(name).unwrap_or_default();
                    uses_sdk |= dots == 0 && is_sdk(&name);
                    let of = |name: &str| match dots {
                        0 => self.find(name),
                        dots => {
                            let mut base = folder(file);
                            (1..dots).for_each(|_| base = folder(base));
                            let path = if name.is_empty() {
                                base.to_owned()
                            } else {
                                format!("{base}/{}", name.replace('.', "/"))
                            };
                            let places = [format!("{path}.py"), format!("{path}/__init__.py")];
                            places.into_iter().find(|place| self.files.length(place).is_some())
                        }
                    };
                    let names = names.get(1..).unwrap_or_default();
                    let names = match names.first() {
                        Some(Token::Operator('(')) => within(names, 0).0,
                        _ => names,
                    };
                    let source = of(&name);
                    imported.extend(source.clone());
                    for item in items(names) {
                        let (target, alias) = aliased(item);
                        let Some(target) = dotted(target) else { continue };
                        let alias = alias.unwrap_or(&target).to_owned();
                        let below = if name.is_empty() { target.clone() } else { format!("{name}.{target}") };
                        if let Some(found) = of(&below) {
                            module.imports.insert(alias, (found.clone(), None));
                            imported.push(found);
                        } else if let Some(source) = &source {
                            module.imports.insert(alias, (source.clone(), Some(target)));
                        }
                    }
                }
                _ => {}
            }
        }
        self.read.insert(file.to_owned(), module);
        self.uses_sdk |= uses_sdk;
        Some(imported)
    }

    /// Where a name of a module is defined.
    fn resolve(&self, file: &str, name: &str) -> (File, String) {
        let (mut file, mut name) = (file.to_owned(), name.to_owned());
        for _ in 0..DEPTH_MAX {
            let Some(module) = self.read.get(&file) else { break };
            let found = module.imports.get(&name).cloned().or_else(|| {
                // `users.router`, `app.users.router`
                let (of, rest) = name.rsplit_once('.')?;
                let (its, inner) = module.imports.get(of)?;
                let inner = inner.as_ref().map_or(rest.to_owned(), |inner| format!("{inner}.{rest}"));
                Some((its.clone(), Some(inner)))
            });
            match found {
                Some((its, Some(inner))) => (file, name) = (its, inner),
                _ => break,
            }
        }
        (file, name)
    }
}

/// `a.b as c`.
fn aliased(item: &[Token]) -> (&[Token], Option<&str>) {
    match item {
        [name @ .., Token::Name(word), Token::Name(alias)] if word == "as" => (name, Some(alias)),
        _ => (item, None),
    }
}

/// An application or router: where it is defined and its name there.
type Key = (File, String);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Application,
    Router,
}

struct Object {
    kind: Kind,
    style: Style,
    /// Of its own; `None`: not a literal one.
    prefix: Option<String>,
}

/// Flask's and FastAPI's applications.
#[derive(Default)]
struct Web {
    objects: HashMap<Key, Object>,
    /// Names that stand for several.
    ambiguous: HashSet<Key>,
    /// Routes and what is mounted, in their order.
    below: HashMap<Key, Vec<Below>>,
    applications: Vec<Key>,
}

enum Below {
    Route(String),
    /// A router, and the prefix it is given; `None`: not a literal one.
    Router(Key, Option<Prefix>),
}

#[derive(Clone)]
enum Prefix {
    /// Before its own.
    Before(String),
    /// Instead of its own.
    Instead(String),
    Own,
}

impl Web {
    fn of(modules: &Modules<'_>, order: &[File]) -> Self {
        let mut web = Self::default();
        for file in order {
            for statement in modules.read.get(file).into_iter().flat_map(|module| &module.statements) {
                web.define(file, statement);
            }
        }
        for file in order {
            for statement in modules.read.get(file).into_iter().flat_map(|module| &module.statements) {
                web.add(modules, file, statement);
            }
        }
        web
    }

    /// `app = Flask(__name__)`
    fn define(&mut self, file: &str, statement: &Statement) {
        let tokens = &statement.tokens;
        let Some(at) = tokens.iter().position(|token| *token == Token::Operator('=')) else { return };
        // `app: FastAPI = …`
        let target = tokens.get(..at).unwrap_or_default();
        let target = target.split(|token| *token == Token::Operator(':')).next().and_then(dotted);
        let value = tokens.get(at + 1..).unwrap_or_default();
        let Some(open) = value.iter().position(|token| *token == Token::Operator('(')) else { return };
        let (Some(target), Some(callee)) = (target, dotted(value.get(..open).unwrap_or_default())) else { return };
        let (inner, end) = within(value, open);
        let arguments = Arguments::of(inner);
        let prefix = |name: &str| match arguments.named(name) {
            Some([Token::Name(none)]) if none == "None" => Some(String::new()),
            Some(value) => literal(value).map(str::to_owned),
            None => (!arguments.has_more).then(String::new),
        };
        let (kind, style, prefix) = match callee.rsplit('.').next().unwrap_or_default() {
            "Flask" | "Quart" => (Kind::Application, Style::Angle, Some(String::new())),
            "FastAPI" => (Kind::Application, Style::Starlette, Some(String::new())),
            "Blueprint" => (Kind::Router, Style::Angle, prefix("url_prefix")),
            "APIRouter" => (Kind::Router, Style::Starlette, prefix("prefix")),
            _ => return,
        };
        if end + 1 != value.len() {
            return;
        }
        let key = (file.to_owned(), target);
        if self.objects.insert(key.clone(), Object { kind, style, prefix }).is_some() {
            self.ambiguous.insert(key);
        } else if kind == Kind::Application {
            self.applications.push(key);
        }
    }

    /// `@app.route("/x")`, `app.register_blueprint(b, url_prefix="/y")`
    fn add(&mut self, modules: &Modules<'_>, file: &str, statement: &Statement) {
        let tokens = match statement.tokens.as_slice() {
            [Token::Operator('@'), rest @ ..] => rest,
            rest => rest,
        };
        let is_decorator = tokens.len() < statement.tokens.len();
        let Some(open) = tokens.iter().position(|token| *token == Token::Operator('(')) else { return };
        let Some(callee) = dotted(tokens.get(..open).unwrap_or_default()) else { return };
        let Some((object, method)) = callee.rsplit_once('.') else { return };
        let key = modules.resolve(file, object);
        let Some(style) = self.objects.get(&key).map(|object| object.style) else { return };
        let arguments = Arguments::of(within(tokens, open).0);
        let path = |names: &[&str]| {
            let value = arguments.positional.first().copied();
            value.or_else(|| names.iter().find_map(|name| arguments.named(name))).and_then(literal).map(str::to_owned)
        };
        let added = match (method, style) {
            ("route" | "get" | "post" | "put" | "patch" | "delete" | "head" | "options" | "websocket", _)
                if is_decorator =>
            {
                path(&["rule", "path"]).map(Below::Route)
            }
            ("api_route" | "trace", Style::Starlette) if is_decorator => path(&["path"]).map(Below::Route),
            ("add_url_rule" | "add_api_route", _) => path(&["rule", "path"]).map(Below::Route),
            ("register_blueprint" | "include_router", _) => {
                let Some(router) = arguments.positional.first().and_then(|router| dotted(router)) else { return };
                let name = if style == Style::Angle { "url_prefix" } else { "prefix" };
                let prefix = match arguments.named(name) {
                    Some(value) => literal(value).map(|text| match style {
                        Style::Angle => Prefix::Instead(text.to_owned()),
                        _ => Prefix::Before(text.to_owned()),
                    }),
                    None => (!arguments.has_more).then_some(Prefix::Own),
                };
                Some(Below::Router(modules.resolve(file, &router), prefix))
            }
            _ => None,
        };
        if let Some(added) = added {
            self.below.entry(key).or_default().push(added);
        }
    }

    fn routes(&self) -> Vec<ProgramRoute> {
        let mut routes = Vec::new();
        for key in &self.applications {
            let mut own = Vec::new();
            self.collect(key, "", 0, &mut own);
            if self.objects.get(key).is_some_and(|object| object.style == Style::Angle) {
                // Werkzeug tries what is said more closely first; Starlette goes by order.
                own.sort_by_key(|route| route.parts.iter().map(weight).collect::<Vec<_>>());
            }
            routes.append(&mut own);
        }
        routes
    }

    fn collect(&self, key: &Key, prefix: &str, depth: usize, out: &mut Vec<ProgramRoute>) {
        let Some(object) = self.objects.get(key).filter(|_| depth < DEPTH_MAX && !self.ambiguous.contains(key)) else {
            return;
        };
        let mut own = Vec::new();
        for below in self.below.get(key).into_iter().flatten() {
            match below {
                Below::Route(path) => own.extend(template::route(object.style, &under(prefix, path))),
                Below::Router(router, Some(given)) => {
                    let Some(its) = self.objects.get(router).filter(|its| its.kind == Kind::Router) else { continue };
                    let its = match given {
                        Prefix::Instead(given) => Some(given.clone()),
                        Prefix::Before(given) => {
                            its.prefix.as_ref().map(|its| format!("{}{its}", given.trim_end_matches('/')))
                        }
                        Prefix::Own => its.prefix.clone(),
                    };
                    let Some(its) = its else { continue };
                    let prefix = if its.is_empty() { prefix.to_owned() } else { under(prefix, &its) };
                    self.collect(router, &prefix, depth + 1, &mut own);
                }
                Below::Router(_, None) => {}
            }
        }
        out.append(&mut own);
    }
}

const fn weight(part: &Part) -> u8 {
    match part {
        Part::Word(_) => 0,
        Part::Number => 1,
        Part::Value => 2,
        Part::Rest => 3,
        Part::RestOrNone => 4,
    }
}

/// The routes of a Django project, by its settings.
fn django(modules: &mut Modules<'_>, order: &[File]) -> Vec<ProgramRoute> {
    let settings = order.iter().find_map(|file| {
        let statements = &modules.read.get(file)?.statements;
        statements.iter().find_map(|statement| {
            let open = statement.tokens.iter().position(|token| *token == Token::Operator('('))?;
            let callee = dotted(statement.tokens.get(..open)?)?;
            let arguments = Arguments::of(within(&statement.tokens, open).0);
            let [name, value] = arguments.positional.as_slice() else { return None };
            (callee.ends_with("environ.setdefault") && literal(name) == Some("DJANGO_SETTINGS_MODULE"))
                .then(|| literal(value).map(str::to_owned))?
        })
    });
    let Some(settings) = settings.and_then(|name| modules.find(&name)) else { return Vec::new() };
    let _imported = modules.read(&settings);
    let urls = assigned(modules, &settings, "ROOT_URLCONF").and_then(|value| literal(&value).map(str::to_owned));
    let Some(urls) = urls.and_then(|name| modules.find(&name)) else { return Vec::new() };
    let mut routes = Vec::new();
    urlconf(modules, &urls, "/", 0, &mut routes);
    routes
}

/// What a name is set to in a module, once.
fn assigned(modules: &Modules<'_>, file: &str, name: &str) -> Option<Vec<Token>> {
    let mut values =
        modules.read.get(file)?.statements.iter().filter_map(|statement| match statement.tokens.as_slice() {
            [Token::Name(its), Token::Operator('='), value @ ..] if its == name => Some(value.to_vec()),
            _ => None,
        });
    values.next().filter(|_| values.next().is_none())
}

fn urlconf(modules: &mut Modules<'_>, file: &str, prefix: &str, depth: usize, out: &mut Vec<ProgramRoute>) {
    if depth >= DEPTH_MAX || modules.read.len() >= MODULES_MAX {
        return;
    }
    if !modules.read.contains_key(file) {
        let _imported = modules.read(file);
    }
    let Some(patterns) = assigned(modules, file, "urlpatterns") else { return };
    let Some(Token::Operator('[')) = patterns.first() else { return };
    for item in items(within(&patterns, 0).0) {
        let [Token::Name(function), Token::Operator('('), ..] = item else { continue };
        if function != "path" {
            continue;
        }
        let arguments = Arguments::of(within(item, 1).0);
        let [path, view, ..] = arguments.positional.as_slice() else { continue };
        let Some(path) = literal(path) else { continue };
        let whole = format!("{prefix}{path}");
        match view {
            [Token::Name(include), Token::Operator('('), ..] if include == "include" => {
                let inner = Arguments::of(within(view, 1).0);
                let Some(first) = inner.positional.first() else { continue };
                // `include(("shop.urls", "shop"))`
                let first = match first {
                    [Token::Operator('('), ..] => items(within(first, 0).0).first().copied().unwrap_or_default(),
                    first => first,
                };
                if let Some(below) = literal(first).and_then(|name| modules.find(name)) {
                    urlconf(modules, &below, &whole, depth + 1, out);
                }
            }
            // `admin.site.urls` is a list of its own.
            view if dotted(view).is_some_and(|name| name.ends_with(".urls")) => {}
            _ => out.extend(template::route(Style::Angle, &whole)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::files::tests::Given, *};

    fn found(files: &[(&str, &str)], args: &[&str]) -> Vec<String> {
        let args = args.iter().map(|arg| (*arg).to_owned()).collect();
        let start = Start { exe: "python3".into(), args, cwd: "/app".into() };
        harvest(&Given::new(files), &start).routes.into_iter().map(|route| route.text).collect()
    }

    #[test]
    fn an_sdk_is_used_where_a_module_of_the_program_imports_it() {
        let uses = |source: &str| {
            let files =
                Given::new(&[("/app/main.py", source), ("/app/telemetry.py", "import opentelemetry.sdk.trace as t\n")]);
            let start =
                Start { exe: "python3".into(), args: vec!["python3".into(), "main.py".into()], cwd: "/app".into() };
            harvest(&files, &start).uses_sdk
        };
        assert!(uses("from opentelemetry.sdk.trace import TracerProvider\n"));
        assert!(uses("import flask\nimport telemetry\n"));
        assert!(uses("def start():\n    from opentelemetry.sdk import trace\n"));
        for none in [
            "import flask\n",
            "from opentelemetry import trace\n",
            "# from opentelemetry.sdk.trace import TracerProvider\n",
            "x = 'import opentelemetry.sdk'\n",
            "from opentelemetry.sdks import x\n",
            "from .opentelemetry.sdk import x\n",
        ] {
            assert!(!uses(none), "{none}");
        }
    }

    #[test]
    fn flask_with_blueprints() {
        let files = [
            (
                "/app/main.py",
                "from flask import Flask\nfrom shop import bp as shop\nfrom . import admin\nimport other\n\
                 def create():\n    app = Flask(__name__)\n    app.register_blueprint(shop, url_prefix='/s')\n\
                 \x20   app.register_blueprint(admin.bp)\n    app.register_blueprint(other.bp, url_prefix=PREFIX)\n\
                 \x20   @app.route('/users/<int:id>', methods=['GET'])\n    def user(id): pass\n\
                 \x20   @app.get(f'/{x}')\n    def no(): pass\n    app.add_url_rule('/health', view_func=h)\n    return app\n",
            ),
            (
                "/app/shop/__init__.py",
                "bp = Blueprint('s', __name__, url_prefix='/no')\n@bp.post('/items/<slug>')\ndef i(): pass\n",
            ),
            ("/app/admin.py", "bp = Blueprint('a', __name__, url_prefix='/admin')\n@bp.route('/')\ndef i(): pass\n"),
            ("/app/other.py", "bp = Blueprint('o', __name__)\n@bp.route('/o')\ndef i(): pass\n"),
            ("/app/unused.py", "app = Flask(__name__)\n@app.route('/unused')\ndef i(): pass\n"),
        ];
        let expected = ["/health", "/admin/", "/s/items/<slug>", "/users/<int:id>"];
        assert_eq!(found(&files, &["python3", "main.py"]), expected);
        assert_eq!(found(&files, &["python3", "-m", "gunicorn", "-w", "2", "main:create()"]), expected);
        assert_eq!(found(&files, &["/usr/bin/python3", "/usr/bin/gunicorn", "--bind=:80", "main:app"]), expected);
        assert_eq!(found(&files, &["python3", "-c", "x"]), [""; 0]);
    }

    #[test]
    fn fastapi_with_routers() {
        let files = [
            (
                "/app/api/main.py",
                "from fastapi import FastAPI\nfrom .routers import items, users\nfrom api.routers.deep import router as deep\n\
                 app: FastAPI = FastAPI(title='x')\napp.include_router(items.router, prefix='/v1')\n\
                 app.include_router(users.router)\napp.include_router(deep, **options)\n\
                 @app.get('/')\nasync def root(): ...\n",
            ),
            ("/app/api/routers/__init__.py", ""),
            (
                "/app/api/routers/items.py",
                "router = APIRouter(prefix='/items', tags=['i'])\n@router.get('')\ndef a(): ...\n\
                 @router.get('/{item_id}')\ndef b(): ...\n@router.put(path='/{item_id}/files/{f:path}')\ndef c(): ...\n",
            ),
            (
                "/app/api/routers/users.py",
                "router = APIRouter()\n@router.get('/users/me')\ndef a(): ...\n@router.get('/users/{n}')\ndef b(): ...\n",
            ),
            ("/app/api/routers/deep.py", "router = APIRouter()\n@router.get('/deep')\ndef a(): ...\n"),
        ];
        let expected =
            ["/v1/items", "/v1/items/{item_id}", "/v1/items/{item_id}/files/{f:path}", "/users/me", "/users/{n}", "/"];
        assert_eq!(found(&files, &["python3", "-m", "uvicorn", "api.main:app", "--port", "80"]), expected);
    }

    #[test]
    fn django_by_its_settings() {
        let files = [
            ("/app/manage.py", "def main():\n    os.environ.setdefault('DJANGO_SETTINGS_MODULE', 'site1.settings')\n"),
            ("/app/site1/settings.py", "ROOT_URLCONF = 'site1.urls'\n"),
            (
                "/app/site1/urls.py",
                "urlpatterns = [\n  path('admin/', admin.site.urls),\n  path('shop/', include('shop.urls')),\n\
                 \x20 re_path(r'^x/$', v),\n  path('', views.home, name='home'),\n]\n",
            ),
            (
                "/app/shop/urls.py",
                "urlpatterns = [path('', index), path('items/<int:pk>/', views.Item.as_view()), path(ROUTE, v)]\n",
            ),
        ];
        assert_eq!(found(&files, &["python3", "manage.py", "runserver"]), ["/shop/", "/shop/items/<int:pk>/", "/"]);
    }
}
