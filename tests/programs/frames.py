"""An HTTP/2 server and client whose writes fall over frames as the test says: random frames, random pieces.

usage: frames.py serve SEED [CERTIFICATE KEY] | frames.py call PORT SEED CONNECTIONS REQUESTS [tls] | frames.py keep PORT

`keep` holds one connection, over which it makes a number of requests, one after the other, for each line `COUNT BYTES`
of its standard input. Each of these is answered by one call.

Each request's path is `/r-STREAM-STATUS-BYTES-LAST-end`. The answer is HEADERS (in pieces of CONTINUATION, sometimes), DATA of
that many bytes in frames of random sizes and a trailing header block, in which no entry of the table is reused by
chance: `x-trailer` is new each time. Answers are collected and written by random calls.
"""

import os
import random
import socket
import ssl
import struct
import sys
import threading

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, SETTINGS, CONTINUATION = 0, 1, 4, 9


def frame(kind, flags, stream, payload):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def number(prefix, bits, value):
    top = (1 << bits) - 1
    if value < top:
        return bytes([prefix | value])
    out, value = bytes([prefix | top]), value - top
    while value >= 128:
        out, value = out + bytes([value % 128 | 128]), value // 128
    return out + bytes([value])


def text(value):
    return number(0, 7, len(value)) + value.encode()


def indexed(name, value):
    """A literal that enters the table."""
    return b"\x40" + text(name) + text(value)


def headers(rng, stream, block, end):
    first = 0x1 if end else 0
    if rng.random() < 0.6:
        return frame(HEADERS, first | 0x4, stream, block)
    at = rng.randrange(len(block) + 1)
    return frame(HEADERS, first, stream, block[:at]) + frame(CONTINUATION, 0x4, stream, block[at:])


def data(rng, stream, size):
    out = b""
    while size > 0:
        part = min(size, rng.choice([1, 9, 100, 300, 1000, 16384]))
        padding = rng.choice([0, 0, 0, 0, 0, 200])
        # What a payload holds looks like frames.
        payload = (frame(HEADERS, 0x5, stream, b"\x82\x84\x87") * (part // 12 + 1))[:part]
        if padding:
            payload = bytes([padding]) + payload + bytes(padding)
        out += frame(DATA, 0x8 if padding else 0, stream, payload[:16384] if not padding else payload)
        size -= part
    return out


def messages(rng, requests):
    out = b""
    for stream, path, status, size in requests:
        block = b"\x08" + number(0, 7, 3) + str(status).encode() + indexed("x-of", path)
        if rng.random() < 0.1:
            block += indexed("x-long", "l" * rng.randrange(4000, 14000))
        out += headers(rng, stream, block, False)
        out += data(rng, stream, size)
        out += headers(rng, stream, indexed("grpc-status", str(status % 17)) + indexed("x-trailer", path), True)
    return out


def pieces(rng, whole, most):
    while whole:
        size = rng.choice([1, 3, 8, 9, 10, 17, 100, 511, 512, 513, 4096, 8192, 20000, 70000, len(whole)])
        yield whole[: min(size, most)]
        whole = whole[min(size, most) :]


def is_tls(connection):
    return isinstance(connection, ssl.SSLSocket)


def write(rng, connection, whole, ways):
    for piece in pieces(rng, whole, 1 << 20):
        way = rng.choice(ways)
        if is_tls(connection):
            connection.sendall(piece)
            continue
        while piece:
            if way == "write":
                sent = os.write(connection.fileno(), piece)
            elif way == "send":
                sent = connection.send(piece)
            else:
                parts, rest = [], piece
                while rest and len(parts) < 30:
                    size = rng.choice([0, 1, 9, 50, 700, 9000, len(rest)])
                    parts, rest = parts + [rest[:size]], rest[size:]
                sent = os.writev(connection.fileno(), parts) if way == "writev" else connection.sendmsg(parts)
            piece = piece[sent:]


def ends(buffer):
    """How many streams end by trailers in the whole frames of these bytes, and what is left behind these."""
    count = 0
    while len(buffer) >= 9:
        length, kind, flags = int.from_bytes(buffer[:3], "big"), buffer[3], buffer[4]
        if len(buffer) < 9 + length:
            break
        buffer = buffer[9 + length :]
        count += kind == HEADERS and flags & 1
    return count, buffer


def read_requests(rng, connection, answer):
    buffer, first, blocks, ended, whole = b"", True, {}, set(), set()
    while True:
        size = rng.choice([24, 33, 100] if first else [1, 7, 9, 24, 33, 100, 512, 4096, 16384, 65536])
        if is_tls(connection) or rng.random() < 0.5:
            got = connection.recv(size)
        else:
            got = os.read(connection.fileno(), size)
        if not got:
            return
        buffer += got
        if first:
            if len(buffer) < len(PREFACE):
                continue
            assert buffer.startswith(PREFACE)
            buffer, first = buffer[len(PREFACE) :], False
        while len(buffer) >= 9:
            length, kind, flags = int.from_bytes(buffer[:3], "big"), buffer[3], buffer[4]
            stream = int.from_bytes(buffer[5:9], "big")
            if len(buffer) < 9 + length:
                break
            payload, buffer = buffer[9 : 9 + length], buffer[9 + length :]
            if kind in (HEADERS, CONTINUATION):
                blocks[stream] = blocks.get(stream, b"") + payload
            ended |= {stream} if flags & 1 and kind in (DATA, HEADERS) else set()
            whole |= {stream} if flags & 4 and kind in (HEADERS, CONTINUATION) else set()
            if stream in ended and stream in whole:
                ended.discard(stream)
                whole.discard(stream)
                block = blocks.pop(stream)
                at = block.index(b"/r-")
                path = block[at : block.index(b"-end", at) + 4].decode()
                answer(stream, path)


def serve(connection, seed):
    rng = random.Random(seed)
    connection.sendall(frame(SETTINGS, 0, 0, b"\x00\x03\x00\x00\x10\x00"))
    waiting = []

    def answer(stream, path):
        _, _, status, size, last, _ = path.split("-")
        waiting.append((stream, path, int(status), int(size)))
        if last == "whole":
            answers = messages(random.Random(stream), waiting)
            waiting.clear()
            if is_tls(connection):
                connection.sendall(answers)
                answers = b""
            while answers:
                answers = answers[os.write(connection.fileno(), answers) :]
        if last == "1":
            write(rng, connection, messages(rng, waiting), ["write", "send", "writev", "sendmsg"])
            waiting.clear()

    read_requests(rng, connection, answer)
    connection.close()


def client(port, seed, count, over_tls):
    """Sends `count` requests in batches, bodies and all; prints the paths."""
    rng = random.Random(seed)
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if over_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    out, stream, done = PREFACE + frame(SETTINGS, 0, 0, b""), 1, 0
    # The first write is a long one with requests in it, or only what opens the connection.
    together = seed % 2 == 1
    if not together:
        connection.sendall(out)
        out = b""
    finished = threading.Semaphore(0)

    def drain():
        buffer = b""
        while got := connection.recv(rng.choice([100, 512, 4096, 65536])):
            count, buffer = ends(buffer + got)
            for _ in range(count):
                finished.release()
            if over_tls:
                yield count

    # Of a TLS object, one thread at a time reads or writes.
    drained = drain() if over_tls else threading.Thread(target=lambda: list(drain()))
    if not over_tls:
        drained.start()
    while done < count:
        batch = min(rng.randrange(1, 20), count - done)
        for i in range(batch):
            status = rng.choice([200, 201, 404, 503])
            size = rng.choice([0, 10, 255, 256, 257, 600, 5000, 16384, 40000])
            path = f"/r-{stream}-{status}-{size}-{int(i == batch - 1)}-end"
            body = 40000 if together and stream == 1 else rng.choice([0, 0, 5, 300, 9000, 40000])
            block = b"\x83\x86" + b"\x44" + text(path) + indexed("x-unique", path)
            out += headers(rng, stream, block, body == 0)
            if body:
                out += data(rng, stream, body) + frame(DATA, 1, stream, b"")
            stream += 2
        if together and done == 0:
            connection.sendall(out)
        else:
            write(rng, connection, out, ["write", "send", "writev", "sendmsg"])
        out, done = b"", done + batch
        while over_tls and batch > 0:
            batch -= next(drained)
        for _ in range(batch):
            if not finished.acquire(timeout=20):
                sys.exit(f"no answer, {done} of {count}")
    if not over_tls:
        connection.shutdown(socket.SHUT_WR)
        drained.join()
    connection.close()


def keep(port, over_tls):
    connection = socket.create_connection(("127.0.0.1", port))
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if over_tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        connection = context.wrap_socket(connection)
    connection.sendall(PREFACE + frame(SETTINGS, 0, 0, b""))
    buffer, stream = b"", 1

    def ask(size):
        nonlocal buffer, stream
        path = f"/r-{stream}-200-{size}-whole-end"
        block = b"\x83\x86" + b"\x44" + text(path)
        connection.sendall(frame(HEADERS, 0x5, stream, block))
        stream += 2
        count = 0
        while not count:
            count, buffer = ends(buffer + connection.recv(1 << 20))
        return path

    print("ready", ask(10))
    for line in sys.stdin:
        count, size = line.split()
        paths = [ask(int(size)) for _ in range(int(count))]
        print("done", paths[0], paths[-1])


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        listener = socket.create_server(("127.0.0.1", 0))
        print("listening", listener.getsockname()[1])
        seed, context = int(sys.argv[2]), None
        if len(sys.argv) > 3:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*sys.argv[3:5])
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            seed += 1
            if context:
                connection = context.wrap_socket(connection, server_side=True)
            threading.Thread(target=serve, args=(connection, seed), daemon=True).start()
    elif sys.argv[1] == "keep":
        keep(int(sys.argv[2]), sys.argv[3:] == ["tls"])
    else:
        print("ready")
        sys.stdin.readline()
        for seed in range(int(sys.argv[4])):
            client(int(sys.argv[2]), int(sys.argv[3]) + seed, int(sys.argv[5]), sys.argv[6:] == ["tls"])
        print("done")
        sys.stdin.readline()
