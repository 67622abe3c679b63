"""Both server and client: forwards each GET to the server whose address is its argument, with a token in the query."""

import sys
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        request = urllib.request.Request(sys.argv[1] + self.path + "?token=secret&page=2")
        if "traceparent" in self.headers:
            # The parent of what comes next is a span of this process's own SDK.
            request.add_header("traceparent", self.headers["traceparent"].replace("00f067aa0ba902b7", "1111111111111111"))
        try:
            with urllib.request.urlopen(request) as response:
                status, body = response.status, response.read()
        except urllib.error.HTTPError as error:
            status, body = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
server.daemon_threads = True
print("listening", server.server_port, flush=True)
server.serve_forever()
