//! Routes that a program's own files tell, and whether it uses an SDK of OpenTelemetry, read without running anything in it: the sources of web frameworks in Python, Node, Ruby and PHP,
//! annotations in a jar, the code of programs in Go. Only what is certain is a route: written as it is, and of an application that the program is seen to start with. Files are
//! another's: what is read of them is bounded in bytes, number and depth.

mod bundle;
mod express;
mod files;
mod finder;
mod go;
mod jar;
mod java;
mod javascript;
mod laravel;
mod nest;
mod next;
mod python;
mod python_syntax;
mod rails;
mod required;
mod template;
mod tokens;

use std::collections::HashSet;

use self::files::Files;
pub(crate) use self::finder::RouteFinder;
use crate::{config::RouteHarvester, model::route::ProgramRoute};

/// Most routes of a program.
const ROUTES_MAX: usize = 5000;

/// What is known of a process from outside.
#[derive(Clone, Debug, Default)]
struct Start {
    /// The executable's name.
    exe: String,
    args: Vec<String>,
    cwd: String,
}

/// Who reads a program in that executable, if anybody does.
fn harvester(exe: &str) -> Option<RouteHarvester> {
    Some(match exe {
        "node" | "nodejs" => RouteHarvester::Nodejs,
        "java" => RouteHarvester::Java,
        _ if exe.starts_with("python") => RouteHarvester::Python,
        _ if exe.starts_with("ruby") => RouteHarvester::Ruby,
        _ if exe.starts_with("php") => RouteHarvester::Php,
        _ => return None,
    })
}

/// What a program's files tell.
#[derive(Debug, Default)]
pub(crate) struct Harvest {
    /// Its routes, in the order in which its framework tries them.
    pub routes: Vec<ProgramRoute>,
    /// Its own code uses OpenTelemetry's SDK: a module that it starts with imports it, or it is among its libraries.
    pub uses_sdk: bool,
}

impl Harvest {
    const fn of(routes: Vec<ProgramRoute>) -> Self {
        Self { routes, uses_sdk: false }
    }

    fn without_routes(self) -> Self {
        Self { routes: Vec::new(), ..self }
    }

    const fn is_empty(&self) -> bool {
        self.routes.is_empty() && !self.uses_sdk
    }
}

/// Reads a program's files.
fn harvest(files: &dyn Files, start: &Start) -> Harvest {
    let found = match harvester(&start.exe) {
        Some(RouteHarvester::Python) => python::harvest(files, start),
        Some(RouteHarvester::Nodejs) => {
            let mut found = nest::harvest(files, start);
            let pages = next::routes(files, start);
            if !pages.is_empty() {
                found.routes = pages;
            } else if found.routes.is_empty() {
                found.routes = express::routes(files, start);
            }
            found
        }
        Some(RouteHarvester::Java) => java::harvest(files, start),
        Some(RouteHarvester::Ruby) => {
            Harvest { routes: rails::routes(files, start), uses_sdk: required::ruby(files, start) }
        }
        Some(RouteHarvester::Php) => {
            Harvest { routes: laravel::routes(files, start), uses_sdk: required::php(files, start) }
        }
        Some(RouteHarvester::Go) | None => Harvest::default(),
    };
    Harvest { routes: each_once(found.routes), ..found }
}

/// The first of those that are made of the same parts.
fn each_once(mut routes: Vec<ProgramRoute>) -> Vec<ProgramRoute> {
    let mut seen = HashSet::new();
    routes.retain(|route| seen.insert(route.parts.clone()));
    routes.truncate(ROUTES_MAX);
    routes
}
