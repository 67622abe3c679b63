//! Byte offsets of kernel structure members, resolved from BTF when the programs are loaded.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An offset that this kernel's BTF does not have. Not 0: that is a valid offset.
pub const ABSENT: u32 = u32::MAX;

macro_rules! kernel_offsets {
    ($($(#[$doc:meta])* $field:ident = $structure:literal, $member:literal;)*) => {
        /// The table. `T` is `u32` in the agent and a global that cannot be folded away in the programs.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
        pub struct KernelOffsets<T> {
            $($(#[$doc])* #[doc = concat!("`", $structure, ".", $member, "`")] pub $field: T,)*
        }

        impl KernelOffsets<u32> {
            /// Fills the table with what `resolve(structure, member)` answers; also gives the members it does not know.
            pub fn resolve(
                mut resolve: impl FnMut(&'static str, &'static str) -> Option<u32>,
                mut missing: impl FnMut(&'static str, &'static str),
            ) -> Self {
                $(
                    let $field = resolve($structure, $member).unwrap_or_else(|| {
                        missing($structure, $member);
                        ABSENT
                    });
                )*
                Self { $($field,)* }
            }
        }

        /// Makes the table of one value per field, for the programs' initial state.
        #[macro_export]
        macro_rules! each_kernel_offset {
            ($value:expr) => { $crate::offsets::KernelOffsets { $($field: $value,)* } };
        }
    };
}

kernel_offsets! {
    sock_family = "sock", "__sk_common.skc_family";
    sock_state = "sock", "__sk_common.skc_state";
    /// Host byte order.
    sock_num = "sock", "__sk_common.skc_num";
    /// Network byte order.
    sock_dport = "sock", "__sk_common.skc_dport";
    sock_daddr = "sock", "__sk_common.skc_daddr";
    sock_rcv_saddr = "sock", "__sk_common.skc_rcv_saddr";
    sock_v6_daddr = "sock", "__sk_common.skc_v6_daddr";
    sock_v6_rcv_saddr = "sock", "__sk_common.skc_v6_rcv_saddr";
    sock_cookie = "sock", "__sk_common.skc_cookie";
    sock_net = "sock", "__sk_common.skc_net.net";
    sock_type = "sock", "sk_type";
    sock_protocol = "sock", "sk_protocol";
    sock_shutdown = "sock", "sk_shutdown";
    sock_err = "sock", "sk_err";
    sock_socket = "sock", "sk_socket";
    socket_file = "socket", "file";
    socket_inode = "socket_alloc", "vfs_inode";
    /// Null where it has no port.
    icsk_bind_hash = "inet_connection_sock", "icsk_bind_hash";
    /// -1 where the kernel chose the port for a socket that connects.
    bind_fastreuse = "inet_bind_bucket", "fastreuse";
    net_inum = "net", "ns.inum";
    tcp_copied_seq = "tcp_sock", "copied_seq";
    tcp_write_seq = "tcp_sock", "write_seq";
    tcp_rcv_nxt = "tcp_sock", "rcv_nxt";
    tcp_snd_una = "tcp_sock", "snd_una";
    tcp_bytes_received = "tcp_sock", "bytes_received";
    tcp_bytes_acked = "tcp_sock", "bytes_acked";
    /// When a packet last came or was sent.
    tcp_clock = "tcp_sock", "tcp_clock_cache";
    tcp_srtt = "tcp_sock", "srtt_us";
    tcp_retransmits = "tcp_sock", "total_retrans";
    /// When data last came, in ticks.
    icsk_received_at = "inet_connection_sock", "icsk_ack.lrcvtime";
    unix_addr = "unix_sock", "addr";
    unix_peer = "unix_sock", "peer";
    unix_address_len = "unix_address", "len";
    unix_address_name = "unix_address", "name";
    task_pid = "task_struct", "pid";
    task_tgid = "task_struct", "tgid";
    task_flags = "task_struct", "flags";
    task_files = "task_struct", "files";
    task_signal = "task_struct", "signal";
    task_comm = "task_struct", "comm";
    task_exit_code = "task_struct", "exit_code";
    task_real_parent = "task_struct", "real_parent";
    task_group_leader = "task_struct", "group_leader";
    task_start_boottime = "task_struct", "start_boottime";
    task_mm = "task_struct", "mm";
    mm_out_of_line = "mm_struct", "uprobes_state.xol_area";
    out_of_line_address = "xol_area", "vaddr";
    task_cgroups = "task_struct", "cgroups";
    mm_exe_file = "mm_struct", "exe_file";
    mm_arg_start = "mm_struct", "arg_start";
    mm_arg_end = "mm_struct", "arg_end";
    css_set_cgroup = "css_set", "dfl_cgrp";
    cgroup_kn = "cgroup", "kn";
    kernfs_name = "kernfs_node", "name";
    /// Until Linux 6.14.
    kernfs_parent_before = "kernfs_node", "parent";
    /// From Linux 6.15 on.
    kernfs_parent = "kernfs_node", "__parent";
    file_dentry = "file", "f_path.dentry";
    file_mnt = "file", "f_path.mnt";
    dentry_parent = "dentry", "d_parent";
    dentry_name = "dentry", "d_name.name";
    vfsmount_root = "vfsmount", "mnt_root";
    mount_vfsmount = "mount", "mnt";
    mount_parent = "mount", "mnt_parent";
    mount_mountpoint = "mount", "mnt_mountpoint";
    signal_live = "signal_struct", "live.counter";
    files_fdt = "files_struct", "fdt";
    fdtable_fd = "fdtable", "fd";
    fdtable_max_fds = "fdtable", "max_fds";
    file_flags = "file", "f_flags";
    /// Where those begin who wait for it by epoll.
    file_ep = "file", "f_ep";
    epitem_link = "epitem", "fllink";
    epitem_event = "epitem", "event";
    task_thread_pointer = "task_struct", "thread.fsbase";
    file_private_data = "file", "private_data";
    file_inode = "file", "f_inode";
    inode_mode = "inode", "i_mode";
    inode_ino = "inode", "i_ino";
    socket_sk = "socket", "sk";
}
