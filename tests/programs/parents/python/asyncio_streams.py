"""asyncio of the standard library alone, for any release: a server of streams, and a pool of connections to back ends. With the
argument `uvloop` on that loop, with `threads` calls are made on threads that the loop gives them to (`asyncio.to_thread`)."""

import asyncio
import sys

import calls
from calls import BACKENDS, LISTEN, POOL, Ask, background_targets, nap


class Pool:
    """Connections, so many to each back end at most; who wants one waits for it."""

    def __init__(self):
        self.idle = {port: asyncio.LifoQueue() for port in BACKENDS}
        for connections in self.idle.values():
            for _ in range(POOL):
                connections.put_nowait(None)

    async def call(self, port, target, headers):
        connection = await self.idle[port].get()
        if connection is None:
            connection = await asyncio.open_connection("127.0.0.1", port)
        reader, writer = connection
        lines = [f"GET {target} HTTP/1.1", "Host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
        writer.write("\r\n".join([*lines, "", ""]).encode())
        await writer.drain()
        _, headers = await head(reader)
        await reader.readexactly(int(headers[b"content-length"]))
        self.idle[port].put_nowait(connection)


class OnThreads:
    """The same, where each call waits on a thread."""

    def __init__(self):
        self.pool = calls.Pool()

    async def call(self, port, target, headers):
        await asyncio.to_thread(self.pool.call, port, target, headers)


async def head(reader):
    first, headers = await reader.readline(), {}
    while first and (line := (await reader.readline()).strip()):
        name, _, value = line.partition(b":")
        headers[name.lower()] = value.strip()
    return first, headers


tasks = set()


def keep(coroutine):
    """A task that lives until it is done: the loop itself does not keep it."""
    task = asyncio.ensure_future(coroutine)
    tasks.add(task)
    task.add_done_callback(tasks.discard)


async def in_the_background(call):
    for seconds, port, target in background_targets():
        await asyncio.sleep(seconds)
        if Ask.came:
            await call(port, target, {})


async def make_calls(ask, call):
    if ask.pattern == "parallel":
        await asyncio.gather(*(call(port, target, ask.headers) for port, target in ask.calls))
        return
    for port, target in ask.calls:
        if ask.pattern == "forget":
            keep(call(port, target, ask.headers))
            continue
        if ask.pattern == "pause":
            await asyncio.sleep(nap())
        await call(port, target, ask.headers)


async def main():
    pool = OnThreads() if sys.argv[1:] == ["threads"] else Pool()

    async def serve(reader, writer):
        try:
            while True:
                first, headers = await head(reader)
                if not first:
                    break
                context = headers.get(b"traceparent", b"").decode()
                await make_calls(Ask(first.split()[1].decode(), context), pool.call)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    # Before 3.12 nobody keeps what a coroutine function would make of a connection.
    begin = lambda reader, writer: keep(serve(reader, writer))
    server = await asyncio.start_server(begin, "127.0.0.1", LISTEN, backlog=1024)
    keep(in_the_background(pool.call))
    print("listening", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:] == ["uvloop"]:
        import uvloop

        uvloop.install()
    asyncio.run(main())
