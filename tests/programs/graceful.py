"""A server that, told to stop, answers one more request and ends with a status of its own; or takes no notice."""

import signal
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer


class Handler(BaseHTTPRequestHandler):
    def log_message(self, *_):
        pass

    def do_GET(self):
        # What came before the signal is not the one more, however late it is done with.
        last.extend(told)
        self.send_response(204)
        self.end_headers()


server = HTTPServer(("127.0.0.1", 0), Handler)
told = []
last = []


def stop(number, _):
    told.append(number)
    print("told", signal.Signals(number).name, flush=True)


for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, stop)
print("listening", server.server_port, flush=True)
if sys.argv[1:] == ["stubborn"]:
    while True:
        signal.pause()
while not last:
    server.handle_request()
sys.exit(40 + told[0])
