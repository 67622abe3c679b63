"""A queue of jobs with a protocol of its own: `put LENGTH`, then the job, then `reserve` gives it back."""

import socketserver


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        job = b""
        while line := self.rfile.readline():
            words = line.split()
            if words[0] == b"put":
                self.wfile.write(b"GO ON\r\n")
                job = self.rfile.read(int(words[1]))
                self.wfile.write(b"INSERTED\r\n")
            else:
                self.wfile.write(job)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server(("127.0.0.1", 0), Handler) as server:
    print("listening", server.server_address[1], flush=True)
    server.serve_forever()
