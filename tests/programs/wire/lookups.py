"""Looks names up in each way that there is, from a server of its own. Usage: DNSMASQ. Says how often it has asked for what."""

import collections
import socket
import subprocess
import sys

import dns.message
import dns.query

SERVER = "127.0.0.53"
options = ["--keep-in-foreground", "--no-resolv", "--no-hosts", "--user=root", "--pid-file=", f"--listen-address={SERVER}", "--bind-interfaces"]
names = [f"--address=/shop{nth}.test/10.0.0.{nth + 1}" for nth in range(10)]
log = {"stderr": subprocess.PIPE, "text": True}
server = subprocess.Popen([sys.argv[1], "--log-facility=-", *options, *names, "--local=/test/"], **log)
counts = collections.Counter()
# It says so once it listens.
assert any("started" in line for line in server.stderr), "dnsmasq does not start"
print("ready", flush=True)
sys.stdin.readline()
for nth in range(10):
    # The C library asks for both kinds at once.
    assert socket.getaddrinfo(f"shop{nth}.test", 80)[0][4][0] == f"10.0.0.{nth + 1}"
    counts["A"] += 1
    counts["AAAA"] += 1
    # On a socket without a connection.
    dns.query.udp(dns.message.make_query(f"shop{nth}.test", "A"), SERVER)
    counts["A"] += 1
    dns.query.tcp(dns.message.make_query(f"shop{nth}.test", "A"), SERVER)
    counts["A"] += 1
    counts["TCP"] += 1
for _ in range(5):
    dns.query.udp(dns.message.make_query("none.test", "MX"), SERVER)
    counts["MX"] += 1
print("counted " + " ".join(f"{name}={count}" for name, count in sorted(counts.items())), flush=True)
sys.stdin.readline()
server.kill()
server.wait()
