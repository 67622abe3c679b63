//! Against an API server of the test's own, on loopback, that speaks list and watch as the real one does.

mod server;

use std::time::Instant;

use serde_json::{Value, json};

use self::server::ApiServer;
use super::*;
use crate::{
    model::ids::ProcessId,
    procs::{
        ProcessConfig, ProcessTable,
        pod::{Owner, OwnerKind},
    },
};

const NODE: &str = "node-1";

fn settings() -> Settings {
    let backoff = (Duration::from_millis(10), Duration::from_millis(40));
    Settings { node: Some(NODE.into()), backoff, ..Settings::default() }
}

fn start(server: &ApiServer) -> Kubernetes {
    Kubernetes::start(server.config(), settings()).unwrap()
}

/// Waits until something holds. There is no event for "the agent has taken it up".
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

fn pod(name: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut pod = json!({
        "metadata": {"name": name, "namespace": "shop", "uid": uid(name), "labels": {"tier": "front"}},
        "spec": {"nodeName": NODE, "containers": [{"name": "main", "image": "shop/cart:1"}]},
        "status": {"phase": "Running", "startTime": "2024-05-01T12:00:00Z", "podIPs": [],
            "containerStatuses": [{"name": "main", "containerID": format!("containerd://id-of-{name}")}]},
    });
    change(&mut pod);
    pod
}

fn uid(name: &str) -> String {
    format!("uid-of-{name}")
}

fn by_uid(name: &str) -> ContainerRef {
    ContainerRef { pod_uid: Some(uid(name).into()), ..ContainerRef::default() }
}

fn owned(pod: &mut Value, kind: &str, name: &str) {
    pod["metadata"]["ownerReferences"] = json!([
        {"kind": "Node", "name": "x", "uid": "x", "apiVersion": "v1"},
        {"kind": kind, "name": name, "uid": uid(name), "apiVersion": "x/v1", "controller": true},
    ]);
}

fn owners(kubernetes: &Kubernetes, name: &str) -> Vec<(OwnerKind, String)> {
    let pod = kubernetes.pod(&by_uid(name));
    pod.iter().flat_map(|pod| &pod.owners).map(|Owner { kind, name }| (*kind, name.to_string())).collect()
}

#[tokio::test]
async fn pods_of_the_node_are_found_by_uid_container_and_hash() {
    let server = ApiServer::start().await;
    server.put("pods", pod("cart", |_| {}));
    server.put(
        "pods",
        pod("static", |pod| pod["metadata"]["annotations"] = json!({"kubernetes.io/config.hash": "abcd"})),
    );
    server.put("pods", pod("elsewhere", |pod| pod["spec"]["nodeName"] = json!("node-2")));
    let kubernetes = start(&server);
    assert!(kubernetes.ready(Duration::from_secs(20)).await);
    let found = kubernetes.pod(&by_uid("cart")).unwrap();
    assert_eq!((found.name.as_str(), found.namespace.as_str(), found.node.as_deref()), ("cart", "shop", Some(NODE)));
    assert_eq!(found.start_time.as_deref(), Some("2024-05-01T12:00:00Z"));
    assert_eq!(found.label("tier").unwrap(), "front");
    assert_eq!(found.container(Some("id-of-cart")).unwrap().name, "main");
    let by_container = ContainerRef { id: Some("id-of-cart".into()), ..ContainerRef::default() };
    assert_eq!(kubernetes.pod(&by_container), Some(found));
    let by_hash = ContainerRef { pod_uid: Some("abcd".into()), ..ContainerRef::default() };
    assert_eq!(kubernetes.pod(&by_hash).unwrap().name, "static");
    assert_eq!(kubernetes.pod(&by_uid("elsewhere")), None, "another node's pod");
    assert!(server.requests().iter().all(|request| request.token == "secret"), "{:?}", server.requests());
}

#[tokio::test]
async fn the_api_server_is_reached_over_tls_and_a_stranger_is_not_trusted() {
    let server = ApiServer::start_with_tls().await;
    server.put("pods", pod("cart", |_| {}));
    let kubernetes = start(&server);
    assert!(kubernetes.ready(Duration::from_secs(20)).await);
    assert!(kubernetes.pod(&by_uid("cart")).is_some());
    assert!(server.requests().iter().all(|request| request.token == "secret"));

    let stranger = ApiServer::start_with_tls().await;
    let mut config = server.config();
    config.cluster_url = stranger.config().cluster_url;
    let kubernetes = Kubernetes::start(config, settings()).unwrap();
    eventually("refused", || kubernetes.counts().failures > 0).await;
    assert!(stranger.requests().is_empty(), "the token was not shown");
}

#[tokio::test]
async fn controllers_are_followed_to_the_top() {
    let server = ApiServer::start().await;
    server.put(
        "replicasets",
        json!({"metadata": {"name": "odd", "namespace": "shop", "uid": uid("odd"), "ownerReferences":
        [{"kind": "Rollout", "name": "roll", "uid": "r", "apiVersion": "a/v1", "controller": true}]}}),
    );
    server.put(
        "jobs",
        json!({"metadata": {"name": "nightly-1", "namespace": "shop", "uid": uid("nightly-1"), "ownerReferences":
        [{"kind": "CronJob", "name": "nightly", "uid": "c", "apiVersion": "batch/v1", "controller": true}]}}),
    );
    server.put("jobs", json!({"metadata": {"name": "once", "namespace": "shop", "uid": "made anew"}}));
    server.put(
        "pods",
        pod("cart-5d-x", |pod| {
            owned(pod, "ReplicaSet", "cart-5d");
            pod["metadata"]["labels"]["pod-template-hash"] = json!("5d");
        }),
    );
    for (name, kind, owner) in [
        ("odd-x", "ReplicaSet", "odd"),
        ("nightly-1-x", "Job", "nightly-1"),
        ("nightly-1-y", "Job", "nightly-1"),
        ("once-x", "Job", "once"),
        ("db-0", "StatefulSet", "db"),
        ("log-x", "DaemonSet", "log"),
    ] {
        server.put("pods", pod(name, |pod| owned(pod, kind, owner)));
    }
    let kubernetes = start(&server);
    let expected = [
        ("cart-5d-x", vec![(OwnerKind::ReplicaSet, "cart-5d"), (OwnerKind::Deployment, "cart")]),
        ("odd-x", vec![(OwnerKind::ReplicaSet, "odd"), (OwnerKind::Other, "roll")]),
        ("nightly-1-x", vec![(OwnerKind::Job, "nightly-1"), (OwnerKind::CronJob, "nightly")]),
        ("nightly-1-y", vec![(OwnerKind::Job, "nightly-1"), (OwnerKind::CronJob, "nightly")]),
        ("once-x", vec![(OwnerKind::Job, "once")]),
        ("db-0", vec![(OwnerKind::StatefulSet, "db")]),
        ("log-x", vec![(OwnerKind::DaemonSet, "log")]),
    ];
    for (name, expected) in expected {
        let expected: Vec<_> = expected.into_iter().map(|(kind, name)| (kind, name.to_owned())).collect();
        eventually(name, || owners(&kubernetes, name) == expected).await;
    }
    let asked = server.requests().iter().filter(|request| request.path.ends_with("/nightly-1")).count();
    assert_eq!(asked, 1, "one question for all pods of a Job");
    assert!(!server.requests().iter().any(|request| request.path.ends_with("/cart-5d")));
}

#[tokio::test]
async fn changes_are_followed_and_a_deleted_pod_is_remembered_without_its_address() {
    let server = ApiServer::start().await;
    let with_address = |phase: &str| {
        let phase = phase.to_owned();
        pod("cart", move |pod| {
            pod["status"]["podIPs"] = json!([{"ip": "10.0.0.7"}]);
            pod["status"]["phase"] = json!(phase);
        })
    };
    server.put("pods", with_address("Running"));
    let kubernetes = start(&server);
    let address = "10.0.0.7".parse().unwrap();
    eventually("listed", || kubernetes.peer(address, None).is_some()).await;
    assert!(kubernetes.is_here(address) && !kubernetes.is_here("10.0.0.8".parse().unwrap()));
    let everywhere = Kubernetes::start(server.config(), Settings { node: None, ..settings() }).unwrap();
    eventually("listed everywhere", || everywhere.peer(address, None).is_some()).await;
    assert!(!everywhere.is_here(address), "of which node a pod is decides, where those of all are known");
    let before = kubernetes.generation();
    server.put("pods", pod("stock", |_| {}));
    eventually("added", || kubernetes.pod(&by_uid("stock")).is_some()).await;
    assert!(kubernetes.generation() > before);
    server.put("pods", with_address("Succeeded"));
    eventually("ended", || kubernetes.peer(address, None).is_none()).await;
    server.put("pods", with_address("Running"));
    eventually("again", || kubernetes.peer(address, None).is_some()).await;
    server.delete("pods", "cart");
    eventually("deleted", || kubernetes.peer(address, None).is_none()).await;
    assert!(kubernetes.pod(&by_uid("cart")).is_some() && !kubernetes.is_here(address));
}

#[tokio::test]
async fn a_watch_is_resumed_from_the_last_bookmark() {
    let server = ApiServer::start().await;
    server.put("pods", pod("cart", |_| {}));
    let kubernetes = start(&server);
    eventually("watching", || server.watches("pods") > 0).await;
    let bookmark = server.bookmark("pods");
    server.put("pods", pod("stock", |_| {}));
    eventually("added", || kubernetes.pod(&by_uid("stock")).is_some()).await;
    let bookmark = server.bookmark("pods").max(bookmark);
    // The bookmark is behind the last event on the stream; only a later request shows that it was taken up.
    server.disconnect();
    let resumed = || {
        let requests = server.requests();
        requests.iter().any(|request| request.path == "/api/v1/pods" && request.version == bookmark.to_string())
    };
    eventually("resumed at the bookmark", resumed).await;
    assert_eq!(server.lists("pods"), 1, "no list was needed");
}

#[tokio::test]
async fn a_version_that_is_gone_leads_to_a_new_list() {
    let server = ApiServer::start().await;
    server.put("pods", pod("old", |pod| pod["status"]["podIPs"] = json!([{"ip": "10.0.0.1"}])));
    let kubernetes = start(&server);
    let address = "10.0.0.1".parse().unwrap();
    eventually("listed", || kubernetes.peer(address, None).is_some() && server.watches("pods") > 0).await;
    // While nobody watches, one goes, one comes, and the history is thrown away.
    server.stop().await;
    server.delete("pods", "old");
    server.put("pods", pod("new", |_| {}));
    server.compact();
    server.resume().await;
    eventually("listed again", || kubernetes.pod(&by_uid("new")).is_some()).await;
    eventually("the old one is gone", || kubernetes.peer(address, None).is_none()).await;
    assert_eq!(server.lists("pods"), 2);
}

#[tokio::test]
async fn an_api_server_that_is_away_at_start_and_later_stops_nothing() {
    let server = ApiServer::start().await;
    server.stop().await;
    let kubernetes = start(&server);
    assert!(!kubernetes.ready(Duration::from_millis(50)).await);
    assert_eq!(kubernetes.pod(&by_uid("cart")), None);
    eventually("tried", || kubernetes.counts().failures > 2).await;
    server.put("pods", pod("cart", |_| {}));
    server.resume().await;
    assert!(kubernetes.ready(Duration::from_secs(20)).await);
    assert!(kubernetes.pod(&by_uid("cart")).is_some());

    server.stop().await;
    let failures = kubernetes.counts().failures;
    eventually("noticed", || kubernetes.counts().failures > failures).await;
    assert!(kubernetes.pod(&by_uid("cart")).is_some(), "what is known stays");
    server.put("pods", pod("stock", |_| {}));
    server.resume().await;
    eventually("taken up", || kubernetes.pod(&by_uid("stock")).is_some()).await;
}

#[tokio::test]
async fn five_thousand_pods_are_listed_in_pages() {
    let server = ApiServer::start().await;
    for index in 0..5000 {
        server.put("pods", pod(&format!("pod-{index}"), |_| {}));
    }
    let begun = Instant::now();
    let kubernetes = start(&server);
    assert!(kubernetes.ready(Duration::from_secs(60)).await);
    println!("5000 pods listed in {:?}", begun.elapsed());
    assert_eq!(kubernetes.counts(), Counts { pods: 5000, dropped: 0, failures: 0 });
    assert!(kubernetes.pod(&by_uid("pod-4999")).is_some());
    assert_eq!(server.lists("pods"), 10, "pages of 500");
}

#[tokio::test]
async fn the_other_side_is_named_by_its_service() {
    let server = ApiServer::start().await;
    server.put(
        "services",
        json!({"metadata": {"name": "cart", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.10",
        "clusterIPs": ["10.96.0.10", "fd00::10"], "externalIPs": null},
        "status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.1"}, {"hostname": "x"}]}}}),
    );
    server
        .put("services", json!({"metadata": {"name": "headless", "namespace": "shop"}, "spec": {"clusterIP": "None"}}));
    let slice = |name: &str, service: &str, port: u16, endpoints: Value| {
        json!({"metadata": {"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
            "endpoints": endpoints, "ports": [{"name": "http", "port": port}]})
    };
    let endpoint = |ip: &str, pod: &str| json!({"addresses": [ip], "targetRef": {"kind": "Pod", "name": pod}});
    server.put("endpointslices", slice("cart-1", "cart", 8080, json!([endpoint("10.0.0.1", "cart-x")])));
    server.put("endpointslices", slice("db-1", "db", 5432, json!([endpoint("192.168.0.1", "db-0")])));
    server.put("endpointslices", slice("log-1", "log", 24224, json!([endpoint("192.168.0.1", "log-x")])));
    server.put("endpointslices", slice("api-1", "kubernetes", 6443, json!([{"addresses": ["192.168.0.9"]}])));
    server.put("endpointslices", slice("none-1", "none", 1, Value::Null));
    server.put("pods", pod("loner", |pod| pod["status"]["podIPs"] = json!([{"ip": "10.0.0.9"}])));
    server.put(
        "pods",
        pod("on-host", |pod| {
            pod["spec"]["hostNetwork"] = json!(true);
            pod["status"]["podIPs"] = json!([{"ip": "192.168.0.2"}]);
        }),
    );
    let kubernetes = start(&server);
    let name = |ip: &str, port| {
        kubernetes.peer(ip.parse().unwrap(), port).map(|peer| format!("{}/{}", peer.namespace, peer.name))
    };
    for (ip, port, expected) in [
        ("10.96.0.10", Some(80), Some("shop/cart")),
        ("fd00::10", Some(80), Some("shop/cart")),
        ("::ffff:10.96.0.10", Some(80), Some("shop/cart")),
        ("192.0.2.1", Some(80), Some("shop/cart")),
        ("10.0.0.1", Some(8080), Some("shop/cart")),
        ("10.0.0.1", Some(9999), None),
        ("10.0.0.1", None, Some("shop/cart")),
        // Two pods with the node's address: the port tells a server, nothing tells a client.
        ("192.168.0.1", Some(5432), Some("shop/db")),
        ("192.168.0.1", None, None),
        ("192.168.0.9", Some(6443), Some("shop/kubernetes")),
        ("192.168.0.9", None, None),
        ("10.0.0.9", Some(80), Some("shop/loner")),
        ("192.168.0.2", Some(80), None),
        ("203.0.113.1", Some(80), None),
    ] {
        let expected = expected.map(str::to_owned);
        eventually(&format!("{ip} {port:?}"), || name(ip, port) == expected).await;
    }
    server.put(
        "services",
        json!({"metadata": {"name": "cart", "namespace": "shop"}, "spec": {"clusterIP": "10.96.0.11"}}),
    );
    eventually("moved", || name("10.96.0.11", Some(80)).is_some() && name("10.96.0.10", Some(80)).is_none()).await;
    server.delete("endpointslices", "cart-1");
    eventually("no endpoint", || name("10.0.0.1", None).is_none()).await;
}

#[tokio::test]
async fn a_resource_is_built_anew_when_its_pod_becomes_known() {
    const UID: &str = "2f7a8c14-77d8-4f0a-9d4e-0a1b2c3d4e5f";
    let server = ApiServer::start().await;
    server.stop().await;
    let kubernetes = Arc::new(start(&server));
    let proc = tempfile::tempdir().unwrap();
    let dir = proc.path().join("7");
    std::fs::create_dir_all(&dir).unwrap();
    std::fs::write(dir.join("stat"), "7 (cart) S 1 0 0 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 100 0 0").unwrap();
    std::fs::write(dir.join("cmdline"), "cartd\0").unwrap();
    std::fs::write(dir.join("cgroup"), format!("0::/kubepods/pod{UID}/{}", "a".repeat(64))).unwrap();
    std::os::unix::fs::symlink("/usr/bin/cartd", dir.join("exe")).unwrap();
    let pods: Option<Arc<dyn PodSource>> = Some(Arc::<Kubernetes>::clone(&kubernetes));
    let table = ProcessTable::new(ProcessConfig { proc_root: proc.path().into(), pods, ..ProcessConfig::default() });
    let early = table.resource(ProcessId(7));
    assert_eq!(early.service_name, "cartd");
    server.put(
        "pods",
        pod("cart-5d-x", |pod| {
            owned(pod, "ReplicaSet", "cart-5d");
            pod["metadata"]["labels"]["pod-template-hash"] = json!("5d");
            pod["metadata"]["uid"] = json!(UID);
        }),
    );
    server.resume().await;
    eventually("taken up", || table.resource(ProcessId(7)).service_name == "cart").await;
    let late = table.resource(ProcessId(7));
    let value = |key: &str| late.attributes.iter().find(|(name, _)| name == key).map(|(_, value)| value.clone());
    assert_eq!(value("k8s.deployment.name"), Some(crate::model::span::Value::Str("cart".into())));
    let id = |resource: &crate::model::span::Resource| {
        resource.attributes.iter().find(|(key, _)| key == "service.instance.id").cloned()
    };
    assert_eq!(id(&early), id(&late), "the same instance");
}

#[tokio::test]
async fn a_kubeconfig_is_read_and_a_broken_one_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config");
    let text = "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'http://127.0.0.1:1'}}]\n\
                users: [{name: u, user: {token: secret}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\n\
                current-context: x\n";
    std::fs::write(&path, text).unwrap();
    assert_eq!(detect(Some(&path)).await.unwrap().unwrap().cluster_url.port_u16(), Some(1));
    std::fs::write(&path, "clusters: {").unwrap();
    let error = detect(Some(&path)).await.unwrap_err();
    assert!(matches!(error, KubernetesError::Kubeconfig(_)), "{error}");
}
