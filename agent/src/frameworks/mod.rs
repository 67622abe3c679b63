//! Routes that a program's own files tell, read without running anything in it: the sources of web frameworks in Python, Node, Ruby and PHP,
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

/// The routes of a program, in the order in which its framework tries them.
fn routes(files: &dyn Files, start: &Start) -> Vec<ProgramRoute> {
    let routes = match harvester(&start.exe) {
        Some(RouteHarvester::Python) => python::routes(files, start),
        Some(RouteHarvester::Nodejs) => [next::routes, nest::routes, express::routes]
            .into_iter()
            .map(|read| read(files, start))
            .find(|routes| !routes.is_empty())
            .unwrap_or_default(),
        Some(RouteHarvester::Java) => java::routes(files, start),
        Some(RouteHarvester::Ruby) => rails::routes(files, start),
        Some(RouteHarvester::Php) => laravel::routes(files, start),
        Some(RouteHarvester::Go) | None => Vec::new(),
    };
    each_once(routes)
}

/// The first of those that are made of the same parts.
fn each_once(mut routes: Vec<ProgramRoute>) -> Vec<ProgramRoute> {
    let mut seen = HashSet::new();
    routes.retain(|route| seen.insert(route.parts.clone()));
    routes.truncate(ROUTES_MAX);
    routes
}
