"""An aiohttp server over TLS: its certificate and key are its arguments."""

import asyncio
import ssl
import sys

from aiohttp import web


async def answer(request):
    body = await request.read()
    if request.path == "/sleep":
        await asyncio.sleep(0.06)
    status = int(request.path.rsplit("/", 1)[1]) if request.path.startswith("/status/") else 200
    return web.Response(status=status, body=body or b"hello")


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:3])
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    print("listening", runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
