//! Routes that programs' own files tell: real frameworks serve, and the first request of each kind has the route that its framework has.

use std::{path::Path, process::Command};

use tests::{
    agent::{Backend, Setup, Watch},
    client::Connection,
    need,
    program::{Program, free_port},
    receiver::Receiver,
};

fn python(arguments: &[&str]) -> Command {
    let mut command = Command::new(need::python());
    command.arg("-u").args(arguments).current_dir(need::source("frameworks/python"));
    command.env("PYTHONPATH", need::made("frameworks/python")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Watches a program from before it is asked for anything, until its routes are read.
fn watch(program: &Program, arguments: &[&str]) -> Watch {
    let receiver = Receiver::start();
    let agent = Setup::pid(program.pid()).backend(Backend::Sock).to(&receiver).args(arguments).start();
    Watch { agent, receiver }
}

/// Asks for paths, and compares the routes of the spans.
fn routes_are(program: &Program, port: u16, expected: &[(&str, &str)]) {
    let watch = watch(program, &[]);
    watch.agent.until_logged("routes are read from the program's files");
    for (path, _) in expected {
        // Servers for development close each connection behind its answer.
        assert_eq!(Connection::to(port).get(path).status, 200, "{path}");
    }
    let seen = watch.finish(expected.len());
    for (path, route) in expected {
        assert_eq!(seen.at(path).attributes["http.route"], *route, "{path}: {:?}", seen.log);
    }
}

#[test]
fn flask() {
    let program = Program::start(&mut python(&["flask_app.py"]));
    routes_are(
        &program,
        program.port(),
        &[
            ("/users/7/posts/my-first", "/users/<int:user_id>/posts/<slug>"),
            ("/users/me", "/users/me"),
            ("/items/", "/items/"),
            ("/items/a/b.txt", "/items/<path:file>"),
        ],
    );
}

#[test]
fn fastapi() {
    let port = free_port();
    let program = Program::start(&mut python(&["-m", "uvicorn", "fastapi_app:app", "--port", &port.to_string()]));
    let is_ready = |lines: &[String]| lines.iter().any(|line| line.contains("Uvicorn running")).then_some(());
    assert!(program.stderr.until(tests::LONG, is_ready).is_some(), "{:?}", program.stderr.so_far());
    routes_are(
        &program,
        port,
        &[
            ("/v1/users/me", "/v1/users/me"),
            ("/v1/users/anna", "/v1/users/{user}"),
            ("/v1/users/anna/files/a/b", "/v1/users/{user}/files/{path:path}"),
            ("/health/disk", "/health/{part}"),
        ],
    );
}

#[test]
fn django() {
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let program = Program::start(&mut python(&["manage.py", "runserver", "--noreload", "--skip-checks", &address]));
    let is_ready = |lines: &[String]| lines.iter().any(|line| line.contains("Quit the server")).then_some(());
    assert!(program.stdout.until(tests::LONG, is_ready).is_some(), "{:?}", program.stderr.so_far());
    routes_are(
        &program,
        port,
        &[
            ("/", "/"),
            ("/catalogue/", "/catalogue/"),
            ("/catalogue/2024/spring-boots/", "/catalogue/<int:year>/<slug:name>/"),
        ],
    );
}

#[test]
fn express() {
    let mut command = Command::new(need::program("node"));
    command.arg("app.js").arg(need::made("frameworks/node").canonicalize().unwrap());
    let program = Program::start(command.current_dir(need::source("frameworks/node")));
    routes_are(
        &program,
        program.port(),
        &[
            ("/api/users", "/api/users"),
            ("/api/users/", "/api/users"),
            ("/api/users/anna", "/api/users/:user"),
            ("/api/users/anna/orders/first", "/api/users/:user/orders/:order"),
            ("/admin/jobs/nightly", "/admin/jobs/:job"),
            ("/version", "/version"),
        ],
    );
}

fn spring(jar: &Path) -> Program {
    let mut command = Command::new(need::program("java"));
    Program::start(command.args(["-Xmx128m", "-jar"]).arg(jar).arg("--server.port=0"))
}

#[test]
fn spring_boot() {
    let program = spring(&need::made("frameworks/java").join("shop.jar").canonicalize().unwrap());
    routes_are(
        &program,
        program.port(),
        &[
            ("/shop/users", "/shop/users"),
            ("/shop/users/me", "/shop/users/me"),
            ("/shop/users/anna", "/shop/users/{user}"),
            ("/shop/users/anna/orders/17", "/shop/users/{user}/orders/{order:[0-9]+}"),
        ],
    );
}

#[test]
fn go() {
    for (name, arguments) in [("as-it-comes", &[][..]), ("stripped", &["-buildmode=pie", "-ldflags=-s -w"])] {
        let program =
            Program::start(&mut Command::new(need::built_by_go("frameworks/go", name, "local", arguments, &[])));
        routes_are(
            &program,
            program.port(),
            &[
                ("/users/me", "/users/me"),
                ("/users/anna", "/users/{user}"),
                ("/users/anna/files/a/b.txt", "/users/{user}/files/{path...}"),
                ("/api/orders/first/lines/2", "/api/orders/{order}/lines/{line}"),
                ("/api/orders/", "/api/orders/{$}"),
            ],
        );
    }
}

/// Of groups a function's code says which part of all paths they are for where they are not handed to another function.
#[test]
fn routers_of_go() {
    const ROUTERS: [(&str, &[(&str, &str)]); 5] = [
        ("chi", &[("/chi", "/chi"), ("/chi/7", "/chi/{id}"), ("/chi/7/parts/3", "/chi/{id}/parts/{part:[0-9]+}")]),
        (
            "gin",
            &[
                ("/gin", "/gin"),
                ("/gin/7", "/gin/:id"),
                ("/gin/7/parts/3", "/gin/:id/parts/:part"),
                ("/gin-v1/users/anna", "/gin-v1/users/:name"),
            ],
        ),
        ("echo", &[("/echo", "/echo"), ("/echo/7", "/echo/:id"), ("/echo/7/parts/3", "/echo/:id/parts/:part")]),
        (
            "gorilla",
            &[
                ("/gorilla", "/gorilla"),
                ("/gorilla/7", "/gorilla/{id}"),
                ("/gorilla/7/parts/3", "/gorilla/{id}/parts/{part:[0-9]+}"),
            ],
        ),
        ("fiber", &[("/fiber", "/fiber"), ("/fiber/7", "/fiber/:id"), ("/fiber/7/parts/3", "/fiber/:id/parts/:part")]),
    ];
    for (name, arguments) in [("as-it-comes", &[][..]), ("stripped", &["-ldflags=-s -w"])] {
        let arguments = [&["-tags=nomsgpack"], arguments].concat();
        let built = need::built_by_go("frameworks/go-routers", name, "local", &arguments, &[]);
        for (router, expected) in ROUTERS {
            let program = Program::start(Command::new(&built).arg(router));
            routes_are(&program, program.port(), expected);
        }
    }
}

#[test]
fn what_is_switched_off_is_not_read() {
    let files = tests::program::folder();
    let config = files.path().join("config.yaml");
    std::fs::write(&config, "discovery: {disabled_route_harvesters: [python]}\n").unwrap();
    let program = Program::start(&mut python(&["flask_app.py"]));
    let port = program.port();
    let watch = watch(&program, &["--config", config.to_str().unwrap()]);
    assert_eq!(Connection::to(port).get("/users/7/posts/my-first").status, 200);
    let seen = watch.finish(1);
    assert_eq!(seen.at("/users/7/posts/my-first").attributes["http.route"], "/users/{id}/posts/my-first");
    assert!(!seen.log.iter().any(|line| line.contains("routes are read")), "{:?}", seen.log);
}
