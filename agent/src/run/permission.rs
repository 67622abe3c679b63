//! What the agent will not see for want of a capability that it can do without, said in plain words.

use crate::{
    config::{Config, Criterion},
    kernel::capabilities::{Capabilities, SYS_PTRACE},
};

/// What to tell the user; `None`: nothing is missing. Of the default exclusions it is not said: they are not the user's words.
pub(super) fn unreadable(config: &Config, held: Capabilities) -> Option<String> {
    if held.has(&SYS_PTRACE) {
        return None;
    }
    let chosen = config.selection().criteria;
    let mut keys: Vec<&str> =
        chosen.iter().chain(&config.discovery.exclude_instrument).flat_map(keys_that_need_it).collect();
    keys.sort_unstable();
    keys.dedup();
    let what = if keys.is_empty() {
        "other users' services are called by their processes' names, and their TLS is not seen".to_owned()
    } else {
        format!(
            "{} will match no process of another user, whose executables and sockets cannot be read",
            keys.join(" and ")
        )
    };
    Some(format!(
        "{} is missing: {what}; run with sudo, or `sudo setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep \
         /path/to/beyla-rs`",
        SYS_PTRACE.name
    ))
}

/// The keys of a criterion that are answered by files which the kernel shows only to who may trace the process.
fn keys_that_need_it(criterion: &Criterion) -> impl Iterator<Item = &'static str> {
    let keys = [
        ("exe_path", criterion.exe_path.is_some()),
        ("languages", criterion.languages.is_some()),
        ("open_ports", !criterion.open_ports.is_empty()),
    ];
    keys.into_iter().filter_map(|(key, is_used)| is_used.then_some(key))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_will_not_match_is_named_and_nothing_is_said_where_nothing_is_missing() {
        let none = Capabilities::default();
        let mut config = Config::default();
        let said = unreadable(&config, none).unwrap();
        assert!(said.contains("CAP_SYS_PTRACE is missing") && !said.contains("exe_path"), "{said}");
        config.open_port = "80".parse().unwrap();
        config.discovery.exclude_instrument = vec![Criterion { exe_path: "*/x".parse().ok(), ..Criterion::default() }];
        let said = unreadable(&config, none).unwrap();
        assert!(said.contains("exe_path and open_ports will match no process of another user"), "{said}");
        assert_eq!(unreadable(&config, Capabilities::all()), None);
    }
}
