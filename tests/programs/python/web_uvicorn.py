"""A server by uvicorn over TLS: its arguments are the loop it runs on (`asyncio` or `uvloop`), its certificate and its key."""

import asyncio
import socket
import sys

import uvicorn


async def answer(scope, receive, send):
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    path = scope["path"]
    if path == "/sleep":
        await asyncio.sleep(0.062)
    status = int(path.rsplit("/", 1)[1]) if path.startswith("/status/") else 200
    body = body or b"hello"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


loop, certificate, key = sys.argv[1:4]
config = uvicorn.Config(
    answer, loop=loop, http="h11", lifespan="off", log_level="error", ssl_certfile=certificate, ssl_keyfile=key
)
listener = socket.create_server(("127.0.0.1", 0))
print("listening", listener.getsockname()[1], flush=True)
uvicorn.Server(config).run(sockets=[listener])
