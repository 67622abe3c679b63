//! The machine: `host.name`, `host.id`, `host.arch`.

use std::path::{Path, PathBuf};

use compact_str::CompactString;

use super::{
    cloud::{CLUSTER, CloudAttributes},
    fs::{ProcFs, lossy, read_path},
};

/// The machine's attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Host {
    /// `host.name`.
    pub name: CompactString,
    /// `host.id`: the machine id (machine-id(5)); absent where the machine has none.
    pub id: Option<CompactString>,
    /// `host.arch`, in the conventions' words.
    pub arch: &'static str,
    /// `cloud.*`, `host.type` … as a cloud's metadata service says.
    pub cloud: CloudAttributes,
}

/// Where the host's facts are read from.
#[derive(Clone, Debug)]
pub(crate) struct HostSource {
    /// Files that may hold the machine id, first found wins.
    pub machine_id: Vec<PathBuf>,
    /// Overrides the kernel's host name (a DaemonSet passes the node's name).
    pub name: Option<CompactString>,
}

impl HostSource {
    /// The usual places. From within a container the machine's own id is that of process 1's file system, which is
    /// reachable when the host's PID namespace is shared.
    #[must_use]
    pub(crate) fn new(proc_root: &Path) -> Self {
        let own = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
        let of_init = own.map(|path| proc_root.join("1/root").join(path.trim_start_matches('/')));
        Self { machine_id: of_init.into_iter().chain(own.map(PathBuf::from)).collect(), name: None }
    }
}

impl Host {
    /// Reads the facts; never fails, leaves out what is not known.
    #[must_use]
    pub(crate) fn read(proc: &ProcFs, source: &HostSource) -> Self {
        let kernel_name = || proc.read_global("sys/kernel/hostname").unwrap_or_default().trim().into();
        let id = source.machine_id.iter().find_map(|path| {
            let id = lossy(read_path(path, 256).ok()?);
            let id = id.trim();
            // "uninitialized" stands there in images and early at boot.
            (id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then(|| CompactString::from(id))
        });
        Self { name: source.name.clone().unwrap_or_else(kernel_name), id, arch: arch(), cloud: CloudAttributes::new() }
    }
}

impl Host {
    /// Takes up what the machine's cloud says. Its instance id becomes `host.id`, as the conventions have it.
    pub(crate) fn set_cloud(&mut self, mut attributes: CloudAttributes) {
        if let Some(at) = attributes.iter().position(|(key, _)| *key == "host.id") {
            self.id = Some(attributes.remove(at).1);
        }
        self.cloud = attributes;
    }

    /// The cluster the cloud says this machine is part of.
    pub(crate) fn cluster(&self) -> Option<&CompactString> {
        self.cloud.iter().find(|(key, _)| *key == CLUSTER).map(|(_, value)| value)
    }
}

const fn arch() -> &'static str {
    if cfg!(target_arch = "x86_64") {
        "amd64"
    } else if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        std::env::consts::ARCH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_id_of_the_host_is_preferred_and_an_uninitialised_one_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let id = "0123456789abcdef0123456789abcdef";
        let files = ["first", "second", "third"].map(|name| dir.path().join(name));
        std::fs::write(&files[1], "uninitialized\n").unwrap();
        std::fs::write(&files[2], format!("{id}\n")).unwrap();
        let source = HostSource { machine_id: files.into(), name: Some("node-1".into()) };
        let host = Host::read(&ProcFs::new("/proc"), &source);
        assert_eq!((host.id.as_deref(), host.name.as_str()), (Some(id), "node-1"));
    }

    #[test]
    fn the_name_is_the_kernels() {
        let host = Host::read(&ProcFs::new("/proc"), &HostSource::new(Path::new("/proc")));
        assert_eq!(host.name, rustix::system::uname().nodename().to_str().unwrap());
    }
}
