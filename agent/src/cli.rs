//! The command line. Parses arguments and environment into a [`Command`] and touches nothing but the configuration file:
//! printing, logging and exiting are the caller's.

mod asking;

use std::{ffi::OsString, path::PathBuf, str::FromStr};

use clap::{Args, CommandFactory, Parser, Subcommand, error::ErrorKind};
use thiserror::Error;

pub use self::asking::{Question, Smoke, Trace, Whom};
use crate::config::{self, ConfigError, Environment, Loaded, Sources};

/// Exit status of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// Stopped as asked.
    Ok = 0,
    /// Failed at run time.
    Failed = 1,
    /// Bad arguments or configuration.
    Usage = 2,
    /// A capability is missing.
    NotPermitted = 3,
    /// Nothing was seen that would answer what was asked.
    NothingSeen = 4,
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// What the user asked for.
#[derive(Debug)]
pub enum Command {
    /// Watch processes.
    Run {
        /// The configuration.
        config: Box<Loaded>,
        /// Where what is captured is written to.
        record: Option<PathBuf>,
    },
    /// Start a program, watch it, exit with its status.
    Exec {
        /// The program and its arguments; never empty.
        command: Vec<OsString>,
        /// The configuration.
        config: Box<Loaded>,
        /// Where what is captured is written to.
        record: Option<PathBuf>,
    },
    /// Say what this host offers.
    Check {
        /// As JSON.
        json: bool,
        /// The configuration.
        config: Box<Loaded>,
    },
    /// List what would be watched.
    Survey {
        /// As JSON.
        json: bool,
        /// The configuration.
        config: Box<Loaded>,
    },
    /// Ask a running agent, or one of its own.
    Ask {
        /// What.
        question: Question,
        /// Whom.
        whom: Whom,
        /// The configuration.
        config: Box<Loaded>,
    },
    /// Say what is doubtful in a file that was read.
    ConfigCheck {
        /// Which.
        file: PathBuf,
        /// What it says.
        config: Box<Loaded>,
        /// Whether what is doubtful is wrong.
        is_strict: bool,
    },
    /// Print this to stdout and exit with 0: the answer of `config …`.
    Print(String),
}

/// Why there is no command: a mistake, or `--help` and `--version`, which are answered the same way.
#[derive(Debug)]
pub struct UsageError {
    /// What to print; ends with a line break.
    pub message: String,
    /// [`Exit::Ok`] if the message was asked for (it goes to stdout), else [`Exit::Usage`] (stderr).
    pub exit: Exit,
}

impl std::fmt::Display for UsageError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for UsageError {}

impl From<clap::Error> for UsageError {
    fn from(error: clap::Error) -> Self {
        let is_answer = matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
        Self { message: error.render().to_string(), exit: if is_answer { Exit::Ok } else { Exit::Usage } }
    }
}

impl From<ConfigError> for UsageError {
    fn from(error: ConfigError) -> Self {
        let lines = error.problems.iter().map(|problem| format!("error: {problem}\n")).collect();
        Self { message: lines, exit: Exit::Usage }
    }
}

const EXAMPLES: &str = "\
Examples:
  sudo beyla-rs                                  watch every service of this host
  sudo beyla-rs --port 8080 --endpoint http://collector:4317
  sudo beyla-rs --exe '*/nginx' --print json --duration 30s
  sudo beyla-rs exec -- node server.js
  sudo beyla-rs top                              the same, live in the terminal
  beyla-rs trace --slow 200ms                    what slow requests were made of
  beyla-rs smoke --service shop --for 60s --max-error-rate 1% --max-p99 300ms

Flags win over the environment (OTEL_*, OTEL_EBPF_*, BEYLA_*), the environment over the file.";

#[derive(Parser)]
#[command(
    name = "beyla-rs",
    bin_name = "beyla-rs",
    version,
    about = "Turns the HTTP and gRPC traffic of any process into OpenTelemetry spans and metrics, without changing it",
    after_help = EXAMPLES,
    disable_help_subcommand = true,
    max_term_width = 100
)]
struct Cli {
    #[command(subcommand)]
    verb: Option<Verb>,
    #[command(flatten)]
    flags: Flags,
}

#[derive(Subcommand)]
enum Verb {
    /// Watch the chosen processes and their children (what happens without a command, too)
    Run,
    /// Start a program, watch it, exit with its status (124: it goes on after it was told to stop)
    Exec {
        /// The program and its arguments
        #[arg(value_name = "CMD", required = true, trailing_var_arg = true)]
        command: Vec<OsString>,
    },
    /// Say what this host offers and what to do about what it lacks
    Check {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// List the processes that would be watched
    Survey {
        /// As JSON
        #[arg(long)]
        json: bool,
    },
    /// Watch a service for a while and say whether it works: exits with 0 if it does, 1 if not, 4 where nothing was seen
    Smoke {
        #[command(flatten)]
        what: Smoke,
        #[command(flatten)]
        whom: Whom,
    },
    /// Show traces as waterfalls: all that a request caused
    Trace {
        #[command(flatten)]
        what: Trace,
        #[command(flatten)]
        whom: Whom,
    },
    /// Services, routes, requests and traces, live in the terminal
    Top {
        #[command(flatten)]
        whom: Whom,
    },
    /// Answer an assistant's questions over standard input and output (Model Context Protocol)
    Mcp {
        #[command(flatten)]
        whom: Whom,
    },
    /// Check, describe or show the configuration
    #[command(subcommand)]
    Config(ConfigVerb),
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Check a file; says what is wrong with line and key
    Check {
        /// The file; that of --config, too
        file: Option<PathBuf>,
    },
    /// Write a file of OBI or Beyla (of either version of its format) anew, in this program's keys
    Migrate {
        /// The file
        file: PathBuf,
    },
    /// Print the JSON Schema of the file
    Schema,
    /// Print the effective configuration and where each value came from
    Show,
}

#[derive(Args)]
struct Flags {
    /// Watch this process; may be given again
    #[arg(long = "pid", value_name = "PID", global = true, help_heading = "What to watch", value_parser = checked::<config::Pids>)]
    pid: Vec<String>,
    /// Watch processes that listen on these ports, such as 80,8000-8999
    #[arg(long = "port", value_name = "LIST", global = true, help_heading = "What to watch", value_parser = some_ports)]
    port: Vec<String>,
    /// Watch programs by path, such as '*/nginx'; with --port, both must hold
    #[arg(long = "exe", value_name = "GLOB", global = true, help_heading = "What to watch", value_parser = checked::<config::Glob>)]
    exe: Vec<String>,
    /// YAML configuration file; OBI's and Beyla's files are read as well
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// Take warnings about the configuration as errors
    #[arg(long, global = true)]
    strict: bool,
    /// Send spans and metrics to this OTLP receiver, such as http://collector:4317
    #[arg(long, value_name = "URL", global = true, value_parser = checked::<config::OtlpEndpoint>)]
    endpoint: Option<String>,
    /// How to send; default: grpc for port 4317, else http/protobuf
    #[arg(long, value_name = "PROTOCOL", global = true, value_parser = ["grpc", "http/protobuf", "http/json"])]
    protocol: Option<String>,
    /// Print spans to stdout; default: text without an endpoint, else off
    #[arg(long, value_name = "FORMAT", global = true, value_parser = ["off", "text", "json"])]
    print: Option<String>,
    /// How to ask the kernel; default: auto, the best this host offers
    #[arg(long, value_name = "NAME", global = true, value_parser = config::Backend::ALL.map(config::Backend::name))]
    backend: Option<String>,
    /// Address of /metrics, /healthz and /readyz, or off; default: 127.0.0.1:9464
    #[arg(long, value_name = "ADDR", global = true, value_parser = checked::<config::Listen>)]
    listen: Option<String>,
    /// How much to log to stderr; default: info
    #[arg(long, value_name = "LEVEL", global = true, ignore_case = true, value_parser = ["off", "error", "warn", "info", "debug", "trace"])]
    log_level: Option<String>,
    /// Stop after this time, such as 30s
    #[arg(long, value_name = "TIME", global = true, value_parser = checked::<config::Period>)]
    duration: Option<String>,
    /// Write what is captured to a new file, to report a wrong span with (docs/recordings.md). It holds what moves in the
    /// clear, secrets too
    #[arg(long, value_name = "FILE", global = true, help_heading = "Debugging")]
    record: Option<PathBuf>,
}

/// Why a list of ports is none.
#[derive(Debug, Error)]
enum PortsError {
    #[error("it is empty; write it as `8080`, `80,443` or `8000-8100`")]
    Empty,
    #[error(transparent)]
    Wrong(<config::Ports as FromStr>::Err),
}

/// As [`checked`]. None at all would mean that every process is watched, which nobody asks for like this.
fn some_ports(text: &str) -> Result<String, PortsError> {
    if text.trim().is_empty() {
        return Err(PortsError::Empty);
    }
    checked::<config::Ports>(text).map_err(PortsError::Wrong)
}

/// Lets clap say at once what is wrong with a value; the text goes on to the configuration.
fn checked<T: FromStr>(text: &str) -> Result<String, T::Err> {
    text.parse::<T>().map(|_| text.to_owned())
}

impl Flags {
    fn layer(&self) -> config::FlagLayer {
        let mut layer = config::FlagLayer::default();
        let joined = |list: &[String]| (!list.is_empty()).then(|| list.join(","));
        layer.set("--pid", "target_pids", joined(&self.pid));
        layer.set("--port", "open_port", joined(&self.port));
        let exe = match self.exe.as_slice() {
            [] => None,
            [one] => Some(one.clone()),
            several => Some(format!("{{{}}}", several.join(","))),
        };
        layer.set("--exe", "auto_target_exe", exe);
        layer.set("--endpoint", "otlp.endpoint", self.endpoint.clone());
        layer.set("--protocol", "otlp.protocol", self.protocol.clone());
        layer.set("--print", "print", self.print.clone());
        layer.set("--backend", "backend", self.backend.clone());
        layer.set("--listen", "listen", self.listen.clone());
        layer.set("--log-level", "log_level", self.log_level.clone());
        layer.set("--duration", "duration", self.duration.clone());
        layer
    }

    fn selecting(&self) -> Option<&'static str> {
        [("--pid", &self.pid), ("--port", &self.port), ("--exe", &self.exe)]
            .into_iter()
            .find(|(_, values)| !values.is_empty())
            .map(|(name, _)| name)
    }
}

/// Parses arguments (the first is the program's name) with the environment.
///
/// # Errors
/// A message to print and the status to exit with.
pub fn parse<A, E>(arguments: A, environment: E) -> Result<Command, UsageError>
where
    A: IntoIterator<Item: Into<OsString> + Clone>,
    E: IntoIterator<Item = (OsString, OsString)>,
{
    let cli = Cli::try_parse_from(arguments)?;
    let flags = &cli.flags;
    let refuse = |message: String| UsageError::from(Cli::command().error(ErrorKind::ArgumentConflict, message));
    let selecting = flags.selecting();
    if flags.exe.len() > 1 && flags.exe.iter().any(|exe| exe.starts_with("re:")) {
        return Err(refuse("--exe with a regular expression can be given only once".to_owned()));
    }
    if let Some(Verb::Config(ConfigVerb::Check { file })) = &cli.verb {
        let Some(file) = file.as_ref().or(flags.config.as_ref()) else {
            let message = "which file? `beyla-rs config check FILE`";
            return Err(Cli::command().error(ErrorKind::MissingRequiredArgument, message).into());
        };
        let config = Box::new(config::check_file(file, readable(environment)?, flags.strict)?);
        return Ok(Command::ConfigCheck { file: file.clone(), config, is_strict: flags.strict });
    }
    let environment = readable(environment)?;
    if let Some(Verb::Config(ConfigVerb::Migrate { file })) = &cli.verb {
        return Ok(Command::Print(config::migrate(file, &environment)?));
    }
    let load = || -> Result<Box<Loaded>, UsageError> {
        let sources = Sources {
            file: flags.config.clone(),
            environment: environment.clone(),
            flags: flags.layer(),
            is_strict: flags.strict,
            is_check: false,
        };
        Ok(Box::new(Loaded::load(sources)?))
    };
    if flags.record.is_some() && !matches!(cli.verb, None | Some(Verb::Run | Verb::Exec { .. })) {
        return Err(refuse("--record does something for run and exec only".to_owned()));
    }
    let record = flags.record.clone();
    let ask = |question: Question, whom: Whom, load: &dyn Fn() -> Result<Box<Loaded>, UsageError>| {
        let name = question.name();
        if let (Some(selecting), Some(_)) = (selecting, &whom.agent) {
            return Err(refuse(format!("{selecting} contradicts --agent, which watches what it was told to")));
        }
        if flags.print.is_some() {
            return Err(refuse(format!("--print does nothing for {name}")));
        }
        if flags.duration.is_some() && matches!(question, Question::Smoke(_)) {
            return Err(refuse("--duration does nothing for smoke: give --for".to_owned()));
        }
        let whom = Whom { alone: whom.alone || selecting.is_some(), ..whom };
        Ok(Command::Ask { question, whom, config: load()? })
    };
    match cli.verb {
        Some(Verb::Smoke { what, whom }) => ask(Question::Smoke(what), whom, &load),
        Some(Verb::Trace { what, whom }) => ask(Question::Trace(what), whom, &load),
        Some(Verb::Top { whom }) => ask(Question::Top, whom, &load),
        Some(Verb::Mcp { whom }) => ask(Question::Mcp, whom, &load),
        None | Some(Verb::Run) => Ok(Command::Run { config: load()?, record }),
        Some(Verb::Exec { command }) => match selecting {
            Some(name) => Err(refuse(format!("{name} contradicts exec, which watches the program it starts"))),
            None => Ok(Command::Exec { command, config: load()?, record }),
        },
        Some(Verb::Check { json }) => match selecting {
            Some(name) => Err(refuse(format!("{name} does nothing for check"))),
            None => Ok(Command::Check { json, config: load()? }),
        },
        Some(Verb::Survey { json }) => Ok(Command::Survey { json, config: load()? }),
        // Answered above.
        Some(Verb::Config(ConfigVerb::Check { .. } | ConfigVerb::Migrate { .. })) => Ok(Command::Print(String::new())),
        Some(Verb::Config(ConfigVerb::Schema)) => Ok(Command::Print(format!("{:#}\n", config::schema()))),
        Some(Verb::Config(ConfigVerb::Show)) => {
            let loaded = load()?;
            let warnings: String = loaded.warnings.iter().map(|warning| format!("# warning: {warning}\n")).collect();
            Ok(Command::Print(format!("{warnings}{}", loaded.show())))
        }
    }
}

/// Variables that are no text can still be somebody else's; ours must be text.
fn readable(environment: impl IntoIterator<Item = (OsString, OsString)>) -> Result<Environment, UsageError> {
    let mut pairs = Vec::new();
    for (name, value) in environment {
        let Ok(name) = name.into_string() else { continue };
        match value.into_string() {
            Ok(value) => pairs.push((name, value)),
            Err(_) if name.starts_with("OTEL_") || name.starts_with("BEYLA_") => {
                return Err(UsageError { message: format!("error: {name}: is not UTF-8\n"), exit: Exit::Usage });
            }
            Err(_) => {}
        }
    }
    Ok(Environment::from_pairs(pairs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Backend, Listen, LogLevel, Print, Protocol};

    fn run(arguments: &[&str]) -> Result<Command, UsageError> {
        let arguments = ["beyla-rs"].iter().chain(arguments).map(OsString::from);
        parse(arguments.collect::<Vec<_>>(), [])
    }

    fn config(arguments: &[&str]) -> Loaded {
        match run(arguments) {
            Ok(Command::Run { config, .. }) => *config,
            other => panic!("{arguments:?}: {other:?}"),
        }
    }

    fn refused(arguments: &[&str]) -> String {
        let error = run(arguments).expect_err("it was accepted");
        assert_eq!(error.exit, Exit::Usage, "{arguments:?}");
        error.message
    }

    #[test]
    fn flags_without_a_command_run() {
        for arguments in
            [["--pid", "1", "--pid", "2"].as_slice(), &["run", "--pid", "1", "--pid", "2"], &["--pid", "1,2", "run"]]
        {
            assert_eq!(config(arguments).selection().pids, [1, 2], "{arguments:?}");
        }
        assert!(config(&[]).selection().is_everything());
    }

    #[test]
    fn every_flag_reaches_its_value() {
        let config = config(&[
            "--port",
            "80,8000-8999",
            "--port",
            "443",
            "--exe",
            "*/a",
            "--exe",
            "*/{b,c}",
            "--endpoint",
            "http://c:4318",
            "--protocol",
            "http/json",
            "--print",
            "json",
            "--backend",
            "fexit",
            "--listen",
            "off",
            "--log-level",
            "DEBUG",
            "--duration",
            "1m30s",
        ]);
        for port in [80, 443, 8500] {
            assert!(config.open_port.contains(port));
        }
        let exe = config.auto_target_exe.as_ref().unwrap();
        assert!(exe.is_match("/a") && exe.is_match("/x/c") && !exe.is_match("/d"));
        let target = config.otlp_traces().remove(0);
        assert_eq!((target.endpoint.as_str(), target.protocol), ("http://c:4318/v1/traces", Protocol::HttpJson));
        assert_eq!((config.print_mode(), config.backend, config.listen), (Print::Json, Backend::Fexit, Listen::Off));
        assert_eq!(config.log_level, LogLevel::Debug);
        assert_eq!(config.duration, "90s".parse().ok());
        assert_eq!(config.origin("duration").unwrap().to_string(), "flag --duration");
    }

    #[test]
    fn exec_takes_a_program_with_arguments_of_its_own() {
        for arguments in [
            ["exec", "--", "sh", "-c", "--pid", "x"].as_slice(),
            &["exec", "sh", "-c", "--pid", "x"],
            &["--print", "json", "exec", "--backend", "auto", "--", "sh", "-c", "--pid", "x"],
        ] {
            let Ok(Command::Exec { command, .. }) = run(arguments) else { panic!("{arguments:?}") };
            assert_eq!(command, ["sh", "-c", "--pid", "x"], "{arguments:?}");
        }
        assert!(refused(&["exec"]).contains("<CMD>"));
        assert!(refused(&["exec", "--pid", "1", "--", "sh"]).contains("--pid contradicts exec"));
        assert!(refused(&["--port", "80", "exec", "--", "sh"]).contains("--port contradicts exec"));
        assert!(refused(&["check", "--exe", "x"]).contains("--exe does nothing for check"));
    }

    #[test]
    fn a_mistake_is_answered_with_what_was_likely_meant() {
        assert!(refused(&["--protocl", "grpc"]).contains("--protocol"));
        assert!(refused(&["surve"]).contains("survey"));
        assert!(refused(&["--print", "tex"]).contains("text"));
        assert!(refused(&["--duration", "30"]).contains("`30` needs a unit"));
        assert!(refused(&["--endpoint", "collector:4317"]).contains("write it as `http://collector:4317`"));
        assert!(refused(&["--pid", "0"]).contains("process id"));
        assert!(refused(&["--port", "99999"]).contains("is no port"));
        // An empty variable in a script must not choose every process.
        assert!(refused(&["--port", ""]).contains("it is empty"));
        assert!(refused(&["--exe", "{a"]).contains("is no pattern"));
        assert!(refused(&["--listen", "here"]).contains("neither `off` nor an address"));
    }

    #[test]
    fn the_other_commands_are_told_apart() {
        assert!(matches!(run(&["check", "--json"]), Ok(Command::Check { json: true, .. })));
        assert!(matches!(run(&["check"]), Ok(Command::Check { json: false, .. })));
        assert!(matches!(run(&["survey", "--json", "--port", "80"]), Ok(Command::Survey { json: true, .. })));
        let Ok(Command::Print(schema)) = run(&["config", "schema"]) else { panic!() };
        assert!(serde_json::from_str::<serde_json::Value>(&schema).unwrap()["properties"]["routes"].is_object());
        let Ok(Command::Print(shown)) = run(&["config", "show", "--backend", "sock"]) else { panic!() };
        assert!(shown.contains("backend: sock  # flag --backend\n"));
    }

    #[test]
    fn who_asks_says_what_and_whom() {
        let smoke = ["smoke", "--service", "shop", "--for", "30s", "--max-error-rate", "1%", "--max-p99", "300ms"];
        let Ok(Command::Ask { question: Question::Smoke(what), whom, .. }) = run(&smoke) else { panic!() };
        assert_eq!((what.length.as_secs(), what.max_error_rate), (30, Some(0.01)));
        assert_eq!((what.max_p99.map(|it| it.as_millis()), whom.agent, whom.alone), (Some(300), None, false));
        let Ok(Command::Ask { question: Question::Trace(what), whom, .. }) =
            run(&["trace", "--slow", "200ms", "--port", "80"])
        else {
            panic!()
        };
        assert_eq!((what.slow.map(|it| it.as_millis()), whom.alone), (Some(200), true));
        assert!(refused(&["smoke", "--service", "shop"]).contains("--max-error-rate"));
        assert!(refused(&["smoke", "--max-p99", "1s"]).contains("--service"));
        assert!(refused(&["smoke", "--service", "x", "--max-error-rate", "1"]).contains("`1%`"));
        assert!(refused(&["trace", "--port", "80", "--agent", "http://h:9464"]).contains("contradicts --agent"));
        assert!(refused(&["trace", "--print", "json"]).contains("--print does nothing for trace"));
        assert!(refused(&["trace", "0af7651916cd43dd8448eb211c80319c", "--errors"]).contains("cannot be used"));
    }

    #[test]
    fn a_file_is_checked_by_itself() {
        let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/src/config/fixtures");
        let file = format!("{directory}/full.yaml");
        let Ok(Command::ConfigCheck { file: by_flag, .. }) = run(&["config", "check", "--config", &file]) else {
            panic!()
        };
        assert_eq!(by_flag.to_str(), Some(file.as_str()));
        assert!(refused(&["config", "check"]).contains("FILE"));
        let Ok(Command::ConfigCheck { file: checked, .. }) = run(&["config", "check", &file]) else { panic!() };
        assert_eq!(checked.to_str(), Some(file.as_str()));
        let file = format!("{directory}/beyla_kubernetes.yaml");
        let Ok(Command::ConfigCheck { config, .. }) = run(&["config", "check", &file]) else { panic!() };
        let report = config.warnings.iter().map(ToString::to_string).collect::<String>();
        assert!(report.contains(":43:3: network.enable: is an option of OBI that is not supported yet"), "{report}");
        assert!(refused(&["config", "check", "--strict", &file]).contains("network.enable"));
    }

    #[test]
    fn help_and_version_are_answers_and_not_mistakes() {
        let answer = |arguments: &[&str]| {
            let error = run(arguments).expect_err("there is a command");
            assert_eq!(error.exit, Exit::Ok);
            error.message
        };
        assert_eq!(answer(&["--version"]), format!("beyla-rs {}\n", env!("CARGO_PKG_VERSION")));
        assert!(answer(&["--help"]).contains("Examples:"));
    }

    #[test]
    fn a_variable_of_ours_must_be_text_and_others_need_not() {
        use std::os::unix::ffi::OsStringExt;
        let broken = || OsString::from_vec(vec![0xff]);
        let error = parse(["beyla-rs"], [("OTEL_SERVICE_NAME".into(), broken())]).unwrap_err();
        assert_eq!((error.message.as_str(), error.exit), ("error: OTEL_SERVICE_NAME: is not UTF-8\n", Exit::Usage));
        assert!(parse(["beyla-rs"], [("LS_COLORS".into(), broken())]).is_ok());
        // Of OpenTelemetry's variables, what cannot be used is warned of.
        assert!(parse(["beyla-rs"], [("OTEL_BSP_SCHEDULE_DELAY".into(), "x".into())]).is_ok());
    }
}
