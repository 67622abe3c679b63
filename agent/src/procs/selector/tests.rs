//! Which processes the criteria take, and which rule wins.

use super::*;
use crate::procs::pod::{Owner, PodContainer};

fn glob(pattern: &str) -> Option<Glob> {
    Some(Glob::new(pattern).unwrap())
}

fn pod() -> Pod {
    Pod {
        namespace: "shop".into(),
        name: "cart-1".into(),
        owners: vec![
            Owner { kind: OwnerKind::ReplicaSet, name: "cart-5d".into() },
            Owner { kind: OwnerKind::Deployment, name: "cart".into() },
        ],
        labels: vec![("tier".into(), "front".into())],
        annotations: vec![("watch".into(), "yes".into())],
        containers: vec![PodContainer { name: "main".into(), id: "abc".into(), ..PodContainer::default() }],
        ..Pod::default()
    }
}

fn with_candidate<T>(change: impl FnOnce(&mut Candidate<'_>), evaluate: impl FnOnce(&Candidate<'_>) -> T) -> T {
    let pod = pod();
    let mut candidate = Candidate {
        served: &[],
        pid: ProcessId(7),
        exe: "/usr/bin/python3.11",
        language: Some(Language::Python),
        in_container: true,
        container_name: Some("shop_cart"),
        pod: Some(&pod),
        container_id: Some("abc"),
        cmdline: &|| ["python3", "-m", "http.server", "8080"].map(str::to_owned).into(),
        ports: &|| vec![8080, 9090],
        ancestors: &|| vec![ProcessId(5), ProcessId(1)],
    };
    change(&mut candidate);
    evaluate(&candidate)
}

#[track_caller]
fn check(criteria: &Criteria, expected: bool) {
    assert_eq!(with_candidate(|_| {}, |candidate| criteria.matches(candidate)), expected, "{criteria:?}");
}

#[test]
fn each_criterion_takes_what_it_says_and_refuses_the_rest() {
    let none = Criteria::default;
    check(&none(), true);
    for (pids, expected) in [(vec![7], true), (vec![9, 5], true), (vec![9], false)] as [(Vec<u32>, bool); 3] {
        let pids = pids.into_iter().map(ProcessId).collect();
        check(&Criteria { pids, ..none() }, expected);
    }
    for (range, expected) in [((8080, 8080), true), ((8000, 8100), true), ((9091, 65535), false), ((0, 8079), false)] {
        check(&Criteria { open_ports: vec![range], ..none() }, expected);
    }
    for (exe, expected) in
        [("*/python*", true), ("python*", true), ("*python3.1?", true), ("{a,*}", true), ("/usr/bin/python", false)]
    {
        check(&Criteria { exe_path: glob(exe), ..none() }, expected);
    }
    for (line, expected) in
        [("*http.server*", true), ("-m http.server 8080", true), ("python3 *", true), ("http*", false)]
    {
        check(&Criteria { cmd_args: glob(line), ..none() }, expected);
    }
    for (language, expected) in [("{go,python}", true), ("java", false)] {
        check(&Criteria { languages: glob(language), ..none() }, expected);
    }
    check(&Criteria { container_name: glob("shop_*"), ..none() }, true);
    check(&Criteria { container_name: glob("cart"), ..none() }, false);
}

#[test]
fn kubernetes_criteria_need_the_pod() {
    let owner = KubernetesName::Owner;
    for (name, pattern, expected) in [
        (KubernetesName::Namespace, "shop", true),
        (KubernetesName::Pod, "cart-?", true),
        (KubernetesName::Container, "main", true),
        (KubernetesName::AnyOwner, "cart-5d", true),
        (owner(OwnerKind::Deployment), "cart", true),
        (owner(OwnerKind::Deployment), "cart-5d", false),
        (owner(OwnerKind::StatefulSet), "*", false),
    ] {
        let criteria = Criteria { kubernetes: vec![(name, Glob::new(pattern).unwrap())], ..Criteria::default() };
        check(&criteria, expected);
        assert!(!with_candidate(|candidate| candidate.pod = None, |candidate| criteria.matches(candidate)));
    }
    let labelled = |key: &str, pattern| vec![(CompactString::from(key), Glob::new(pattern).unwrap())];
    check(&Criteria { pod_labels: labelled("tier", "f*"), ..Criteria::default() }, true);
    check(&Criteria { pod_labels: labelled("absent", "*"), ..Criteria::default() }, false);
    check(&Criteria { pod_annotations: labelled("watch", "yes"), ..Criteria::default() }, true);
    check(&Criteria { pod_annotations: labelled("watch", "no"), ..Criteria::default() }, false);
}

#[test]
fn all_criteria_of_a_rule_must_hold() {
    let both = Criteria { exe_path: glob("python*"), open_ports: vec![(1, 1)], ..Criteria::default() };
    check(&both, false);
    check(&Criteria { open_ports: vec![(1, 1), (8080, 8080)], ..both }, true);
}

fn rule(label: &str, criteria: Criteria) -> Arc<Rule> {
    Arc::new(Rule { label: label.into(), criteria, ..Rule::default() })
}

#[test]
fn a_later_rule_that_matches_goes_before_an_earlier_one_value_by_value() {
    let rules = [
        rule("a", Criteria { open_ports: vec![(1, 1)], ..Criteria::default() }),
        rule("b", Criteria { open_ports: vec![(8080, 8080)], ..Criteria::default() }),
        rule("c", Criteria { exe_path: glob("*"), ..Criteria::default() }),
    ];
    let all_of = Exports { traces: true, metrics: true };
    let set = [
        Rule { name: Some("never".into()), ..Rule::clone(&rules[0]) },
        Rule {
            name: Some("web".into()),
            namespace: Some("shop".into()),
            exports: Some(all_of),
            ..Rule::clone(&rules[1])
        },
        Rule { name: Some("all".into()), exports: None, routes: Some(Routes::default()), ..Rule::clone(&rules[2]) },
    ];
    let selector = Selector { rules: set.map(Arc::new).to_vec(), ..Selector::default() };
    let (verdict, again, labels) = with_candidate(
        |_| {},
        |candidate| (selector.decide(candidate), selector.decide(candidate), selector.matches(candidate)),
    );
    let rule = verdict.rule().unwrap();
    assert_eq!(
        (rule.label.as_str(), rule.name.as_deref(), rule.namespace.as_deref()),
        ("c", Some("all"), Some("shop"))
    );
    assert_eq!((rule.exports, &rule.routes, rule.sampler.is_none()), (Some(all_of), &Some(Routes::default()), true));
    assert!(Arc::ptr_eq(rule, again.rule().unwrap()), "made once, as settings are known by it");
    assert_eq!(labels, ["c", "b"]);
    // One alone is itself.
    let other = with_candidate(|candidate| candidate.ports = &Vec::new, |candidate| selector.decide(candidate));
    assert!(Arc::ptr_eq(other.rule().unwrap(), &selector.rules[2]));
}

#[track_caller]
fn check_reason(selector: &Selector, change: impl FnOnce(&mut Candidate<'_>), expected: Option<Reason>) {
    let verdict = with_candidate(change, |candidate| selector.decide(candidate));
    let reason = match verdict {
        Verdict::Watch(_) => None,
        Verdict::Ignore(reason) => Some(reason),
    };
    assert_eq!(reason, expected);
}

#[test]
fn what_is_not_to_be_watched_is_not() {
    let by_exe = |pattern| Criteria { exe_path: glob(pattern), ..Criteria::default() };
    let all = Selector {
        own_pid: Some(ProcessId(42)),
        collector_ports: vec![4317],
        default_exclude: ["kubelet", "containerd-shim*", "dockerd", "otelcol-*"].map(by_exe).to_vec(),
        ..Selector::default()
    };
    check_reason(&all, |_| {}, None);
    check_reason(&all, |candidate| candidate.pid = ProcessId(42), Some(Reason::Itself));
    check_reason(&all, |candidate| candidate.ports = &|| vec![4317], Some(Reason::Collector));
    for exe in ["/usr/bin/kubelet", "/usr/bin/containerd-shim-runc-v2", "/usr/bin/dockerd", "/otelcol-contrib"] {
        check_reason(&all, |candidate| candidate.exe = exe, Some(Reason::ExcludedByDefault));
    }
    check_reason(&all, |candidate| candidate.exe = "/usr/bin/notkubelet", None);

    let by_pid = Selector {
        rules: vec![rule("--pid", Criteria { pids: vec![ProcessId(7)], ..Criteria::default() })],
        ..all.clone()
    };
    check_reason(&by_pid, |candidate| candidate.exe = "/usr/bin/kubelet", None);
    check_reason(
        &by_pid,
        |candidate| (candidate.pid, candidate.ancestors) = (ProcessId(8), &Vec::new),
        Some(Reason::NotChosen),
    );
    let excluded =
        Selector { exclude: vec![Criteria { exe_path: glob("*/python*"), ..Criteria::default() }], ..by_pid };
    check_reason(&excluded, |_| {}, Some(Reason::Excluded));
}

#[test]
fn a_pattern_that_is_none_is_named() {
    assert!(Glob::new("{a").unwrap_err().to_string().starts_with("`{a` is no pattern"));
}

#[test]
fn a_regular_expression_is_a_pattern_too() {
    assert!(Glob::new("re:/(a|b)$").unwrap().matches("/usr/bin/b"));
}
