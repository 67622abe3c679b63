//! The scenarios: a basic one under every way to install the agent, and what can go wrong around it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::cluster::{Cluster, apply, apply_text, kubectl, rolled_out, wait_for};
use super::expected::Expected;
use super::spans::{self, CLIENT, SERVER, Span};
use super::{Args, Variant, image};
use xtask::deploy_tools::{KUBERNETES, Tools};
use xtask::shell;

/// The Services that callers ask, and the workload and container behind each.
const TARGETS: &[(&str, &str, &str)] = &[
    ("cart", "cart-", "http"),
    ("stock", "stock-0", "db"),
    ("left", "pair", "left"),
    ("right", "pair", "right"),
    ("onhost", "onhost-", "http"),
];

/// What is wrong, in words.
type Complaints = Vec<String>;

pub(super) fn run_all(cluster: &Cluster, args: &Args) -> Result<Complaints> {
    let files = shell::root().join("xtask/kube");
    apply("-f", &files.join("services.yaml"))?;
    apply("-f", &files.join("receiver.yaml"))?;
    rolled_out("observability", "deployment/otel-collector")?;
    sleep(Duration::from_secs(1));
    apply("-f", &files.join("servers.yaml"))?;
    apply("-f", &files.join("cronjob.yaml"))?;
    for what in ["deployment/cart", "statefulset/stock", "daemonset/onhost"] {
        rolled_out("shop", what)?;
    }
    kubectl(&["-n", "shop", "wait", "--for=condition=Ready", "pod/pair", "--timeout=60s"])?;
    let mut complaints = Complaints::new();
    for &variant in &args.only {
        let name = format!("{variant:?}").to_lowercase();
        let mut run = Run { name, expected: Expected::default(), complaints: Vec::new() };
        let agent = Agent::install(variant, cluster)?;
        run.basic()?;
        if variant == Variant::Base {
            run.rolling_restart()?;
            run.agent_deleted(&agent)?;
            if let (Some(stop), Some(start)) = (&args.api_stop, &args.api_start) {
                run.without_api_server(stop, start)?;
            }
        }
        agent.uninstall()?;
        complaints.append(&mut run.complaints);
    }
    Ok(complaints)
}

/// An installed agent.
struct Agent {
    manifests: String,
    workload: &'static str,
}

impl Agent {
    fn install(variant: Variant, cluster: &Cluster) -> Result<Self> {
        let address =
            kubectl(&["-n", "observability", "get", "service", "otel-collector", "-o", "jsonpath={.spec.clusterIP}"])?;
        let tools = Tools::ensure()?;
        let config = format!(
            "otlp: {{endpoint: \"http://{address}:4318\", protocol: http/json}}\n\
             otel_traces_export: {{batch_timeout: 500ms}}\n\
             listen: 0.0.0.0:9464\n\
             attributes: {{kubernetes: {{enable: true}}}}\n\
             discovery: {{instrument: [{{exe_path: /sample}}]}}\n"
        );
        let (manifests, workload) = match variant {
            Variant::Base => (overlay(&tools, "base", &config)?, "daemonset/beyla-rs"),
            Variant::Privileged => (overlay(&tools, "privileged", &config)?, "daemonset/beyla-rs"),
            Variant::Chart => (chart(&tools, &address)?, "daemonset/beyla-rs"),
        };
        let started = Instant::now();
        if variant == Variant::Chart {
            apply_text("apiVersion: v1\nkind: Namespace\nmetadata: {name: beyla-rs}\n")?;
        }
        apply_text(&manifests)?;
        rolled_out("beyla-rs", workload)?;
        shell::say(format_args!(
            "kube: {variant:?}: the agent is ready on {} after {:.1} s",
            cluster.node,
            started.elapsed().as_secs_f64()
        ));
        Ok(Self { manifests, workload })
    }

    fn uninstall(self) -> Result<()> {
        let file = shell::target_dir().join("kube/manifests.yaml");
        std::fs::write(&file, &self.manifests)?;
        let file = file.to_string_lossy();
        kubectl(&["delete", "--wait", "--ignore-not-found", "-f", &file])?;
        kubectl(&["delete", "namespace", "beyla-rs", "--ignore-not-found"]).map(drop)
    }
}

/// A kustomization over ours: the test's image and configuration.
fn overlay(tools: &Tools, variant: &str, config: &str) -> Result<String> {
    let folder = shell::root().join("deploy/kubernetes").join(format!(".test-{variant}"));
    std::fs::create_dir_all(&folder)?;
    let (name, tag) = image::AGENT.rsplit_once(':').context("the image has no tag")?;
    let text = format!(
        "resources: [../{variant}]\nnamespace: beyla-rs\n\
         images: [{{name: ghcr.io/beyla-rs/beyla-rs, newName: {name}, newTag: {tag}}}]\n\
         configMapGenerator: [{{name: beyla-rs, behavior: merge, files: [config.yaml]}}]\n"
    );
    std::fs::write(folder.join("kustomization.yaml"), text)?;
    std::fs::write(folder.join("config.yaml"), config)?;
    let built = shell::output(tools.validate("kustomize").arg(&folder));
    std::fs::remove_dir_all(&folder)?;
    built
}

fn chart(tools: &Tools, address: &str) -> Result<String> {
    let (name, tag) = image::AGENT.rsplit_once(':').context("the image has no tag")?;
    let values = [
        format!("endpoint=http://{address}:4318"),
        "protocol=http/json".to_owned(),
        format!("image.repository={name}"),
        format!("image.tag={tag}"),
        "config.otel_traces_export.batch_timeout=500ms".to_owned(),
        "config.discovery.instrument[0].k8s_namespace=shop".to_owned(),
    ];
    let mut command = tools.validate("template");
    command.arg(shell::root().join("deploy/helm/beyla-rs")).args([KUBERNETES, "beyla-rs", "beyla-rs"]).args(values);
    shell::output(&mut command)
}

/// A way to install the agent, under test.
struct Run {
    name: String,
    expected: Expected,
    complaints: Complaints,
}

impl Run {
    fn complain(&mut self, what: &str, complaint: String) {
        self.complaints.push(format!("{} {what}: {complaint}", self.name));
    }

    /// Every kind of caller asks every kind of server.
    fn basic(&mut self) -> Result<()> {
        // The cron job's paths are the same under each agent.
        spans::forget()?;
        let all: Vec<&str> = TARGETS.iter().map(|target| target.0).collect();
        let pod = format!("bare-{}", self.name);
        caller(&pod, false, 30, "20ms", &all)?;
        let job = format!("job-{}", self.name);
        caller(&job, true, 30, "20ms", &all)?;
        let cron = format!("report-{}", self.name);
        kubectl(&["-n", "shop", "create", "job", &cron, "--from=cronjob/report"])?;
        self.check("bare pod", &pod, &pod, &pod)?;
        self.check("job", &job, &format!("job/{job}"), &job)?;
        self.check("cronjob", "report", &format!("job/{cron}"), "report")
    }

    /// The backend's pods are replaced under load.
    fn rolling_restart(&mut self) -> Result<()> {
        caller("rolling", true, 400, "20ms", &["cart"])?;
        started("job/rolling")?;
        self.expected.look()?;
        kubectl(&["-n", "shop", "rollout", "restart", "deployment/cart"])?;
        rolled_out("shop", "deployment/cart")?;
        self.check("rolling restart", "rolling", "job/rolling", "rolling")
    }

    /// The API server is away while requests go on.
    fn without_api_server(&mut self, stop: &str, start: &str) -> Result<()> {
        caller("offline", true, 450, "100ms", &["cart", "stock"])?;
        started("job/offline")?;
        self.expected.look()?;
        shell::run(Command::new("sh").args(["-c", stop]))?;
        sleep(Duration::from_secs(30));
        shell::run(Command::new("sh").args(["-c", start]))?;
        let back = wait_for(Duration::from_secs(60), || Ok(kubectl(&["get", "--raw=/readyz"]).ok()))?;
        back.context("the API server does not come back")?;
        self.check("API server away for 30 s", "offline", "job/offline", "offline")?;
        caller("online", true, 50, "20ms", &["cart", "stock"])?;
        self.check("after the API server's return", "online", "job/online", "online")
    }

    /// The agent's pod is deleted under load; the next one sees what comes after, connections from before included.
    fn agent_deleted(&mut self, agent: &Agent) -> Result<()> {
        caller("midload", true, 600, "20ms", &["cart"])?;
        started("job/midload")?;
        sleep(Duration::from_secs(2));
        let names = || kubectl(&["-n", "beyla-rs", "get", "pods", "-o", "jsonpath={.items[*].metadata.name}"]);
        let old = names()?;
        kubectl(&["-n", "beyla-rs", "delete", "pod", "--wait=false", old.trim()])?;
        let gone = Instant::now();
        let new = wait_for(Duration::from_secs(60), || {
            let ready = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].ready}{'\\n'}{end}";
            let pods = kubectl(&["-n", "beyla-rs", "get", "pods", "-o", ready])?;
            Ok(pods.lines().any(|line| line.ends_with(" true") && !line.starts_with(old.trim())).then_some(()))
        })?;
        new.with_context(|| format!("no new agent of {}", agent.workload))?;
        let took = gone.elapsed().as_secs_f64();
        shell::say(format_args!("kube: {} agent deleted: a new one is ready after {took:.1} s", self.name));
        if took > 5.0 {
            self.complain("agent deleted", format!("the new one took {took:.1} s to be ready, not 5"));
        }
        answered("job/midload")?;
        self.expected.look()?;
        // The last of the load: on connections of before or after, all on the new agent's watch.
        let tail = |span: &&Span| span.request().is_some_and(|(_, _, number)| number >= 550);
        let found = spans::of_caller("midload", usize::MAX)?;
        for kind in [CLIENT, SERVER] {
            let seen = found.iter().filter(tail).filter(|span| span.is(kind)).count();
            if seen != 50 {
                self.complain("agent deleted", format!("of the last 50 requests {seen} have a span of kind {kind}"));
            }
        }
        caller("afterwards", true, 100, "10ms", &["cart", "left"])?;
        self.check("after the agent's return", "afterwards", "job/afterwards", "afterwards")
    }

    /// Once the caller is done: a span on each side of each request it made, no other, and all of them right.
    fn check(&mut self, what: &str, name: &str, workload: &str, container: &str) -> Result<()> {
        let (answered, failed) = answered(workload)?;
        self.expected.look()?;
        let found = spans::of_caller(name, 2 * answered)?;
        let mut wrong = BTreeMap::<String, usize>::new();
        for kind in [CLIENT, SERVER] {
            let paths: Vec<&str> = found.iter().filter(|span| span.is(kind)).filter_map(Span::path).collect();
            let distinct: BTreeSet<&&str> = paths.iter().collect();
            if paths.len() != answered || distinct.len() != answered {
                let of = if kind == CLIENT { "clients" } else { "servers" };
                let complaint =
                    format!("{answered} requests were answered; {of} have {} spans of {}", paths.len(), distinct.len());
                self.complain(what, complaint);
            }
        }
        for span in &found {
            for complaint in self.wrong(span, container) {
                *wrong.entry(complaint).or_default() += 1;
            }
        }
        shell::say(format_args!(
            "kube: {} {what}: {answered} requests answered, {failed} failed; {} spans, {} of them wrong",
            self.name,
            found.len(),
            wrong.values().max().unwrap_or(&0)
        ));
        for (complaint, times) in wrong {
            self.complain(what, format!("{complaint} ({times} times)"));
        }
        Ok(())
    }

    fn wrong(&self, span: &Span, caller: &str) -> Vec<String> {
        let Some((target, _, _)) = span.request() else { return vec!["no request".to_owned()] };
        let Some(&(_, pod, container)) = TARGETS.iter().find(|(name, _, _)| *name == target) else {
            return vec![format!("no such target: {target}")];
        };
        if span.is(CLIENT) {
            let mut complaints = self.expected.complaints(span, caller);
            for (key, value) in
                [("server.address", target), ("service.peer.name", target), ("service.peer.namespace", "shop")]
            {
                if span.get(key) != Some(value) {
                    complaints.push(format!("client: {key} is {:?}, not {value:?}", span.get(key)));
                }
            }
            return complaints;
        }
        let mut complaints = self.expected.complaints(span, container);
        if !span.get("k8s.pod.name").is_some_and(|name| name.starts_with(pod)) {
            complaints.push(format!("{target} was served by {:?}", span.get("k8s.pod.name")));
        }
        complaints
    }
}

/// Starts a caller as a bare pod or as a job, its container named as it is.
fn caller(name: &str, job: bool, count: usize, pause: &str, targets: &[&str]) -> Result<()> {
    let urls: Vec<String> =
        targets.iter().map(|target| format!("\"http://$({}_SERVICE_HOST)/{target}\"", target.to_uppercase())).collect();
    let spec = format!(
        "{{restartPolicy: Never, containers: [{{name: {name}, image: localhost/beyla-rs-sample:1, imagePullPolicy: Never, \
         args: [call, {name}, \"{count}\", {pause}, {}]}}]}}",
        urls.join(", ")
    );
    let metadata = format!("metadata: {{name: {name}, namespace: shop}}");
    apply_text(&if job {
        format!("apiVersion: batch/v1\nkind: Job\n{metadata}\nspec: {{backoffLimit: 0, template: {{spec: {spec}}}}}\n")
    } else {
        format!("apiVersion: v1\nkind: Pod\n{metadata}\nspec: {spec}\n")
    })
}

/// Waits until a job's pod runs.
fn started(job: &str) -> Result<()> {
    kubectl(&["-n", "shop", "wait", job, "--for=jsonpath={.status.ready}=1", "--timeout=60s"]).map(drop)
}

/// Waits until a caller is done; how many of its requests were answered, and how many were not.
fn answered(workload: &str) -> Result<(usize, usize)> {
    let done = wait_for(Duration::from_secs(120), || {
        let log = kubectl(&["-n", "shop", "logs", workload]).unwrap_or_default();
        Ok(log.lines().find(|line| line.starts_with("called name=")).map(str::to_owned))
    })?;
    let Some(line) = done else { bail!("{workload} does not end its calls") };
    let within = |from: &str, to: &str| {
        let rest = line.split_once(from)?.1;
        Some(rest.split_once(to).map_or(rest, |(inside, _)| inside).to_owned())
    };
    let counts = within("answered=[", "]").context("no counts")?;
    let answered = counts.split_whitespace().filter_map(|count| count.parse::<usize>().ok()).sum();
    Ok((answered, within("failed=", " ").and_then(|count| count.parse().ok()).unwrap_or(0)))
}
