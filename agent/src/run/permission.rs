//! What the agent will not see for want of a capability that it can do without, said in plain words.

use crate::{
    config::{Config, Criterion},
    kernel::capabilities::{Capabilities, DAC_READ_SEARCH, SYS_PTRACE, advice},
};

/// What to tell the user; `None`: nothing is missing.
pub(super) fn unseen(config: &Config, held: Capabilities) -> Option<String> {
    let all = [
        (!held.has(&SYS_PTRACE)).then(|| without_ptrace(config)),
        (!held.has(&DAC_READ_SEARCH)).then(|| {
            format!(
                "{} is missing: programs and TLS libraries in folders that are not for everyone are not read, so what they \
                 encrypt is not seen, and services whose names stand in such files are called by their processes' names",
                DAC_READ_SEARCH.name
            )
        }),
    ];
    let said: Vec<String> = all.into_iter().flatten().collect();
    (!said.is_empty()).then(|| format!("{}; {}", said.join("; "), advice()))
}

/// Of the default exclusions it is not said: they are not the user's words.
fn without_ptrace(config: &Config) -> String {
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
    format!("{} is missing: {what}", SYS_PTRACE.name)
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
        let said = unseen(&config, none).unwrap();
        assert!(said.contains("CAP_SYS_PTRACE is missing") && !said.contains("exe_path"), "{said}");
        assert!(said.contains("CAP_DAC_READ_SEARCH is missing"), "{said}");
        assert_eq!(
            said.matches("setcap cap_bpf,cap_perfmon,cap_sys_ptrace,cap_dac_read_search+ep").count(),
            1,
            "{said}"
        );
        config.open_port = "80".parse().unwrap();
        config.discovery.exclude_instrument = vec![Criterion { exe_path: "*/x".parse().ok(), ..Criterion::default() }];
        let said = unseen(&config, none).unwrap();
        assert!(said.contains("exe_path and open_ports will match no process of another user"), "{said}");
        assert_eq!(unseen(&config, Capabilities::all()), None);
    }
}
