"""Applications of uvicorn whose calls are made by httpx: `asgi.py FRAMEWORK LOOP` with `starlette` or `fastapi`, on `asyncio` or
`uvloop`. `threads` after them: the handler is no coroutine, and runs on a thread of anyio's, as FastAPI has it, with http.client."""

import contextlib
import socket
import sys

import httpx
import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from asyncio_streams import in_the_background, keep, make_calls
from calls import LISTEN, POOL, Ask, Pool, on_threads

framework, loop, *kind = sys.argv[1:]
limits = httpx.Limits(max_connections=POOL, max_keepalive_connections=POOL)
clients = {}


@contextlib.asynccontextmanager
async def lifespan(_):
    async with httpx.AsyncClient(limits=limits, timeout=60) as clients["async"]:
        keep(in_the_background(call))
        yield


async def call(port, target, headers):
    await clients["async"].get(f"http://127.0.0.1:{port}{target}", headers=headers)


pool = Pool()


def ask_of(request):
    return Ask(str(request.url), request.headers.get("traceparent"))


async def answer(request):
    await make_calls(ask_of(request), call)
    return PlainTextResponse("ok")


def answer_on_thread(request):
    on_threads(ask_of(request), pool.call)
    return PlainTextResponse("ok")


handler = answer_on_thread if kind == ["threads"] else answer
if framework == "starlette":
    app = Starlette(routes=[Route("/{id}", handler)], lifespan=lifespan)
else:
    from fastapi import FastAPI, Request

    handler.__annotations__["request"] = Request
    app = FastAPI(lifespan=lifespan)
    app.get("/{id}", response_class=PlainTextResponse)(handler)
# asyncio does not delay what goes over a socket that says that it is one of TCP.
listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", LISTEN))
listener.listen(1024)
print("listening", listener.getsockname()[1], flush=True)
uvicorn.Server(uvicorn.Config(app, loop=loop, log_level="error")).run(sockets=[listener])
