//! Cgroup paths of the runtimes, drivers and versions.

use super::*;

const A: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "0b1c2d3e4f0b1c2d3e4f0b1c2d3e4f0b1c2d3e4f0b1c2d3e4f0b1c2d3e4f0123";
const UID: &str = "2f7a8c14-77d8-4f0a-9d4e-0a1b2c3d4e5f";
const UID_: &str = "2f7a8c14_77d8_4f0a_9d4e_0a1b2c3d4e5f";
const HASH: &str = "0123456789abcdef0123456789abcdef";

#[track_caller]
fn check(path: &str, id: Option<&str>, runtime: Option<Runtime>, pod: Option<&str>) {
    let path =
        path.replace("$A", A).replace("$B", B).replace("$UID_", UID_).replace("$UID", UID).replace("$HASH", HASH);
    let expected = ContainerRef { id: id.map(Arc::from), runtime, pod_uid: pod.map(Arc::from) };
    assert_eq!(ContainerRef::from_cgroup(&path), expected, "{path}");
}

#[test]
fn docker_is_recognised_with_either_driver_and_nested() {
    check("0::/docker/$A", Some(A), Some(Runtime::Docker), None);
    check("0::/system.slice/docker-$A.scope", Some(A), Some(Runtime::Docker), None);
    check("0::/system.slice/docker-$A.scope/init.scope", Some(A), Some(Runtime::Docker), None);
    check("0::/docker/$A/docker/$B", Some(B), Some(Runtime::Docker), None);
    check("0::/docker/$A/system.slice/nginx.service", Some(A), Some(Runtime::Docker), None);
}

#[test]
fn kubernetes_is_recognised_with_every_driver() {
    let containerd = Some(Runtime::Containerd);
    check("0::/kubepods/burstable/pod$UID/$A", Some(A), None, Some(UID));
    check("0::/kubepods/pod$UID/$A", Some(A), None, Some(UID));
    let slice = "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod$UID_.slice";
    check(&format!("0::{slice}/cri-containerd-$A.scope"), Some(A), containerd, Some(UID));
    check(&format!("0::{slice}/crio-$A.scope"), Some(A), Some(Runtime::CriO), Some(UID));
    check(&format!("0::{slice}/docker-$A.scope"), Some(A), Some(Runtime::Docker), Some(UID));
    check(&format!("0::{slice}/crio-conmon-$A.scope"), None, None, Some(UID));
    check(
        "1:name=systemd:/system.slice/containerd.service/kubepods-besteffort-pod$UID_.slice:cri-containerd:$A",
        Some(A),
        containerd,
        Some(UID),
    );
    check("0::/kubepods/burstable/pod$HASH/$A", Some(A), None, Some(HASH));
    check("0::/../../pod$UID/$A", Some(A), None, Some(UID));
}

#[test]
fn the_pod_within_kind_wins_over_the_node() {
    let kind =
        "0::/docker/$A/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod$UID_.slice/cri-containerd-$B.scope";
    check(kind, Some(B), Some(Runtime::Containerd), Some(UID));
    let pause = "0::/docker/$A/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod$UID_.slice";
    check(pause, None, None, Some(UID));
}

#[test]
fn podman_is_recognised_rootful_and_rootless() {
    let podman = Some(Runtime::Podman);
    check("0::/machine.slice/libpod-$A.scope/container", Some(A), podman, None);
    check("0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-$A.scope", Some(A), podman, None);
    check("0::/libpod_parent/libpod-$A", Some(A), podman, None);
    check("0::/machine.slice/libpod-conmon-$A.scope", None, None, None);
}

#[test]
fn cgroup_v1_and_hybrid_lines_are_searched() {
    let v1 = "12:pids:/docker/$A\n11:cpu,cpuacct:/docker/$A\n1:name=systemd:/docker/$A\n";
    check(v1, Some(A), Some(Runtime::Docker), None);
    let hybrid =
        "12:pids:/kubepods/pod$UID/$A\n1:name=systemd:/kubepods/pod$UID/$A\n0::/system.slice/containerd.service";
    check(hybrid, Some(A), None, Some(UID));
    let both = "4:memory:/docker/$A\n0::/docker/$A/docker/$B";
    check(both, Some(B), Some(Runtime::Docker), None);
}

#[test]
fn others_and_no_container_are_told_apart() {
    check("0::/ecs/task/$A", Some(A), None, None);
    let fargate = format!("{HASH}-1234567890");
    check("0::/ecs/$HASH/$HASH-1234567890", Some(&fargate), None, None);
    for path in ["0::/", "0::/user.slice/user-0.slice/session-1.scope", "0::/system.slice/ssh.service", "", ":::", "x"]
    {
        check(path, None, None, None);
    }
    check(&format!("0::/docker/{}", A.to_uppercase()), None, None, None);
    check("0::/docker/$Aa", None, None, None);
}
