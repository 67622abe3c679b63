"""An HTTP/1.1 server, a thread per connection, whose paths answer in all the ways that HTTP/1 knows."""

import json
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", close=False, length=True):
        self.send_response(status)
        if length:
            self.send_header("Content-Length", str(len(body)))
        if close:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        began = time.monotonic_ns()
        url = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path == "/sleep":
            time.sleep(int(query["ms"]) / 1000)
            self.answer(200, json.dumps({"ns": time.monotonic_ns() - began}).encode())
        elif url.path == "/hold":
            print("holding", flush=True)
            sys.stdin.readline()
            self.answer(200, b"held")
        elif url.path == "/chunked":
            self.send_response(200)
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for size in (1, 10, 1000, 100_000):
                self.wfile.write(b"%x;extension=1\r\n" % size + b"c" * size + b"\r\n")
            self.wfile.write(b"0\r\nTrailer: 1\r\n\r\n")
        elif url.path == "/big":
            self.answer(200, b"b" * int(query["bytes"]))
        elif url.path.startswith("/status/"):
            status = int(url.path.rsplit("/", 1)[1])
            self.answer(status, b"" if status in (204, 304) else b"status", length=status not in (204, 304))
        elif url.path == "/until-close":
            self.answer(200, b"u" * 3000, close=True, length=False)
        elif url.path == "/hints":
            self.send_response_only(103)
            self.send_header("Link", "</style.css>; rel=preload")
            self.end_headers()
            self.answer(200, b"hinted")
        else:
            self.answer(200, b"hello")

    def do_HEAD(self):
        self.send_response(200)
        self.send_header("Content-Length", "12345")
        self.end_headers()

    def do_POST(self):
        if self.headers.get("Transfer-Encoding") == "chunked":
            body = b""
            while size := int(self.rfile.readline().split(b";")[0], 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            while self.rfile.readline().strip():
                pass
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/echo":
            self.answer(200, body)
        else:
            self.answer(201, str(len(body)).encode())

    do_PUT = do_POST
    do_DELETE = do_GET


class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True


server = Server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 0), Handler)
print("listening", server.server_port, flush=True)
server.serve_forever()
