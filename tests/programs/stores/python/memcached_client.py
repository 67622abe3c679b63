"""Clients of Memcached at the port of its first argument: pymemcache (text), pylibmc (binary), and a socket for the meta commands.

Each connects and asks something. It says `ready`, and on a line of its standard input makes its calls and says `done`.
"""

import socket
import sys

import pylibmc
from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheClientError

port = int(sys.argv[1])
text = Client(("127.0.0.1", port), default_noreply=False)
binary = pylibmc.Client([f"127.0.0.1:{port}"], binary=True, behaviors={"tcp_nodelay": True})
meta = socket.create_connection(("127.0.0.1", port))
answers = meta.makefile("rb")


def ask(commands, expected):
    meta.sendall(commands)
    for line in expected:
        got = answers.readline()
        assert got == line, (got, line)


text.version()
assert binary.get("nothing") is None
ask(b"mn\r\n", [b"MN\r\n"])
print("ready")
sys.stdin.readline()

# Text: one after the other, many at once, unanswered, failures, a large value.
assert text.set("secret-key", "secret-1")
assert text.get("secret-key") == b"secret-1"
for number in range(20):
    assert text.set(f"secret-key-{number}", f"secret-2-{number}", expire=60)
keys = [f"secret-key-{number}" for number in range(30)]
assert len(text.get_many(keys)) == 20
value, unique = text.gets("secret-key")
assert text.cas("secret-key", "secret-3", unique)
assert text.cas("secret-key", "secret-3", unique) is False
assert text.add("secret-key", "secret-4") is False
assert text.append("secret-key", "!") and text.prepend("secret-key", "!")
assert text.set("number", "5") and text.incr("number", 7) == 12 and text.decr("number", 2) == 10
try:
    text.incr("secret-key", 1)
    raise SystemExit("that should fail")
except MemcacheClientError:
    pass
for number in range(10):
    text.set(f"mute-{number}", "secret-5", noreply=True)
text.delete("mute-0", noreply=True)
assert text.get("mute-1") == b"secret-5"
assert text.touch("number", 100)
assert text.delete("number") and text.delete("number") is False
large = b"x" * 1_000_000
assert text.set("large", large)
assert text.get("large") == large

# Binary: several values are asked for by quiet commands, with one behind them.
assert binary.set("secret-binary", "secret-6")
assert binary.get("secret-binary") == "secret-6"
binary.set_multi({f"secret-binary-{number}": "secret-7" for number in range(15)})
assert len(binary.get_multi([f"secret-binary-{number}" for number in range(25)])) == 15
binary.set("counter", 3)
assert binary.incr("counter", 4) == 7
assert binary.delete("counter") and not binary.delete("counter")

# Meta commands, in one go; before them one by itself, by which a connection that is older than who listens is known.
ask(b"mn\r\n", [b"MN\r\n"])
ask(
    b"ms meta-secret 8 T60\r\nsecret-8\r\nmg meta-secret v t\r\nmg none v\r\nma meta-count N0 J5\r\nmd meta-secret\r\n",
    [b"HD\r\n", b"VA 8 t60\r\n", b"secret-8\r\n", b"EN\r\n", b"HD\r\n", b"HD\r\n"],
)
ask(
    b"".join(b"ms quiet-%d 1 q\r\nx\r\n" % number for number in range(12))
    + b"".join(b"mg quiet-%d v k q\r\n" % number for number in range(10, 20))
    + b"mn\r\n",
    [b"VA 1 kquiet-10\r\n", b"x\r\n", b"VA 1 kquiet-11\r\n", b"x\r\n", b"MN\r\n"],
)
ask(b"nonsense secret-9\r\n", [b"ERROR\r\n"])
print("done", flush=True)
sys.stdin.readline()
