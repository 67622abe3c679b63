"""Answers as a request's target says (/s/STATUS/BYTES/DELAY/SHAPE/NUMBER): HTTP/1.1 with a thread per connection, in the clear
and over TLS. `threads_server.py CERTIFICATE KEY` prints both ports."""

import ssl
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PIECE = 7000


def sizes(count, shape):
    size = count if shape == "w" else max(PIECE, -(-count // 8)) if shape == "s" else PIECE
    while count > 0:
        yield min(count, size)
        count -= size


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def read_body(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            while size := int(self.rfile.readline().split(b";")[0], 16):
                self.rfile.read(size + 2)
            self.rfile.readline()
        elif length := int(self.headers.get("Content-Length", 0)):
            self.rfile.read(length)

    def answer(self):
        self.read_body()
        _, _, status, count, delay, shape, *_ = self.path.split("/")
        status, count, delay = int(status), int(count), int(delay)
        if delay:
            time.sleep(delay / 1000)
        self.send_response(status)
        if status in (204, 304) or self.command == "HEAD" or shape == "w":
            if status not in (204, 304):
                self.send_header("Content-Length", str(count))
            self.end_headers()
            if count and self.command != "HEAD":
                self.wfile.write(b"a" * count)
            return
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for size in sizes(count, shape):
            self.wfile.write(b"%x\r\n" % size)
            self.wfile.write(b"a" * size)
            self.wfile.write(b"\r\n")
            if shape == "s":
                time.sleep(0.002)
        self.wfile.write(b"0\r\n\r\n")

    do_GET = do_POST = do_PUT = do_HEAD = answer


class Server(ThreadingHTTPServer):
    request_queue_size = 1000
    daemon_threads = True

    def handle_error(self, *_):
        pass


servers = [Server(("127.0.0.1", 0), Handler) for _ in range(2)]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(*sys.argv[1:3])
servers[1].socket = context.wrap_socket(servers[1].socket, server_side=True, do_handshake_on_connect=False)
for server in servers:
    threading.Thread(target=server.serve_forever, daemon=True).start()
print("listening", *(server.server_port for server in servers), flush=True)
sys.stdin.read()
