"""A client and a server, each in a network namespace of its own, with addresses and ports translated in between, as kube-proxy does.

To be started in a network namespace of its own, where the client is; says the server's pid. Asks once it is told to, twice over one connection.
"""

import http.client
import http.server
import subprocess
import sys

SERVICE, HERE, THERE = "10.96.0.10", "10.99.0.1", "10.99.0.2"
RULES = f"""
table ip nat {{
  chain output {{ type nat hook output priority -100; ip daddr {SERVICE} tcp dport 80 dnat to {THERE}:8080; }}
  chain postrouting {{ type nat hook postrouting priority 100; tcp dport 8080 snat to {HERE}:30000-31000; }}
}}
"""


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        print("came from", self.client_address[1], flush=True)

    def log_message(self, *_):
        pass


def ip(command):
    subprocess.run(["ip", *command.split()], check=True)


def serve():
    # In a network of its own. Goes on once its end of the wire is there.
    print("here", flush=True)
    sys.stdin.readline()
    ip("link set lo up")
    ip(f"address add {THERE}/24 dev there")
    ip("link set there up")
    server = http.server.HTTPServer((THERE, 8080), Handler)
    print("serves", flush=True)
    server.serve_forever()


def main():
    server = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-u", __file__, "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout.readline() == "here\n"
        ip("link add here type veth peer name there")
        ip(f"link set there netns {server.pid}")
        print(file=server.stdin, flush=True)
        assert server.stdout.readline() == "serves\n"
        ip("link set lo up")
        ip(f"address add {HERE}/24 dev here")
        ip("link set here up")
        ip("route add 10.96.0.0/16 dev here")
        subprocess.run(["nft", "-f", "-"], input=RULES, text=True, check=True)
        print("server", server.pid, flush=True)
        sys.stdin.readline()
        connection = http.client.HTTPConnection(SERVICE, 80, timeout=30)
        for number in range(2):
            connection.request("GET", f"/{number}")
            assert connection.getresponse().read() == b""
            if number == 0:
                own = connection.sock.getsockname()[1]
            assert server.stdout.readline() != f"came from {own}\n", "the port was not translated"
        print("done", flush=True)
        sys.stdin.readline()
    finally:
        server.kill()


if sys.argv[1:] == ["serve"]:
    serve()
else:
    main()
