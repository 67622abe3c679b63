//! Who else describes what a process does: OpenTelemetry's SDKs, and agents of others, by what brings them into a process.

use serde::Serialize;

use super::{fs::ProcFs, language::Language};
use crate::model::ids::ProcessId;

/// Whose SDK or agent runs within a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Vendor {
    /// An SDK of OpenTelemetry, or a distribution of it.
    Opentelemetry,
    /// Datadog's.
    Datadog,
    /// New Relic's.
    NewRelic,
    /// Elastic's.
    Elastic,
    /// Dynatrace's.
    Dynatrace,
    /// Instana's.
    Instana,
}

impl Vendor {
    const ALL: [Self; 6] =
        [Self::Opentelemetry, Self::Datadog, Self::NewRelic, Self::Elastic, Self::Dynatrace, Self::Instana];

    /// Its name.
    #[must_use]
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Opentelemetry => "opentelemetry",
            Self::Datadog => "datadog",
            Self::NewRelic => "new_relic",
            Self::Elastic => "elastic",
            Self::Dynatrace => "dynatrace",
            Self::Instana => "instana",
        }
    }
}

/// What was found in a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Instrumentation {
    /// A bit for each [`Vendor`].
    vendors: u8,
    /// OpenTelemetry's instrumentation was put into it as a whole, not by its own code: its libraries are described, as far as they are
    /// supported.
    pub is_automatic: bool,
    /// The language's own HTTP server is among them.
    is_of_runtime: bool,
}

impl Instrumentation {
    /// Whether an SDK of OpenTelemetry is in it.
    #[must_use]
    pub(crate) const fn has_sdk(self) -> bool {
        self.vendors & 1 << Vendor::Opentelemetry as u8 != 0
    }

    /// Whether it describes whatever is served over HTTP: the runtime's own server is instrumented, not a framework or another.
    #[must_use]
    pub(crate) const fn describes_all(self) -> bool {
        self.is_automatic && self.is_of_runtime
    }

    /// All whose SDK or agent is in it.
    pub(crate) fn vendors(self) -> impl Iterator<Item = Vendor> {
        Vendor::ALL.into_iter().filter(move |&vendor| self.vendors & 1 << vendor as u8 != 0)
    }

    /// The program's own code uses OpenTelemetry's SDK, which is part of it.
    pub(super) fn add_compiled_in(&mut self) {
        self.add(Vendor::Opentelemetry);
    }

    fn add(&mut self, vendor: Vendor) {
        self.vendors |= 1 << vendor as u8;
    }

    /// Of a process, with these arguments, of a program in this language.
    pub(super) fn of(proc: &ProcFs, pid: ProcessId, args: &[String], language: Option<Language>) -> Self {
        let mut found = Self::by_start(args, &proc.environ(pid, VARIABLES), language);
        for name in proc.mapped_names(pid) {
            if let Some(vendor) = by_mapping(&name) {
                found.add(vendor);
            }
        }
        found
    }

    /// By arguments, and the values of [`VARIABLES`]: those that put something into a program of that language. What starts other
    /// programs hands its environment on to them.
    fn by_start(args: &[String], variables: &[Option<String>; VARIABLES.len()], language: Option<Language>) -> Self {
        let mut found = Self::default();
        let mut look = |place: Place, text: &str| {
            if place.language().is_some_and(|its| language != Some(its)) {
                return;
            }
            for (_, vendor, _) in SIGNS.iter().filter(|(at, _, sign)| *at == place && text.contains(sign)) {
                found.add(*vendor);
                let is_automatic = *vendor == Vendor::Opentelemetry;
                found.is_automatic |= is_automatic;
                found.is_of_runtime |= is_automatic && matches!(place, Place::Node | Place::Java);
            }
        };
        let mut before = "";
        for arg in args {
            if let Some(agent) = arg.strip_prefix("-javaagent:") {
                look(Place::Java, agent);
            }
            let loads = ["--require", "-r", "--import", "--loader", "--experimental-loader"];
            if loads.contains(&before) || loads.iter().any(|flag| arg.starts_with(flag) && arg.contains('=')) {
                look(Place::Node, arg);
            }
            before = arg;
        }
        for (place, value) in PLACES.iter().zip(variables) {
            if let Some(value) = value {
                look(*place, value);
            }
        }
        found
    }
}

/// Where something is named that is put into a process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Python,
    Node,
    Java,
    Dotnet,
    Library,
}

impl Place {
    /// Whose programs heed it; `None`: all.
    const fn language(self) -> Option<Language> {
        match self {
            Self::Python => Some(Language::Python),
            Self::Node => Some(Language::Nodejs),
            Self::Java => Some(Language::Java),
            Self::Dotnet => Some(Language::Dotnet),
            Self::Library => None,
        }
    }
}

/// The variables that put something into a process.
const VARIABLES: [&str; 9] = [
    "PYTHONPATH",
    "AUTOWRAPT_BOOTSTRAP",
    "NODE_OPTIONS",
    "JAVA_TOOL_OPTIONS",
    "JDK_JAVA_OPTIONS",
    "CORECLR_PROFILER",
    "CORECLR_PROFILER_PATH",
    "DOTNET_STARTUP_HOOKS",
    "LD_PRELOAD",
];
/// What each of them is for.
const PLACES: [Place; VARIABLES.len()] = [
    Place::Python,
    Place::Python,
    Place::Node,
    Place::Java,
    Place::Java,
    Place::Dotnet,
    Place::Dotnet,
    Place::Dotnet,
    Place::Library,
];

/// What stands there.
const SIGNS: [(Place, Vendor, &str); 28] = [
    (Place::Python, Vendor::Opentelemetry, "opentelemetry/instrumentation/auto_instrumentation"),
    (Place::Python, Vendor::Datadog, "ddtrace/bootstrap"),
    (Place::Python, Vendor::NewRelic, "newrelic/bootstrap"),
    (Place::Python, Vendor::Elastic, "elasticapm/instrumentation"),
    (Place::Python, Vendor::Instana, "instana"),
    (Place::Node, Vendor::Opentelemetry, "@opentelemetry/auto-instrumentations-node"),
    (Place::Node, Vendor::Opentelemetry, "@splunk/otel"),
    (Place::Node, Vendor::Opentelemetry, "@elastic/opentelemetry-node"),
    (Place::Node, Vendor::Datadog, "dd-trace"),
    (Place::Node, Vendor::NewRelic, "newrelic"),
    (Place::Node, Vendor::Elastic, "elastic-apm-node"),
    (Place::Node, Vendor::Instana, "@instana/"),
    (Place::Java, Vendor::Opentelemetry, "opentelemetry"),
    (Place::Java, Vendor::Opentelemetry, "otel-javaagent"),
    (Place::Java, Vendor::Opentelemetry, "applicationinsights-agent"),
    (Place::Java, Vendor::Datadog, "dd-java-agent"),
    (Place::Java, Vendor::NewRelic, "newrelic"),
    (Place::Java, Vendor::Elastic, "elastic-apm-agent"),
    (Place::Java, Vendor::Instana, "instana"),
    (Place::Dotnet, Vendor::Opentelemetry, "{918728DD-259F-4A6A-AC2B-B85E1B658318}"),
    (Place::Dotnet, Vendor::Opentelemetry, "OpenTelemetry.AutoInstrumentation"),
    (Place::Dotnet, Vendor::Datadog, "{846F5F1C-F9AE-4B07-969E-05C26BC060D8}"),
    (Place::Dotnet, Vendor::NewRelic, "{36032161-FFC0-4B61-B559-F6C5D41BAE5A}"),
    (Place::Dotnet, Vendor::Elastic, "{FA65FE15-F085-4681-9B20-95E04F6C03CC}"),
    (Place::Dotnet, Vendor::Instana, "{cf0d821e-299b-5307-a3d8-b283c03916dd}"),
    (Place::Dotnet, Vendor::Dynatrace, "{B7038F67-52FC-4DA2-AB02-969B3C1EDA03}"),
    (Place::Library, Vendor::Dynatrace, "liboneagentproc"),
    (Place::Library, Vendor::Datadog, "datadog-apm"),
];

/// By the name of something that is mapped: a library, or the context that an SDK publishes (OTEP 4719).
fn by_mapping(name: &str) -> Option<Vendor> {
    let is_context = ["/memfd:OTEL_CTX", "[anon:OTEL_CTX]", "[anon_shmem:OTEL_CTX]"];
    if is_context.iter().any(|context| name.starts_with(context)) {
        return Some(Vendor::Opentelemetry);
    }
    let file = name.rsplit('/').next().unwrap_or_default();
    let libraries = [
        ("liboneagent", Vendor::Dynatrace),
        ("libddwaf", Vendor::Datadog),
        ("Datadog.Trace", Vendor::Datadog),
        ("OpenTelemetry.AutoInstrumentation", Vendor::Opentelemetry),
        // .NET's SDK, whose API is another assembly, and PHP's extension, by which its instrumentation hooks functions.
        ("OpenTelemetry.dll", Vendor::Opentelemetry),
        ("opentelemetry.so", Vendor::Opentelemetry),
        ("libNewRelicProfiler", Vendor::NewRelic),
        ("libelastic_apm_profiler", Vendor::Elastic),
    ];
    libraries.iter().find(|(library, _)| file.starts_with(library)).map(|(_, vendor)| *vendor)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(args: &[&str], variables: &[(&str, &str)]) -> (Vec<&'static str>, bool) {
        let args: Vec<String> = args.iter().map(|&arg| arg.to_owned()).collect();
        let values = VARIABLES
            .map(|name| variables.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned()));
        let language = match args[0].as_str() {
            "python3" => Some(Language::Python),
            "node" => Some(Language::Nodejs),
            "java" => Some(Language::Java),
            "dotnet" => Some(Language::Dotnet),
            _ => None,
        };
        let found = Instrumentation::by_start(&args, &values, language);
        (found.vendors().map(Vendor::name).collect(), found.is_automatic)
    }

    #[test]
    fn what_is_put_into_a_process_is_recognised() {
        let python = "/usr/lib/python3/site-packages/opentelemetry/instrumentation/auto_instrumentation:/app";
        for (args, variables, expected) in [
            (&["python3", "app.py"][..], &[("PYTHONPATH", python)][..], "opentelemetry"),
            (
                &["node", "--require", "@opentelemetry/auto-instrumentations-node/register", "a.js"],
                &[],
                "opentelemetry",
            ),
            (
                &["node", "a.js"],
                &[("NODE_OPTIONS", "--import=@opentelemetry/auto-instrumentations-node/register")],
                "opentelemetry",
            ),
            (&["java", "-javaagent:/opt/opentelemetry-javaagent.jar=debug", "-jar", "a.jar"], &[], "opentelemetry"),
            (&["dotnet", "a.dll"], &[("CORECLR_PROFILER", "{918728DD-259F-4A6A-AC2B-B85E1B658318}")], "opentelemetry"),
            (&["python3", "app.py"], &[("PYTHONPATH", "/x/ddtrace/bootstrap")], "datadog"),
            (&["node", "-r", "dd-trace/init", "a.js"], &[], "datadog"),
            (&["java", "-jar", "a.jar"], &[("JAVA_TOOL_OPTIONS", "-javaagent:/newrelic/newrelic.jar")], "new_relic"),
            (&["java", "-javaagent:/elastic-apm-agent-1.50.0.jar", "A"], &[], "elastic"),
            (&["nginx"], &[("LD_PRELOAD", "/lib64/liboneagentproc.so")], "dynatrace"),
            (&["node", "a.js"], &[("NODE_OPTIONS", "--require /x/@instana/collector/src/immediate")], "instana"),
        ] {
            assert_eq!(found(args, variables), (vec![expected], expected == "opentelemetry"), "{args:?} {variables:?}");
        }
    }

    #[test]
    fn what_only_speaks_of_it_is_not() {
        for args in [
            &["grep", "-r", "opentelemetry-javaagent.jar"][..],
            &["node", "server.js", "@opentelemetry/auto-instrumentations-node"],
            &["java", "-jar", "opentelemetry-collector.jar"],
            &["python3", "/srv/ddtrace/bootstrap/app.py"],
        ] {
            let of_another =
                [("PATH", "/newrelic/bootstrap"), ("CORECLR_PROFILER", "{846F5F1C-F9AE-4B07-969E-05C26BC060D8}")];
            assert_eq!(found(args, &of_another), (vec![], false), "{args:?}");
        }
        assert_eq!(by_mapping("/memfd:OTEL_CTX (deleted)"), Some(Vendor::Opentelemetry));
        assert_eq!(by_mapping("/app/OpenTelemetry.dll"), Some(Vendor::Opentelemetry));
        assert_eq!(by_mapping("/app/OpenTelemetry.Api.dll"), None);
        assert_eq!(by_mapping("/usr/lib/php/20220829/opentelemetry.so"), Some(Vendor::Opentelemetry));
        assert_eq!(by_mapping("/usr/lib/libddwaf.so"), Some(Vendor::Datadog));
        assert_eq!(by_mapping("/home/OTEL_CTX"), None);
    }
}
