"""aiohttp, server and client with a pool of connections. With the argument `uvloop` on that loop."""

import asyncio
import sys

import aiohttp
from aiohttp import web

from asyncio_streams import in_the_background, keep, make_calls
from calls import LISTEN, POOL, Ask


async def main():
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=POOL)) as session:

        async def call(port, target, headers):
            async with session.get(f"http://127.0.0.1:{port}{target}", headers=headers) as response:
                await response.read()

        async def answer(request):
            await make_calls(Ask(request.path_qs, request.headers.get("traceparent")), call)
            return web.Response(text="ok")

        runner = web.ServerRunner(web.Server(answer))
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", LISTEN, backlog=1024)
        await site.start()
        keep(in_the_background(call))
        print("listening", site._server.sockets[0].getsockname()[1], flush=True)
        await asyncio.Event().wait()


if sys.argv[1:] == ["uvloop"]:
    import uvloop

    uvloop.install()
asyncio.run(main())
