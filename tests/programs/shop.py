"""Services of a shop whose answers are known: shop.py serve [BACKEND_PORT], which prints `listening PORT`.

/ok 200, /fail 500, /slow 200 after 0.3 s, anything else 404; with a backend it is asked first for the same path, and what it
answers beyond 499 becomes 502.
"""

import http.client
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

BACKEND = int(sys.argv[2]) if len(sys.argv) > 2 else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        status = {"/ok": 200, "/fail": 500, "/slow": 200}.get(self.path, 404)
        if BACKEND:
            connection = http.client.HTTPConnection("127.0.0.1", BACKEND, timeout=10)
            connection.request("GET", self.path)
            answer = connection.getresponse()
            answer.read()
            connection.close()
            status = 502 if answer.status > 499 else answer.status
        elif self.path == "/slow":
            time.sleep(0.3)
        self.send_response(status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_args):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("listening", server.server_address[1], flush=True)
server.serve_forever()
