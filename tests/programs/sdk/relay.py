"""A service without an SDK; hands what it is asked on to the next one, if it is given its port, with the context that came."""

import http.client
import http.server
import sys

next_one = int(sys.argv[1]) if len(sys.argv) > 1 else None


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if next_one:
            connection = http.client.HTTPConnection("127.0.0.1", next_one)
            context = self.headers.get("traceparent")
            connection.request("GET", self.path, headers={"traceparent": context} if context else {})
            connection.getresponse().read()
            connection.close()
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print("listening", server.server_port, flush=True)
server.serve_forever()
