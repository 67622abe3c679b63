//! The programs that tests, benchmarks and the demo start, and the Debian packages that hold them. A program that is on
//! PATH already, from wherever, is taken as it is.

/// A program and the package to install where it is missing.
pub struct Program {
    /// The name on PATH; or, of what is compiled with, a file.
    pub name: &'static str,
    /// Its package in Debian and Ubuntu.
    pub package: &'static str,
}

const fn program(name: &'static str, package: &'static str) -> Program {
    Program { name, package }
}

/// What the end-to-end tests watch or use.
pub const TESTS: &[Program] = &[
    program("cc", "gcc"),
    program("c++", "g++"),
    program("/usr/include/openssl/ssl.h", "libssl-dev"),
    program("/usr/include/gnutls/gnutls.h", "libgnutls28-dev"),
    program("chromium", "chromium"),
    program("caddy", "caddy"),
    program("curl", "curl"),
    program("dnsmasq", "dnsmasq-base"),
    program("docker-registry", "docker-registry"),
    program("etcd", "etcd-server"),
    program("dovecot", "dovecot-imapd"),
    program("ldapsearch", "ldap-utils"),
    program("mariadb-slap", "mariadb-client"),
    program("mariadbd", "mariadb-server"),
    program("nginx", "nginx-light"),
    program("node", "nodejs"),
    program("npm", "npm"),
    program("python3", "python3"),
    program("pip3", "python3-pip"),
    program("gunicorn", "gunicorn"),
    program("pgbouncer", "pgbouncer"),
    program("php", "php-cli"),
    program("/usr/share/doc/postgresql", "postgresql"),
    program("memcached", "memcached"),
    program("memcslap", "libmemcached-tools"),
    program("/usr/share/doc/php-fpm", "php-fpm"),
    program("prometheus", "prometheus"),
    program("promtool", "prometheus"),
    program("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server"),
    program("mosquitto", "mosquitto"),
    program("mosquitto_pub", "mosquitto-clients"),
    program("nats-server", "nats-server"),
    program("redis-cli", "redis-tools"),
    program("redis-server", "redis-server"),
    program("ruby", "ruby"),
    program("go", "golang-go"),
    program("java", "default-jdk-headless"),
    program("javac", "default-jdk-headless"),
    program("mvn", "maven"),
    program("wget", "wget"),
    program("wget2", "wget2"),
    program("wrk", "wrk"),
    program("h2load", "nghttp2-client"),
    program("haproxy", "haproxy"),
    program("nghttp", "nghttp2-client"),
    program("nghttpd", "nghttp2-server"),
    program("openssl", "openssl"),
    program("socat", "socat"),
    program("ip", "iproute2"),
    program("nft", "nftables"),
    program("setpriv", "util-linux"),
    program("slapd", "slapd"),
    program("taskset", "util-linux"),
    program("chrt", "util-linux"),
    // What a server of the torture is compiled with, and a library that a client of it loads.
    program("/usr/include/gnutls/gnutls.h", "libgnutls28-dev"),
    program("/usr/lib/x86_64-linux-gnu/libcurl-gnutls.so.4", "libcurl3-gnutls"),
];

/// What `cargo xtask bench` starts.
pub const BENCH: &[Program] = &[
    program("cc", "gcc"),
    program("nginx", "nginx-light"),
    program("wrk", "wrk"),
    program("h2load", "nghttp2-client"),
    program("nghttpd", "nghttp2-server"),
    program("openssl", "openssl"),
    program("/usr/share/doc/postgresql", "postgresql"),
    program("redis-benchmark", "redis-tools"),
    program("redis-server", "redis-server"),
    program("setpriv", "util-linux"),
    program("taskset", "util-linux"),
];

/// What `cargo xtask parents` starts besides what the tests do. Those whose programs have a version in their names are known by
/// the folders of their packages.
pub const PARENTS: &[Program] = &[
    program("apache2", "apache2-bin"),
    program("puma", "puma"),
    program("/usr/share/doc/php-fpm", "php-fpm"),
    program("/usr/share/doc/php-curl", "php-curl"),
];

/// What `cargo xtask counts` starts besides what the tests do.
pub const COUNTS: &[Program] = &[program("sysbench", "sysbench")];

/// What fuzzing is built with.
pub const FUZZ: &[Program] = &[program("c++", "g++")];

/// What programs in Go are made with.
pub const GO: &[Program] = &[program("go", "golang-go")];

/// What `cargo xtask demo` starts.
pub const DEMO: &[Program] = &[program("python3", "python3"), program("setpriv", "util-linux")];

/// What `cargo xtask kernels` starts, or puts into its guests.
pub const KERNELS: &[Program] = &[
    program("qemu-system-x86_64", "qemu-system-x86"),
    program("busybox", "busybox"),
    program("cpio", "cpio"),
    program("curl", "curl"),
    program("dnsmasq", "dnsmasq-base"),
    program("dpkg-deb", "dpkg"),
    program("h2load", "nghttp2-client"),
    program("nghttpd", "nghttp2-server"),
    program("openssl", "openssl"),
    program("setpriv", "util-linux"),
];
