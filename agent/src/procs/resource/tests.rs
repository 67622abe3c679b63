//! Precedence of names and the attributes' values.

use super::*;
use crate::procs::{
    container::Runtime as ContainerRuntime,
    language::{Language, Runtime},
    pod::{Owner, OwnerKind, PodContainer},
};

const IDENTITY: Identity = Identity { tgid: ProcessId(4711), start_ticks: 99 };

fn host() -> Host {
    let id = Some("0123456789abcdef0123456789abcdef".into());
    Host { name: "node-1".into(), id, arch: "amd64", cloud: vec![("cloud.provider", "aws".into())] }
}

fn facts() -> Facts {
    let runtime = Runtime { language: Some(Language::Python), name: Some("cpython") };
    Facts {
        exe: "/usr/bin/python3.11".into(),
        name: "orders".into(),
        runtime,
        owner: Some("www-data".into()),
        ..Facts::default()
    }
}

fn pod() -> Pod {
    Pod {
        namespace: "shop".into(),
        name: "orders-7d4b9c-x2x9z".into(),
        uid: "2f7a8c14-77d8-4f0a-9d4e-0a1b2c3d4e5f".into(),
        start_time: Some("2024-05-01T12:00:00Z".into()),
        node: Some("node-1".into()),
        owners: vec![
            Owner { kind: OwnerKind::ReplicaSet, name: "orders-7d4b9c".into() },
            Owner { kind: OwnerKind::Deployment, name: "orders-deployment".into() },
        ],
        containers: vec![PodContainer { name: "main".into(), id: "abc".into(), image: "shop/orders:1.2".into() }],
        ..Pod::default()
    }
}

fn built(facts: &Facts, pod: Option<&Pod>, configured: Configured<'_>, env: &OtelEnv) -> Resource {
    let cluster = CompactString::from("prod");
    let pod_attributes = PodAttributes {
        labels: vec!["tier".into()],
        annotations: vec!["contact".into()],
        by_label: vec![
            ("deployment.environment.name".into(), vec!["environment".into(), "stage".into()]),
            ("service.name".into(), vec!["app".into()]),
            ("service.namespace".into(), vec!["team".into()]),
        ],
    };
    let (host, pod_attributes) = (&host(), &pod_attributes);
    build(
        IDENTITY,
        facts,
        pod,
        configured,
        &Shared { host, env, machine: "m", cluster: Some(&cluster), pod_attributes },
    )
}

#[test]
fn a_go_program_says_which_version_it_is_unless_its_pod_does() {
    let build = BuildInfo { release: "go1.26.8".into(), revision: "5c1a".into(), ..BuildInfo::default() };
    let facts = Facts { build: Some(Arc::new(build)), ..facts() };
    let (none, mut labelled) = (OtelEnv::default(), pod());
    let resource = built(&facts, None, Configured::default(), &none);
    assert_eq!(text(&resource, "service.version").as_deref(), Some("5c1a"));
    assert_eq!(text(&resource, "process.runtime.version").as_deref(), Some("go1.26.8"));
    labelled.labels.push(("app.kubernetes.io/version".into(), "2.0".into()));
    let resource = built(&facts, Some(&labelled), Configured::default(), &none);
    assert_eq!(text(&resource, "service.version").as_deref(), Some("2.0"));
}

fn text(resource: &Resource, key: &str) -> Option<String> {
    let mut found = resource.attributes.iter().filter(|(name, _)| name == key);
    let value = found.next().map(|(_, value)| match value {
        Value::Str(text) => text.to_string(),
        Value::Shared(text) => text.to_string(),
        Value::Static(text) => (*text).to_owned(),
        other => format!("{other:?}"),
    });
    assert_eq!(found.next(), None, "{key} twice");
    value
}

#[test]
fn a_process_of_the_host_has_exactly_these_attributes() {
    let resource = built(&facts(), None, Configured::default(), &OtelEnv::default());
    let keys: Vec<&str> = resource.attributes.iter().map(|(key, _)| key.as_str()).collect();
    let expected = [
        "service.name",
        "service.instance.id",
        "telemetry.sdk.name",
        "telemetry.sdk.language",
        "telemetry.sdk.version",
        "telemetry.distro.name",
        "telemetry.distro.version",
        "process.pid",
        "process.executable.name",
        "process.executable.path",
        "process.owner",
        "process.runtime.name",
        "host.name",
        "host.id",
        "host.arch",
        "os.type",
        "cloud.provider",
    ];
    assert_eq!(keys, expected);
    for (key, value) in [
        ("service.name", "orders"),
        ("telemetry.sdk.name", "beyla-rs"),
        ("telemetry.sdk.language", "python"),
        ("process.pid", "Int(4711)"),
        ("process.executable.name", "python3.11"),
        ("process.executable.path", "/usr/bin/python3.11"),
        ("process.owner", "www-data"),
        ("process.runtime.name", "cpython"),
        ("host.name", "node-1"),
        ("os.type", "linux"),
    ] {
        assert_eq!(text(&resource, key).as_deref(), Some(value), "{key}");
    }
    assert_eq!((resource.service_name.as_str(), resource.pid), ("orders", ProcessId(4711)));
}

#[test]
fn the_service_is_named_in_the_documented_order() {
    let mut pod = pod();
    let mut facts = facts();
    facts.container.id = Some("abc".into());
    let mut own = OtelEnv::default();
    let mut configured = Configured::default();
    let mut names = Vec::new();
    let mut note = |facts: &Facts, pod: Option<&Pod>, configured, own: &OtelEnv| {
        names.push(built(facts, pod, configured, own).service_name.to_string());
    };
    note(&facts, None, configured, &own);
    facts.container_info = Some(Arc::new(ContainerInfo { name: Some("orders_1".into()), ..ContainerInfo::default() }));
    note(&facts, None, configured, &own);
    let bare = Pod { owners: Vec::new(), ..pod.clone() };
    note(&facts, Some(&bare), configured, &own);
    note(&facts, Some(&pod), configured, &own);
    pod.labels.push(("app.kubernetes.io/name".into(), "orders-label".into()));
    note(&facts, Some(&pod), configured, &own);
    pod.labels.push(("app".into(), "orders-chosen".into()));
    note(&facts, Some(&pod), configured, &own);
    pod.annotations.push(("resource.opentelemetry.io/service.name".into(), "orders-annotation".into()));
    note(&facts, Some(&pod), configured, &own);
    own = OtelEnv::new(Some("everyone"), None);
    note(&facts, Some(&pod), configured, &own);
    configured.name = Some("orders-config");
    note(&facts, Some(&pod), configured, &own);
    facts.env = OtelEnv::new(None, Some("service.name=orders-attribute"));
    note(&facts, Some(&pod), configured, &own);
    facts.env = OtelEnv::new(Some("orders-env"), Some("service.name=orders-attribute"));
    note(&facts, Some(&pod), configured, &own);
    let expected = [
        "orders",
        "orders_1",
        "main",
        "orders-deployment",
        "orders-label",
        "orders-chosen",
        "orders-annotation",
        "everyone",
        "orders-config",
        "orders-attribute",
        "orders-env",
    ];
    assert_eq!(names, expected);
}

#[test]
fn a_pod_gives_all_its_attributes() {
    let mut facts = facts();
    facts.container =
        ContainerRef { id: Some("abc".into()), runtime: Some(ContainerRuntime::Containerd), pod_uid: None };
    let mut pod = pod();
    pod.labels.push(("app.kubernetes.io/version".into(), "1.2.3".into()));
    pod.labels.push(("tier".into(), "front".into()));
    pod.annotations.push(("contact".into(), "me".into()));
    pod.annotations.push(("resource.opentelemetry.io/team".into(), "blue".into()));
    let resource = built(&facts, Some(&pod), Configured::default(), &OtelEnv::default());
    for (key, value) in [
        ("service.name", "orders-deployment"),
        ("service.namespace", "shop"),
        ("service.version", "1.2.3"),
        ("container.id", "abc"),
        ("container.runtime.name", "containerd"),
        ("k8s.namespace.name", "shop"),
        ("k8s.pod.name", "orders-7d4b9c-x2x9z"),
        ("k8s.pod.uid", "2f7a8c14-77d8-4f0a-9d4e-0a1b2c3d4e5f"),
        ("k8s.pod.start_time", "2024-05-01T12:00:00Z"),
        ("k8s.container.name", "main"),
        ("k8s.node.name", "node-1"),
        ("k8s.replicaset.name", "orders-7d4b9c"),
        ("k8s.deployment.name", "orders-deployment"),
        ("k8s.cluster.name", "prod"),
        ("k8s.pod.label.tier", "front"),
        ("k8s.pod.annotation.contact", "me"),
        ("team", "blue"),
    ] {
        assert_eq!(text(&resource, key).as_deref(), Some(value), "{key}");
    }
}

#[test]
fn each_kind_of_controller_has_an_attribute_of_its_own() {
    for (kind, key) in [
        ("StatefulSet", Some("k8s.statefulset.name")),
        ("DaemonSet", Some("k8s.daemonset.name")),
        ("Job", Some("k8s.job.name")),
        ("CronJob", Some("k8s.cronjob.name")),
        ("Rollout", None),
    ] {
        let owners = vec![Owner { kind: OwnerKind::from_kind(kind), name: "owner".into() }];
        let resource = built(&facts(), Some(&Pod { owners, ..pod() }), Configured::default(), &OtelEnv::default());
        let found: Vec<&str> = resource
            .attributes
            .iter()
            .filter(|(_, value)| *value == Value::Str("owner".into()))
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(found, ["service.name"].into_iter().chain(key).collect::<Vec<_>>(), "{kind}");
    }
}

#[test]
fn chosen_labels_of_a_pod_give_attributes_and_the_first_that_it_has_wins() {
    let mut pod = pod();
    let of = |pod: &Pod| {
        let resource = built(&facts(), Some(pod), Configured::default(), &OtelEnv::default());
        ["deployment.environment.name", "service.name", "service.namespace"]
            .map(|key| text(&resource, key).unwrap_or_default())
    };
    assert_eq!(of(&pod), ["", "orders-deployment", "shop"]);
    pod.labels.push(("stage".into(), "second".into()));
    pod.labels.push(("team".into(), "blue".into()));
    assert_eq!(of(&pod), ["second", "orders-deployment", "blue"]);
    pod.labels.push(("environment".into(), "first".into()));
    assert_eq!(of(&pod), ["first", "orders-deployment", "blue"]);
    pod.annotations.push(("resource.opentelemetry.io/service.namespace".into(), "annotated".into()));
    assert_eq!(of(&pod)[2], "annotated");
}

#[test]
fn the_targets_environment_is_stronger_than_the_agents_and_neither_touches_what_only_the_agent_knows() {
    let mut facts = facts();
    let text_of_target =
        "service.version=2,deployment.environment.name=dev,telemetry.sdk.name=other,process.pid=1,a=target";
    facts.env = OtelEnv::new(None, Some(text_of_target));
    let own = OtelEnv::new(
        None,
        Some("service.instance.id=agent,deployment.environment.name=prod,host.name=h,a=agent,b=agent"),
    );
    let resource = built(&facts, None, Configured::default(), &own);
    for (key, value) in [
        ("service.version", "2"),
        ("deployment.environment.name", "dev"),
        ("telemetry.sdk.name", "beyla-rs"),
        ("process.pid", "Int(4711)"),
        ("host.name", "h"),
        ("a", "target"),
        ("b", "agent"),
    ] {
        assert_eq!(text(&resource, key).as_deref(), Some(value), "{key}");
    }
    assert_ne!(text(&resource, "service.instance.id").as_deref(), Some("agent"));
}

#[test]
fn the_instance_id_is_stable_and_unique() {
    let id = |identity, facts: &Facts| instance_id(identity, facts, "m");
    let first = id(IDENTITY, &facts());
    assert_eq!(first, id(IDENTITY, &Facts { name: "renamed".into(), ..facts() }));
    assert_ne!(first, id(Identity { start_ticks: 100, ..IDENTITY }, &facts()));
    assert_ne!(first, id(Identity { tgid: ProcessId(4712), ..IDENTITY }, &facts()));
    let mut other = facts();
    other.container.id = Some("abc".into());
    assert_ne!(first, id(IDENTITY, &other));
    assert_eq!(first.len(), 36);
}

#[test]
fn nothing_known_is_said_to_be_unknown() {
    let resource = built(&Facts::default(), None, Configured::default(), &OtelEnv::default());
    assert_eq!(resource.service_name, "unknown_service");
    assert_eq!(text(&resource, "process.executable.name"), None);
    assert_eq!(text(&resource, "telemetry.sdk.language"), None);
}
