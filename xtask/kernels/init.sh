#!/bin/busybox sh
# First process of the guest. Runs the agent with each backend that works here, has programs talk under its eyes, and writes
# what came of it to the second serial port; its lines are read by `transcript.rs`, and what they must say is in
# `scenario.rs`. The first serial port is the kernel's console.

/bin/busybox mkdir -p /dev /proc /sys /tmp /run
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tracefs tracing /sys/kernel/tracing
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup /sys/fs/cgroup
stty -F /dev/ttyS1 raw
exec 3>/dev/ttyS1 >/dev/console 2>&1
mark() { echo "@$*" >&3; }

ip link set lo up
# Addresses of loopback are not named by DNS answers.
ip addr add 10.77.0.1/32 dev lo

mark kernel "$(uname -r)"
echo "beyla-rs is tried from here on" >/dev/kmsg
mark check
beyla-rs check --json >/tmp/check
cat /tmp/check >&3
mark end

httpd -p 8080 -h /srv
httpd -p 8083 -h /srv
nghttpd --daemon --no-tls -d /srv 8081
nghttpd --daemon -d /srv 8082 /etc/tls.key /etc/tls.crt
dnsmasq --conf-file=/dev/null --pid-file --user=root --group=root --no-resolv --no-hosts --bind-interfaces \
    --listen-address=127.0.0.1 --address=/shop.test/10.77.0.1 --local=/shop.test/
# As a daemon nghttpd listens later than it says.
for port in 1F90 1F91 1F92 1F93; do
    until cat /proc/net/tcp /proc/net/tcp6 | grep -q ":$port .* 0A "; do usleep 20000; done
done

# The statuses that a client got, each with how many there were.
statuses() { sort | uniq -c | while read -r count status; do mark sent "$1" "$status" "$count"; done; }
# What h2load says of itself: all that is not 2xx would show in the sum.
loaded() { sed -n "s/^status codes: \([0-9]*\) 2xx.*/@sent $1 200 \1/p" >&3; }

scenarios() {
    curl -s -w '%{http_code}\n' -o /dev/null 'http://127.0.0.1:8080/hello.txt?[1-12]' \
        -o /dev/null 'http://127.0.0.1:8080/missing?[1-8]' | statuses http1
    h2load -n 200 -c 4 -m 10 http://127.0.0.1:8081/hello.txt | loaded http2
    h2load -n 20 -c 2 -m 2 http://127.0.0.1:8081/large.bin | loaded http2-large
    h2load -n 40 -c 4 -m 2 https://127.0.0.1:8082/hello.txt | loaded tls
    for _ in 1 2 3; do
        curl -s -o /dev/null -w '%{http_code}\n' --http1.0 --header Host: 'http://shop.test:8083/hello.txt?[1-2]'
    done | statuses dns
}

for backend in sock syscall; do
    grep -A1 "\"backend $backend\"" /tmp/check | grep -q '"ok": true' || continue
    mark run "$backend"
    mkfifo /tmp/log
    beyla-rs --backend "$backend" --print json >/tmp/spans 2>/tmp/log &
    agent=$!
    exec 4</tmp/log
    while read -r line <&4; do
        echo "$line"
        case "$line" in *" watching "*) break ;; esac
    done
    tee /tmp/rest <&4 &
    log=$!
    if kill -0 "$agent"; then
        scenarios
        # Of each request the server's span and the client's.
        timeout 20 sh -c 'until [ "$(grep -c "\"SERVER\"\|\"CLIENT\"" /tmp/spans)" -ge 572 ]; do usleep 50000; done'
        # The figures are shown as of a second ago.
        timeout 20 sh -c 'until wget -q -O /tmp/metrics http://127.0.0.1:9464/metrics &&
            [ "$(awk "/^beyla_rs_exchanges_total/ { sum += \$NF } END { print sum + 0 }" /tmp/metrics)" -ge 572 ]; do usleep 50000; done'
        # How often the kernel left one of the agent's programs out since it was being run on that processor already.
        cat /proc/"$agent"/fdinfo/* | awk '$1 == "recursion_misses:" { sum += $2 } END { print "@missed " sum + 0 }' >&3
    fi
    kill -TERM "$agent"
    wait "$agent"
    status=$?
    exec 4<&-
    wait "$log"
    rm /tmp/log
    sed 's/^/@log /' /tmp/rest >&3
    cat /tmp/spans >&3
    grep ^beyla_rs_ /tmp/metrics >&3
    mark ended "$status"
done

# Programs that were watched end before the kernel is asked for the last time what it complains of.
killall nghttpd httpd dnsmasq
while pidof nghttpd httpd dnsmasq >/dev/null; do usleep 20000; done
mark dmesg
dmesg | sed '1,/beyla-rs is tried from here on/d' >&3
mark end
mark done
poweroff -f
