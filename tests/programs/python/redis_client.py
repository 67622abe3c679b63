"""A client of Redis (redis-py) at the port of its first argument; `tls` as the second: over TLS, with the certificate of the third.

It connects, says `ready`, and on a line of its standard input makes its calls and says `done`. Of each that shows how long it took it says
`took NAME ns`.
"""

import sys
import time

import redis

port = int(sys.argv[1])
tls = {"ssl": True, "ssl_ca_certs": sys.argv[3], "ssl_check_hostname": False} if sys.argv[2:3] == ["tls"] else {}
client = redis.Redis(host="127.0.0.1", port=port, protocol=3, single_connection_client=True, **tls)
client.ping()
print("ready")
sys.stdin.readline()

client.set("name", "secret-1")
assert client.get("name") == b"secret-1"
client.lpush("list", "secret-2")
for wrong in [lambda: client.incr("list"), lambda: client.execute_command("NOSUCHCOMMAND", "secret-3")]:
    try:
        wrong()
        raise SystemExit("that should fail")
    except redis.ResponseError:
        pass
with client.pipeline(transaction=False) as pipeline:
    for number in range(100):
        pipeline.hset("hash", f"field-{number}", "secret-4")
    pipeline.execute()
with client.pipeline(transaction=True) as pipeline:
    pipeline.incr("counter").incr("counter")
    assert pipeline.execute() == [1, 2]
large = b"x" * 1_000_000
client.set("large", large)
assert client.get("large") == large
began = time.monotonic_ns()
assert client.blpop(["nothing"], timeout=0.2) is None
print("took BLPOP", time.monotonic_ns() - began)
began = time.monotonic_ns()
client.eval("local sum = 0 for number = 1, 3000000 do sum = sum + number % 7 end return sum", 0)
print("took EVAL", time.monotonic_ns() - began)
client.select(5)
client.exists("name")
print("done", flush=True)
sys.stdin.readline()
