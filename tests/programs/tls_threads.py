"""An HTTPS server, a thread per connection, on sockets that block. What a path begins with says what is answered.

Started in a folder with cert.pem and key.pem."""

import http.server
import ssl


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"x" * (300_000 if self.path.startswith("/big/") else 5)
        self.send_response(404 if self.path.startswith("/no/") else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print("listening", server.server_port, flush=True)
server.serve_forever()
