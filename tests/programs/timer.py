"""A service on asyncio that takes a tenth of a second to answer. A timer of its own asks a back end (its port is the argument) once, when a
request happens to be open: not for that."""

import asyncio
import socket
import sys

back_end = int(sys.argv[1])
loop = asyncio.new_event_loop()
open_requests = 0


class Service(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        global open_requests
        open_requests += 1
        loop.call_later(0.1, self.answer)

    def answer(self):
        global open_requests
        open_requests -= 1
        self.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


def tick():
    if not open_requests:
        loop.call_later(0.001, tick)
        return
    with socket.create_connection(("127.0.0.1", back_end)) as client:
        client.sendall(b"GET /tick HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        while client.recv(4096):
            pass


server = loop.run_until_complete(loop.create_server(Service, "127.0.0.1", 0))
print("listening", server.sockets[0].getsockname()[1], flush=True)
loop.call_soon(tick)
loop.run_forever()
