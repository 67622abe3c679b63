//! Pods by hand (cgroups named as kubelet names them) and an API server of the test's own, which comes and goes.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use tests::{
    client::Connection,
    kubernetes::ApiServer,
    need,
    program::{Program, folder},
    receiver::{ReceivedSpan, State},
    seen::path,
    wait::poll,
};

use crate::{
    containers::Cgroup,
    watching::{Discovering, resource},
};

const NODE: &str = "node-of-the-test";

/// Makes a request, and lives until its input ends.
const VISITOR: &str = "
import http.client, sys, urllib.parse
url = urllib.parse.urlsplit(sys.argv[1])
connection = http.client.HTTPConnection(url.netloc)
connection.request('GET', url.path)
response = connection.getresponse()
response.read()
print('answered', response.status)
sys.stdin.readline()
";

/// A pod of one container, with a program of the host's network in it.
struct Pod {
    name: &'static str,
    uid: String,
    container: String,
    /// The kind of its controller, and of that one's.
    kinds: (&'static str, &'static str),
    program: Program,
    // In this order: what is in it ends first.
    _cgroup: Cgroup,
}

impl Pod {
    /// `number` tells the pods of all tests apart, which run at the same time.
    fn start(name: &'static str, number: u32, command: &mut Command) -> Self {
        let uid = format!("{number:08}-1111-2222-3333-444444444444");
        let container = format!("{number:064x}");
        let cgroup = Cgroup::new(&format!("kubepods/burstable/pod{uid}/{container}"));
        let script = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", cgroup.path().display());
        let mut entered = Command::new("sh");
        entered.args(["-c", &script, "sh"]).arg(command.get_program()).args(command.get_args());
        let kinds = ("ReplicaSet", "Deployment");
        Self { name, uid, container, kinds, program: Program::start(&mut entered), _cgroup: cgroup }
    }

    fn server(name: &'static str, number: u32) -> Self {
        Self::start(name, number, Command::new(need::python()).arg("-u").arg(need::source("server.py")))
    }

    fn port(&self) -> u16 {
        self.program.port()
    }

    fn get(&self, path: &str) {
        assert_eq!(Connection::to(self.port()).get(path).status, 200);
    }

    /// The uid of its controller.
    fn owner(&self) -> String {
        format!("owner-of-{}", self.uid)
    }

    /// As the API server tells of it.
    fn object(&self, labels: &Value) -> Value {
        json!({
            "metadata": {
                "name": format!("{}-7d4b-x", self.name), "namespace": "shop", "uid": self.uid, "labels": labels,
                "annotations": {"contact": format!("{}@example", self.name), "unasked": "yes"},
                "ownerReferences": [{
                    "kind": self.kinds.0, "name": format!("{}-7d4b", self.name), "uid": self.owner(), "apiVersion": "apps/v1",
                    "controller": true,
                }],
            },
            "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "registry/image:1"}]},
            "status": {
                "phase": "Running", "startTime": "2026-01-02T03:04:05Z", "podIPs": [],
                "containerStatuses": [{"name": "main", "containerID": format!("containerd://{}", self.container)}],
            },
        })
    }

    /// Puts the pod and its owner's chain where the agent finds them.
    fn announce(&self, server: &ApiServer, labels: &Value) {
        let metadata = json!({"name": format!("{}-7d4b", self.name), "namespace": "shop", "uid": self.owner(),
        "ownerReferences": [
            {"kind": self.kinds.1, "name": self.name, "uid": "d", "apiVersion": "apps/v1", "controller": true},
        ]});
        server.put(&format!("{}s", self.kinds.0.to_lowercase()), json!({"metadata": metadata}));
        server.put("pods", self.object(labels));
    }

    /// What the resource of its spans has of the cluster.
    fn expected(&self, service: &str) -> Value {
        let mut expected = json!({
            "service.name": service,
            "service.namespace": "shop",
            "k8s.namespace.name": "shop",
            "k8s.pod.name": format!("{}-7d4b-x", self.name),
            "k8s.pod.uid": self.uid,
            "k8s.pod.start_time": "2026-01-02T03:04:05Z",
            "k8s.container.name": "main",
            "k8s.node.name": NODE,
            "container.id": self.container,
        });
        for kind in ["ReplicaSet", "Deployment", "Job", "CronJob"] {
            let name = match self.kinds {
                (lower, _) if lower == kind => json!(format!("{}-7d4b", self.name)),
                (_, upper) if upper == kind => json!(self.name),
                _ => Value::Null,
            };
            expected[format!("k8s.{}.name", kind.to_lowercase())] = name;
        }
        expected
    }
}

/// An agent of the node. `wait` is how long spans of pods wait for the first list.
fn agent(server: &ApiServer, folder: &Path, wait: &str) -> Discovering {
    let config = folder.join("agent.yaml");
    let kubeconfig = server.kubeconfig(folder);
    let text = format!(
        "attributes:\n  kubernetes:\n    kubeconfig_path: {}\n    informers_sync_timeout: {wait}\n    \
         reconnect_initial_interval: 20ms\n    cluster_name: prod\n    \
         resource_labels: {{service.version: [release], deployment.environment.name: [env, stage]}}\n    \
         pod_labels: [stage]\n    pod_annotations: [contact]\n",
        kubeconfig.display()
    );
    fs::write(&config, text).expect("a file can be written");
    let config = config.to_str().expect("a path of text").to_owned();
    Discovering::set_up(|setup| setup.args(["--config", &config]).env("NODE_NAME", NODE))
}

/// The span of a path, once it is there.
fn span(watch: &Discovering, at: &str, kind: &str) -> ReceivedSpan {
    let find = |state: &State| state.spans.iter().find(|span| span.kind == kind && path(span) == Some(at)).cloned();
    let waited = watch.receiver.wait_for(|state| find(state).is_some(), tests::LONG);
    assert!(waited.is_ok(), "no {kind} span of {at}: {:#?}", watch.agent.log());
    find(&watch.receiver.state()).expect("it was there")
}

fn assert_resource(span: &ReceivedSpan, expected: &Value) {
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(span.resource.get(key).unwrap_or(&Value::Null), value, "{key} of {:#?}", span.resource);
    }
}

#[test]
fn spans_say_of_which_pod_they_are_and_who_the_other_side_is() {
    let files = folder();
    let server = ApiServer::default();
    server.come();
    let stock = Pod::server("stock", 1);
    stock.announce(&server, &json!({"app.kubernetes.io/name": "warehouse", "stage": "canary", "release": "1.2"}));
    server.put(
        "services",
        json!({"metadata": {"name": "stock", "namespace": "shop"}, "spec": {"clusterIP": "10.0.0.9"}}),
    );
    server.put(
        "endpointslices",
        json!({
            "metadata": {"name": "stock-1", "namespace": "shop", "labels": {"kubernetes.io/service-name": "stock"}},
            "endpoints": [
                {"addresses": ["127.0.0.1"], "targetRef": {"kind": "Pod", "name": "stock-7d4b-x"}},
            ],
            "ports": [{"port": stock.port()}],
        }),
    );
    let watch = agent(&server, files.path(), "30s");
    let url = format!("http://127.0.0.1:{}/stock/of/pod", stock.port());
    let mut visitor = Pod::start("visitor", 2, Command::new(need::python()).args(["-u", "-c", VISITOR, &url]));
    visitor.kinds = ("Job", "CronJob");
    visitor.announce(&server, &json!({}));
    assert_eq!(visitor.program.says("answered "), "200");

    let served = span(&watch, "/stock/of/pod", "SERVER");
    assert_resource(&served, &stock.expected("warehouse"));
    let chosen = json!({
        "k8s.cluster.name": "prod", "service.version": "1.2", "deployment.environment.name": "canary",
        "k8s.pod.label.stage": "canary", "k8s.pod.annotation.contact": "stock@example",
        "k8s.pod.label.release": null, "k8s.pod.annotation.unasked": null,
    });
    assert_resource(&served, &chosen);
    let called = span(&watch, "/stock/of/pod", "CLIENT");
    assert_resource(&called, &visitor.expected("visitor"));
    let unlabelled = json!({"service.version": null, "deployment.environment.name": null, "k8s.pod.label.stage": null});
    assert_resource(&called, &unlabelled);
    let other: Vec<_> = ["server.address", "service.peer.name", "service.peer.namespace"]
        .iter()
        .map(|key| called.attributes[*key].clone())
        .collect();
    assert_eq!(other, ["stock", "stock", "shop"]);
    assert_eq!(called.attributes["server.port"], stock.port());

    // What it asks for is what the manifests allow, all of it and nothing else.
    poll("each watch has begun", || (server.used().len() == granted().len()).then_some(()));
    assert_eq!(server.used(), granted());
    let _spans = watch.finish("/stock/of/pod", 2);
}

/// Verbs and resources of the ClusterRole in `deploy/`.
fn granted() -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/kubernetes/base/rbac.yaml");
    let text = fs::read_to_string(path).expect("the manifest is there");
    let list = |mark: &str| -> Vec<Vec<String>> {
        let lines = text.lines().filter_map(|line| line.trim().strip_prefix(mark)?.strip_suffix(']'));
        lines.map(|words| words.split(", ").map(str::to_owned).collect()).collect()
    };
    let rules = list("resources: [").into_iter().zip(list("verbs: ["));
    let all = rules.flat_map(|(resources, verbs)| {
        let pairs = resources
            .into_iter()
            .flat_map(move |resource| verbs.clone().into_iter().map(move |verb| format!("{verb} {resource}")));
        pairs.collect::<Vec<_>>()
    });
    all.collect()
}

#[test]
fn an_api_server_that_is_away_stops_nothing_and_is_taken_up_when_it_returns() {
    let files = folder();
    let server = ApiServer::default();
    let (first, second) = (Pod::server("first", 11), Pod::server("second", 12));
    let watch = agent(&server, files.path(), "500ms");
    let asked = Instant::now();
    first.get("/away/at-start");
    let early = span(&watch, "/away/at-start", "SERVER");
    // Not for as long as the server is away, which it still is.
    assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    assert_eq!(resource(&early, "container.id"), Some(first.container.as_str()));
    assert_eq!(resource(&early, "k8s.pod.name"), None);

    first.announce(&server, &json!({}));
    server.come();
    let mut number = 0;
    poll("what it says is taken up", || {
        number += 1;
        let at = format!("/away/come/{number}");
        first.get(&at);
        let span = span(&watch, &at, "SERVER");
        (resource(&span, "k8s.deployment.name") == Some("first"))
            .then(|| assert_resource(&span, &first.expected("first")))
    });

    server.go();
    first.get("/away/again");
    let meanwhile = span(&watch, "/away/again", "SERVER");
    assert_resource(&meanwhile, &first.expected("first"));
    second.announce(&server, &json!({"app.kubernetes.io/name": "renamed"}));
    second.get("/away/new");
    assert_eq!(resource(&span(&watch, "/away/new", "SERVER"), "k8s.pod.name"), None, "nobody has told of it yet");

    server.come();
    poll("what has changed meanwhile is taken up", || {
        number += 1;
        let at = format!("/away/back/{number}");
        second.get(&at);
        let span = span(&watch, &at, "SERVER");
        let is_known = resource(&span, "k8s.deployment.name").is_some();
        is_known.then(|| assert_resource(&span, &second.expected("renamed")))
    });
    let log = watch.agent.log();
    assert!(!log.iter().any(|line| line.contains("ERROR")), "an absence is no error: {log:#?}");
    let _spans = watch.finish("/away/", 3 + number);
}
