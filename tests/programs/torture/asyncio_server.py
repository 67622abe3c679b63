"""Answers as a request's target says (/s/STATUS/BYTES/DELAY/SHAPE/NUMBER): HTTP/1.1 on asyncio's streams, in the clear and over
TLS. `asyncio_server.py CERTIFICATE KEY` prints both ports."""

import asyncio
import ssl
import sys

PIECE = 7000


def sizes(count, shape):
    size = count if shape == "w" else max(PIECE, -(-count // 8)) if shape == "s" else PIECE
    while count > 0:
        yield min(count, size)
        count -= size


async def body(reader, headers):
    if headers.get(b"transfer-encoding") == b"chunked":
        while size := int((await reader.readline()).split(b";")[0], 16):
            await reader.readexactly(size + 2)
        await reader.readline()
    elif length := int(headers.get(b"content-length", 0)):
        await reader.readexactly(length)


async def answers(reader, writer):
    while line := await reader.readline():
        method, target, _ = line.split(b" ")
        headers = {}
        while (line := await reader.readline()).strip():
            name, _, value = line.partition(b":")
            headers[name.lower()] = value.strip()
        await body(reader, headers)
        _, _, status, count, delay, shape, *_ = target.decode().split("/")
        status, count, delay = int(status), int(count), int(delay)
        if delay:
            await asyncio.sleep(delay / 1000 + 0.001)
        head = f"HTTP/1.1 {status} So\r\nServer: asyncio\r\n"
        if status in (204, 304) or method == b"HEAD" or shape == "w":
            length = "" if status in (204, 304) else f"Content-Length: {count}\r\n"
            writer.write(f"{head}{length}\r\n".encode() + (b"" if method == b"HEAD" else b"a" * count))
        else:
            writer.write(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
            for size in sizes(count, shape):
                writer.write(b"%x\r\n" % size + b"a" * size + b"\r\n")
                if shape == "s":
                    await writer.drain()
                    await asyncio.sleep(0.002)
            writer.write(b"0\r\n\r\n")
        await writer.drain()


async def serve(reader, writer):
    try:
        await answers(reader, writer)
    except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
        pass
    finally:
        writer.close()


async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[1:3])
    servers = [await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls, backlog=1000) for tls in (None, context)]
    print("listening", *(server.sockets[0].getsockname()[1] for server in servers), flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
