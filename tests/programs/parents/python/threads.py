"""A thread (or, with the argument `fork`, a process) per connection: the standard library's server and client. With
`executor` the calls are made by the threads of an executor, to which the thread that answers hands them; with `tls` they go over TLS."""

import concurrent.futures
import http.server
import socketserver
import sys

from calls import LISTEN, Ask, Pool, forgotten, in_the_background, on_threads

kind = sys.argv[1] if len(sys.argv) > 1 else "threads"
pool = Pool(over_tls=kind == "tls")
executor = concurrent.futures.ThreadPoolExecutor(8) if kind == "executor" else None


def call(port, target, headers):
    if executor:
        executor.submit(pool.call, port, target, headers).result()
    else:
        pool.call(port, target, headers)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1

    def log_message(self, *_):
        pass

    def do_GET(self):
        on_threads(Ask(self.path, self.headers.get("traceparent")), call)
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")


class Forks(socketserver.ForkingMixIn, http.server.HTTPServer):
    max_children = 600
    request_queue_size = 1024

    def finish_request(self, request, client_address):
        super().finish_request(request, client_address)
        # The process ends with its connection, and its threads with it.
        for thread in forgotten:
            thread.join()


class Threads(http.server.ThreadingHTTPServer):
    request_queue_size = 1024


server = (Forks if kind == "fork" else Threads)(("127.0.0.1", LISTEN), Handler)
in_the_background(call)
print("listening", server.server_port, flush=True)
server.serve_forever()
