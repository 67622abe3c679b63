//! Java: the declared application name, the jar, or the main class.

use super::{Program, base, folder_name, is_generic, stem};

/// System properties by which frameworks name an application.
const NAME_PROPERTIES: &[&str] = &["-Dotel.service.name=", "-Dspring.application.name=", "-Dquarkus.application.name="];
/// Options that take their value as the next argument.
const WITH_VALUE: &[&str] = &[
    "-cp",
    "-classpath",
    "--class-path",
    "-p",
    "--module-path",
    "--upgrade-module-path",
    "--add-modules",
    "--add-opens",
    "--add-exports",
    "--add-reads",
    "--limit-modules",
    "--enable-native-access",
    "--source",
];
/// Launchers of well-known servers: the class's own name would say nothing.
const KNOWN_CLASSES: &[(&str, &str)] = &[
    ("org.apache.catalina.startup.Bootstrap", "tomcat"),
    ("org.apache.zookeeper.server.quorum.QuorumPeerMain", "zookeeper"),
    ("kafka.Kafka", "kafka"),
    ("org.elasticsearch.bootstrap.Elasticsearch", "elasticsearch"),
    ("org.elasticsearch.server/org.elasticsearch.bootstrap.Elasticsearch", "elasticsearch"),
    ("org.apache.cassandra.service.CassandraDaemon", "cassandra"),
];

/// The name of what `java` runs.
pub(super) fn name(program: Program<'_>) -> Option<String> {
    let mut args = program.args.iter().skip(1);
    while let Some(arg) = args.next() {
        if let Some(name) = NAME_PROPERTIES.iter().find_map(|property| arg.strip_prefix(property)) {
            return Some(name.to_owned());
        }
        match arg.as_str() {
            "-jar" => return args.next().map(|jar| jar_name(jar, program.cwd)),
            "-m" | "--module" => return args.next().map(|module| class_name(module, program.cwd)),
            _ if WITH_VALUE.contains(&arg.as_str()) => {
                args.next();
            }
            _ if arg.starts_with(['-', '@']) => {}
            _ if arg.ends_with(".java") => return Some(stem(arg).to_owned()),
            class => return Some(class_name(class, program.cwd)),
        }
    }
    None
}

/// `/opt/petclinic-3.2.0-SNAPSHOT.jar` → `petclinic`: a version is not part of a name.
fn jar_name(jar: &str, cwd: Option<&str>) -> String {
    let file = base(jar);
    let stem = file.strip_suffix(".jar").or_else(|| file.strip_suffix(".war")).unwrap_or(file);
    let version = stem
        .match_indices('-')
        .map(|(at, _)| at)
        .find(|at| stem.get(at + 1..).is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit())));
    let name = version.and_then(|at| stem.get(..at)).filter(|name| !name.is_empty()).unwrap_or(stem);
    if !is_generic(name) {
        return name.to_owned();
    }
    let folder = match (jar.rsplit_once('/'), cwd) {
        (Some((folder, _)), _) if jar.starts_with('/') => folder_name(folder),
        (Some((folder, _)), Some(cwd)) => folder_name(&format!("{cwd}/{folder}")),
        (None, Some(cwd)) => folder_name(cwd),
        _ => None,
    };
    folder.unwrap_or_else(|| name.to_owned())
}

fn class_name(class: &str, cwd: Option<&str>) -> String {
    if let Some((_, name)) = KNOWN_CLASSES.iter().find(|(known, _)| *known == class) {
        return (*name).to_owned();
    }
    let last = class.rsplit(['.', '/']).next().unwrap_or(class);
    if class.starts_with("org.springframework.boot.loader.") || is_generic(last) {
        return cwd.and_then(folder_name).unwrap_or_else(|| last.to_owned());
    }
    last.to_owned()
}
