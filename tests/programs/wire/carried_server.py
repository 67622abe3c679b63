"""Answers as the services do that are carried over HTTP, as far as their clients ask. Usage: PORT"""

import http.server
import json
import sys


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body in one write, as most servers do.
    wbufsize = -1
    disable_nagle_algorithm = True

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        path, headers = self.path.split("?")[0], self.headers
        status, fields, said = 200, {"Content-Type": "application/json"}, b"{}"
        agent = headers.get("User-Agent", "")
        if headers.get("X-Amz-Target", "").endswith("GetItem"):
            status = 400
            said = b'{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"secret"}'
        elif agent.startswith("elasticsearch-py"):
            fields = {"X-Elastic-Product": "Elasticsearch", "Content-Type": headers.get("Accept", "")}
            status = 404 if path == "/none/_search" else 200
            said = json.dumps({"hits": {"total": 0, "hits": []}, "result": "created", "items": [], "errors": False}).encode()
            if path == "/":
                said = json.dumps({"version": {"number": "8.17.0"}}).encode()
        elif path == "/rpc":
            failed = json.loads(body)["method"] == "orders.fail"
            outcome = {"error": {"code": -32602, "message": "secret"}} if failed else {"result": ["secret"]}
            said = json.dumps({"jsonrpc": "2.0", "id": 1, **outcome}).encode()
        elif path == "/" and "Authorization" not in headers:
            fields = {"X-ClickHouse-Summary": "{}", "X-ClickHouse-Query-Id": "1"}
            said = b"1\n"
        self.send_response(status)
        for name, value in fields.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(said)
        self.wfile.flush()

    do_GET = do_POST = do_PUT = do_HEAD = do_DELETE = answer

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler)
print("ready", flush=True)
server.serve_forever()
