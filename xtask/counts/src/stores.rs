//! Benchmarks of databases and caches.

use tests::receiver::ReceivedSpan;
use tests::seen::Seen;
use tests::servers::{mariadb, memcached, redis as cache};

use crate::bed::{Bed, Setting};
use crate::report::{Counts, Losses, Side};

/// Both ends, by the spans of each that are of the benchmark.
fn sides(
    seen: &Seen,
    losses: &Losses,
    counted: &Counts,
    is_it: impl Fn(&ReceivedSpan) -> bool,
    told: impl Fn(&[&ReceivedSpan]) -> Counts,
) -> Vec<Side> {
    let ends =
        [("client", "CLIENT", "db.client.operation.duration"), ("server", "SERVER", "db.server.operation.duration")];
    ends.into_iter()
        .map(|(name, kind, histogram)| {
            let all = seen.of_kind(kind);
            let is_complete = |span: &&&ReceivedSpan| {
                span.attributes.get("beyla.outcome").is_none_or(|outcome| outcome == "no_response")
            };
            // Questions of this program's own are measured too.
            let own = all.iter().filter(is_complete).filter(|span| !is_it(span)).count() as u64;
            let its: Vec<&ReceivedSpan> = all.iter().copied().filter(|span| is_it(span)).collect();
            Side {
                name,
                counted: counted.clone(),
                spans: told(&its),
                measured: seen.count(histogram).saturating_sub(own),
                to_be_measured: its.iter().filter(is_complete).count() as u64,
                losses: losses.clone(),
            }
        })
        .collect()
}

fn both(spans: &[ReceivedSpan], all: u64) -> bool {
    let of = |kind: &str| spans.iter().filter(|span| span.kind == kind).count() as u64;
    of("CLIENT") >= all && of("SERVER") >= all
}

fn is_question(span: &ReceivedSpan) -> bool {
    span.attributes.get("db.operation.name").is_some_and(|name| name == "INFO")
}

/// `redis-benchmark`: its own tests, against what the server counts.
pub(crate) fn redis(setting: &Setting, options: &str) -> Vec<Side> {
    let server = cache::Server::start(&[]);
    server.forget();
    let mut bed = Bed::start(setting, &[server.program.pid()]);
    bed.run(&format!("redis-benchmark -p {} -n {} -c 5 -q {options}", server.port, 500 * setting.times));
    of_redis(&server, bed)
}

fn of_redis(server: &cache::Server, bed: Bed) -> Vec<Side> {
    let counted = server.calls();
    let all = counted.values().sum();
    let (seen, losses) = bed.stop(|spans| both(spans, all));
    sides(&seen, &losses, &counted, |span| !is_question(span), |spans| cache::told(spans.iter().copied()))
}

/// What `memtier_benchmark` is asked for, at a port.
fn memtier(setting: &Setting, port: u16, protocol: &str, options: &str) -> String {
    let count = 500 * setting.times;
    format!(
        "memtier_benchmark -s 127.0.0.1 -p {port} -P {protocol} -n {count} -c 5 -t 2 --ratio 1:3 --hide-histogram {options}"
    )
}

/// `memtier_benchmark` with Redis, one command at a time and ten.
pub(crate) fn memtier_redis(setting: &Setting) -> Vec<Side> {
    let server = cache::Server::start(&[]);
    server.forget();
    let mut bed = Bed::start(setting, &[server.program.pid()]);
    for options in ["", "--pipeline 10", "--pipeline 10 -d 3000"] {
        bed.run(&memtier(setting, server.port, "redis", options));
    }
    of_redis(&server, bed)
}

/// The same with Memcached, in both of its protocols.
pub(crate) fn memtier_memcached(setting: &Setting) -> Vec<Side> {
    let server = memcached::Server::start();
    let before = server.counts();
    let mut bed = Bed::start(setting, &[server.program.pid()]);
    for (protocol, options) in [
        ("memcache_text", ""),
        ("memcache_text", "--pipeline 10"),
        ("memcache_text", "--pipeline 10 -d 3000"),
        ("memcache_binary", ""),
        ("memcache_binary", "--pipeline 10"),
    ] {
        bed.run(&memtier(setting, server.port, protocol, options));
    }
    of_memcached(&server, before, bed)
}

/// `mc-crusher`: commands in text, meta and binary, also several at a time, whose answers it does not look at.
pub(crate) fn crusher(setting: &Setting) -> Vec<Side> {
    let server = memcached::Server::start();
    let before = server.counts();
    let mut bed = Bed::start(setting, &[server.program.pid()]);
    let base = "recv=blind_read,conns=2,key_prefix=foo,key_count=100,key_prealloc=0,usleep=2000";
    for test in [
        "send=ascii_set,value_size=30",
        "send=ascii_get",
        "send=ascii_mget,mget_count=20",
        "send=ascii_get,pipelines=8",
        "send=ascii_set,value_size=3000,pipelines=4",
        "send=ascii_get,pipelines=8",
        "send=ascii_mg",
        "send=bin_set,value_size=30",
        "send=bin_get",
        "send=bin_setq,value_size=30,pipelines=4",
        "send=bin_getq,pipelines=4",
    ] {
        bed.run(&format!(
            "echo '{test},{base},stop_after={}' >crush; mc-crusher --ip 127.0.0.1 --port {} --conf crush --timeout 3",
            200 * setting.times,
            server.port
        ));
    }
    of_memcached(&server, before, bed)
}

fn of_memcached(server: &memcached::Server, before: memcached::Counts, bed: Bed) -> Vec<Side> {
    let as_counts = |memcached::Counts { get, set, delete }: memcached::Counts| -> Counts {
        [("get", get), ("set", set), ("delete", delete)].map(|(name, count)| (name.to_owned(), count)).into()
    };
    let counted = server.counts() - before;
    let (seen, losses) = bed.stop(|spans| {
        ["CLIENT", "SERVER"].iter().all(|kind| memcached::told(spans.iter().filter(|it| it.kind == *kind)) == counted)
    });
    let counted = as_counts(counted);
    sides(
        &seen,
        &losses,
        &counted,
        |span| !matches!(memcached::operation(span), "stats" | "quit" | "version"),
        |spans| as_counts(memcached::told(spans.iter().copied())),
    )
}

/// `sysbench` with MariaDB, its statements prepared or not.
pub(crate) fn sysbench(setting: &Setting, script: &str, prepared: &str) -> Vec<Side> {
    let server = mariadb::Server::start(false);
    let [user, password] = mariadb::USER;
    let base = format!(
        "sysbench {script} --db-driver=mysql --mysql-host=127.0.0.1 --mysql-port={} --mysql-user={user} \
         --mysql-password={password} --mysql-db=shop --mysql-ssl=off --tables=2 --table-size=200 --db-ps-mode={prepared}",
        server.port
    );
    let mut bed = Bed::start(setting, &[server.program.pid()]);
    server.forget();
    bed.run(&format!("{base} prepare"));
    bed.run(&format!("{base} --threads=4 --events={} --time=0 run", 60 * setting.times));
    bed.run(&format!("{base} cleanup"));
    let counted = server.calls();
    let all = counted.values().sum();
    let (seen, losses) = bed.stop(|spans| {
        let its: Vec<ReceivedSpan> = spans.iter().filter(|span| mariadb::is_over_tcp(span)).cloned().collect();
        both(&its, all)
    });
    sides(&seen, &losses, &counted, mariadb::is_over_tcp, mariadb::told)
}
