"""A small shop for `cargo xtask demo`: plain programs that know nothing of tracing.

shop.py catalog PORT | payment PORT | storefront PORT CATALOG PAYMENT | visitor STOREFRONT
"""

import http.client
import json
import random
import signal
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ITEMS = ["tea", "kettle", "cup", "spoon", "biscuits"]


def ask(port, method, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request(method, path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read() or b"null")
    finally:
        connection.close()


def catalog(_method, path, _backends):
    time.sleep(random.uniform(0.001, 0.004))
    if path == "/items":
        return 200, ITEMS
    number = path.removeprefix("/items/")
    if number.isdigit() and int(number) < len(ITEMS):
        return 200, {"id": int(number), "name": ITEMS[int(number)]}
    return 404, {"error": "no such item"}


def payment(method, _path, _backends):
    if method != "POST":
        return 405, None
    time.sleep(random.uniform(0.005, 0.03))
    return (503, {"error": "the bank is closed"}) if random.random() < 0.05 else (201, {"paid": True})


def storefront(method, path, backends):
    catalog_port, payment_port = backends
    if method == "GET":
        return ask(catalog_port, "GET", path)
    number = path.removeprefix("/orders/")
    status, item = ask(catalog_port, "GET", f"/items/{number}")
    if status != 200:
        return status, item
    status, paid = ask(payment_port, "POST", "/payments")
    return (201, {"ordered": item["name"]}) if status == 201 else (502, paid)


def serve(service, port, backends):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self):
            status, value = service(self.command, self.path, backends)
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = answer

        def log_message(self, *_args):
            pass

    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


def visit(port):
    while True:
        number = random.choices(range(len(ITEMS) + 1), weights=[6, 5, 4, 3, 2, 1])[0]
        method, path = random.choice([("GET", "/items"), ("GET", f"/items/{number}"), ("POST", f"/orders/{number}")])
        try:
            ask(port, method, path)
        except OSError:
            pass
        time.sleep(random.uniform(0.05, 0.3))


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C ends the demo without a word from each of us
    role, port, *others = sys.argv[1], *map(int, sys.argv[2:])
    if role == "visitor":
        visit(port)
    else:
        serve({"catalog": catalog, "payment": payment, "storefront": storefront}[role], port, others)
