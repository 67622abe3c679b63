"""What the Python services of the bed of parents share: how they are told what to call (`tests/src/parents/mod.rs`), and calls
on threads."""

import http.client
import itertools
import os
import queue
import random
import ssl
import threading
import time
from urllib.parse import parse_qs, urlsplit

LISTEN = int(os.environ.get("LISTEN", "0"))
BACKENDS = [int(port) for port in os.environ.get("BACKENDS", "").split(",") if port]
POOL = int(os.environ.get("POOL", "8"))


class Ask:
    """A request: what it wants."""

    #: Whether there was one.
    came = False

    def __init__(self, target, context):
        Ask.came = True
        parts = urlsplit(target)
        query = parse_qs(parts.query)
        self.path = parts.path
        self.pattern = query.get("p", [os.environ.get("PATTERN", "sequential")])[0]
        count = int(query.get("n", [os.environ.get("CALLS", "0")])[0])
        self.headers = {"traceparent": context} if context else {}
        #: Port and target of each call.
        self.calls = [(BACKENDS[at % len(BACKENDS)], f"{self.path}.{at + 1}") for at in range(count)]


def nap():
    """Between one and five milliseconds."""
    return random.uniform(0.001, 0.005)


class Pool:
    """Connections that all threads share, so many to each back end at most."""

    def __init__(self, over_tls=False):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.context = context if over_tls else None
        self.idle = {port: queue.LifoQueue() for port in BACKENDS}
        for connections in self.idle.values():
            for _ in range(POOL):
                connections.put(None)

    def connection(self, port):
        if self.context:
            return http.client.HTTPSConnection("127.0.0.1", port, context=self.context)
        return http.client.HTTPConnection("127.0.0.1", port)

    def call(self, port, target, headers):
        connection = self.idle[port].get() or self.connection(port)
        connection.request("GET", target, headers=headers)
        connection.getresponse().read()
        self.idle[port].put(connection)


def background_targets():
    """How long to wait, and where to then, for work of the service's own, of no request, once one came."""
    milliseconds = int(os.environ.get("BACKGROUND", "0"))
    for at in itertools.count(1) if milliseconds else ():
        yield milliseconds / 1000, BACKENDS[0], f"/background{os.getpid()}n{at}"


def in_the_background(call):
    """Makes such calls on a thread of their own."""

    def run():
        for seconds, port, target in background_targets():
            time.sleep(seconds)
            if Ask.came:
                call(port, target, {})

    threading.Thread(target=run, daemon=True).start()


#: Threads that nobody waits for.
forgotten = []


def on_threads(ask, call):
    """Makes the calls of a request; `call` takes a port, a target and headers."""
    if ask.pattern in ("parallel", "forget"):
        threads = [threading.Thread(target=call, args=(port, target, ask.headers)) for port, target in ask.calls]
        for thread in threads:
            thread.start()
        if ask.pattern == "forget":
            forgotten[:] = [*filter(threading.Thread.is_alive, forgotten), *threads]
            return
        for thread in threads:
            thread.join()
        return
    for port, target in ask.calls:
        if ask.pattern == "pause":
            time.sleep(nap())
        call(port, target, ask.headers)
