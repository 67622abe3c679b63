"""A server and a client of HTTP/1.1 over an OpenSSL of any age, which is given as a file and uses the sockets by itself:
`libssl.py LIBSSL serve CERTIFICATE KEY`, or `libssl.py LIBSSL call`. The server serves one connection after the other. For
each line `COUNT METHOD URL` of its standard input the client makes so many requests, and says the status of the last."""

import ctypes
import socket
import sys
import time
from urllib.parse import urlsplit

PEM = 1


def load(path):
    library = ctypes.CDLL(path)
    for name in ["SSL_CTX_new", "SSL_new", "TLS_method", "SSLv23_method"]:
        if hasattr(library, name):
            getattr(library, name).restype = ctypes.c_void_p
    return library


LIBRARY = load(sys.argv[1])


def context():
    if not hasattr(LIBRARY, "TLS_method"):
        LIBRARY.SSL_library_init()
    method = LIBRARY.TLS_method() if hasattr(LIBRARY, "TLS_method") else LIBRARY.SSLv23_method()
    return ctypes.c_void_p(LIBRARY.SSL_CTX_new(ctypes.c_void_p(method)))


class Connection:
    def __init__(self, context, connection):
        # Kept: it would be closed.
        self.socket = connection
        self.ssl = ctypes.c_void_p(LIBRARY.SSL_new(context))
        LIBRARY.SSL_set_fd(self.ssl, connection.fileno())
        self.seen = b""

    def read(self):
        buffer = ctypes.create_string_buffer(16384)
        count = LIBRARY.SSL_read(self.ssl, buffer, len(buffer))
        return buffer.raw[: max(count, 0)]

    def write(self, data):
        assert LIBRARY.SSL_write(self.ssl, data, len(data)) == len(data)

    def message(self):
        """The first line of the next message and its body; nothing at the end."""
        while b"\r\n\r\n" not in self.seen:
            more = self.read()
            if not more:
                return None, b""
            self.seen += more
        head, self.seen = self.seen.split(b"\r\n\r\n", 1)
        length = 0
        for line in head.lower().split(b"\r\n")[1:]:
            if line.startswith(b"content-length:"):
                length = int(line.split(b":")[1])
        while len(self.seen) < length:
            self.seen += self.read()
        body, self.seen = self.seen[:length], self.seen[length:]
        return head.split(b"\r\n")[0].decode(), body

    def close(self):
        LIBRARY.SSL_shutdown(self.ssl)
        LIBRARY.SSL_free(self.ssl)
        self.socket.close()


def serve(certificate, key):
    served = context()
    assert LIBRARY.SSL_CTX_use_certificate_file(served, certificate.encode(), PEM) == 1
    assert LIBRARY.SSL_CTX_use_PrivateKey_file(served, key.encode(), PEM) == 1
    listener = socket.create_server(("127.0.0.1", 0))
    print("listening", listener.getsockname()[1], flush=True)
    while True:
        connection = Connection(served, listener.accept()[0])
        if LIBRARY.SSL_accept(connection.ssl) == 1:
            while True:
                line, body = connection.message()
                if line is None:
                    break
                path = line.split()[1]
                if path == "/sleep":
                    time.sleep(0.06)
                status = path.rsplit("/", 1)[1] if path.startswith("/status/") else "200"
                body = body or b"hello"
                connection.write(b"HTTP/1.1 %s Said\r\nContent-Length: %d\r\n\r\n" % (status.encode(), len(body)) + body)
        connection.close()


def call():
    called, connection = context(), None
    print("ready", flush=True)
    for line in sys.stdin:
        count, method, url = line.split()
        url = urlsplit(url)
        if connection is None:
            connection = Connection(called, socket.create_connection((url.hostname, url.port)))
            assert LIBRARY.SSL_connect(connection.ssl) == 1
        body = "12345" if method == "POST" else ""
        for _ in range(int(count)):
            head = f"{method} {url.path} HTTP/1.1\r\nHost: {url.netloc}\r\nContent-Length: {len(body)}\r\n\r\n"
            connection.write((head + body).encode())
            status = connection.message()[0].split()[1]
        print("done", status, flush=True)


if sys.argv[2] == "serve":
    serve(*sys.argv[3:])
else:
    call()
