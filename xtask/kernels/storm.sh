#!/bin/busybox sh
# First process of the guest of `--storm`: runs the test of `tests/tests/tls_storm.rs`, and tells what it says.

/bin/busybox mkdir -p /dev /proc /sys /tmp /run
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tracefs tracing /sys/kernel/tracing
mount -t debugfs debug /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
stty -F /dev/ttyS1 raw
exec 3>/dev/ttyS1 >/dev/console 2>&1
ip link set lo up
echo "@kernel $(uname -r) $(cat /sys/kernel/debug/sched/preempt)" >&3
read -r records </etc/records
STORM_RECORDS=$records tls_storm --nocapture >/tmp/said 2>&1
echo "@ended $?" >&3
cat /tmp/said >&3
echo "@done" >&3
poweroff -f
