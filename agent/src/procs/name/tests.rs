//! Command lines as they are seen on hosts, and the names a person would give.

use super::*;

#[track_caller]
fn check(exe: &str, cwd: &str, command: &str, expected: &str) {
    let args: Vec<String> = command.split('|').map(str::to_owned).collect();
    let nothing = |_: &str| None;
    assert_eq!(of(Program { exe, args: &args, cwd: Some(cwd), comm: None }, &nothing), expected, "{command}");
}

#[test]
fn a_native_program_has_its_executables_name() {
    check("/usr/sbin/nginx", "/", "nginx: worker process", "nginx");
    check("/srv/shop/checkout", "/", "./checkout|--port|80", "checkout");
    check("/memfd:loader", "/", "x", "loader");
    check("", "/", "/opt/thing|x", "thing");
    check("/bin/busybox", "/", "httpd|-f", "httpd");
}

#[test]
fn python_is_named_by_module_script_or_application() {
    let python = "/usr/bin/python3.11";
    check(python, "/", "python3|-m|http.server|8000", "http.server");
    check(python, "/", "python3|-um|http.server", "http.server");
    check(python, "/", "python3|-X|dev|-W|ignore|-u|/srv/orders.py|x.py", "orders");
    check(python, "/srv/shop", "python3|app.py", "shop");
    check(python, "/app", "python3|app.py", "app");
    check(python, "/", "python3|/home/alice/main.py", "main");
    check(python, "/", "python3|/home/alice/shop/src/main.py", "shop");
    check(python, "/tmp", "python3|server.py", "server");
    check(python, "/", "python3|-c|import x", "python3.11");
    check(python, "/", "python3", "python3.11");
    check(python, "/app", "/usr/bin/python3|/usr/bin/gunicorn|-w|4|-b|0.0.0.0:80|shop.wsgi:app", "shop");
    check(python, "/srv/cart", "/usr/bin/python3|/usr/local/bin/uvicorn|main:app|--port|80", "cart");
    check(python, "/app", "/usr/bin/python3|/usr/local/bin/uvicorn|main:app", "uvicorn");
    check(python, "/", "gunicorn: worker [shop.wsgi:app]", "shop");
    check(python, "/", "python3|-m|flask|--app|orders|run", "orders");
    check(python, "/srv/blog", "python|manage.py|runserver", "blog");
    check(python, "/", "python|/usr/bin/celery|-A|tasks.worker|worker", "tasks");
    check(python, "/", "python|/v/opentelemetry-instrument|gunicorn|shop:app", "shop");
}

#[test]
fn node_is_named_by_script_folder_or_package() {
    let node = "/usr/bin/node";
    check(node, "/", "node|--require|./x.js|/srv/orders.js", "orders");
    check(node, "/srv/shop-api", "node|dist/index.js", "shop-api");
    check(node, "/", "node|-e|x", "node");
    check(node, "/srv/web", "next-server (v14.1.0)", "next-server");
    let args: Vec<String> = ["node", "dist/server.js"].map(str::to_owned).into();
    let program = Program { exe: node, args: &args, cwd: Some("/app"), comm: None };
    let package = |path: &str| (path == "/app/package.json").then(|| r#"{"name":"@shop/cart"}"#.to_owned());
    assert_eq!(of(program, &package), "cart");
    let broken = |_: &str| Some("{".to_owned());
    assert_eq!(of(program, &broken), "server");
}

#[test]
fn java_is_named_by_property_jar_or_class() {
    let java = "/usr/lib/jvm/java-17/bin/java";
    check(java, "/", "java|-Xmx1g|-jar|/opt/petclinic-3.2.0-SNAPSHOT.jar|--x", "petclinic");
    check(java, "/srv/shop", "java|-jar|app.jar", "shop");
    check(java, "/app", "java|-jar|app.jar", "app");
    check(java, "/", "java|-Dspring.application.name=orders|-jar|app.jar", "orders");
    check(java, "/", "java|-cp|/a:/b|com.example.CheckoutServer|80", "CheckoutServer");
    check(java, "/", "java|--add-opens|java.base/java.lang=ALL-UNNAMED|-m|shop.main/com.example.Cart", "Cart");
    check(java, "/", "java|-cp|x|org.apache.catalina.startup.Bootstrap|start", "tomcat");
}

#[test]
fn the_others_are_named_by_what_they_run() {
    check("/usr/bin/dotnet", "/app", "dotnet|exec|Shop.Api.dll", "Shop.Api");
    check("/usr/bin/ruby3.1", "/srv/blog", "puma 6.4.0 (tcp://0.0.0.0:80) [shop]", "shop");
    check("/usr/bin/ruby", "/srv/blog", "ruby|bin/rails|server", "blog");
    check("/usr/bin/ruby", "/", "sidekiq 7.1.2 shop [0 of 5 busy]", "shop");
    check("/usr/sbin/php-fpm8.2", "/", "php-fpm: pool www", "php-fpm");
    check("/usr/sbin/php-fpm8.2", "/", "php-fpm: pool shop", "shop");
    check("/usr/sbin/php-fpm8.2", "/", "php-fpm: master process (/etc/php-fpm.conf)", "php-fpm");
    check("/usr/bin/php8.2", "/", "php|-S|0:80|-t|/srv/shop/public", "shop");
    check("/usr/bin/perl", "/", "perl|-w|/usr/local/bin/hypnotoad|x", "hypnotoad");
    check("/usr/lib/erlang/erts/bin/beam.smp", "/", "beam.smp|--|-sname|cart@host", "cart");
}

#[test]
fn hostile_command_lines_do_no_harm() {
    for exe in ["python3", "node", "java", "dotnet", "ruby", "php", "bash", "busybox", "beam.smp", "", "/"] {
        for command in [
            "",
            "-",
            "--",
            "|",
            "-m",
            "-jar",
            "x|-m",
            "x|-",
            "x|--",
            "x|-sname",
            "x|-t",
            "..|../../..",
            "é (",
            "x|/",
            "gunicorn: ][",
        ] {
            let args: Vec<String> = command.split('|').map(str::to_owned).collect();
            let name = of(Program { exe, args: &args, cwd: None, comm: None }, &|_| None);
            assert!(name.len() < 64, "{exe} {command}");
        }
    }
}

#[test]
fn a_program_is_called_as_the_link_that_it_was_started_by() {
    for (exe, argument, comm, expected) in [
        ("/usr/bin/redis-check-rdb", "/usr/bin/redis-server 127.0.0.1:6379", "redis-server", "redis-server"),
        ("/usr/bin/a-multi-call-binary", "a-very-long-name-of-a-link", "a-very-long-nam", "a-very-long-name-of-a-link"),
        // What only calls itself so, and what only the kernel is told.
        ("/usr/sbin/sshd", "sshd-session: user", "sshd", "sshd"),
        ("/usr/bin/tool", "/usr/bin/tool", "worker", "tool"),
        ("/usr/sbin/nginx", "nginx: worker process", "nginx", "nginx"),
    ] {
        let args = [argument.to_owned()];
        let program = Program { exe, args: &args, cwd: None, comm: Some(comm) };
        assert_eq!(of(program, &|_| None), expected, "{argument}");
    }
}
