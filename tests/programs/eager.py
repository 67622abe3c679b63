"""An HTTP/1.1 server over plain sockets that reads as much as it can, and answers a request when its head is there, before its
body. A path says the status. Arguments: `tcp`, `mptcp` or the path of a unix socket; with `echo` behind it, all that comes is sent
back, which is no HTTP. With `call` it also makes that many requests of its own to itself, one connection for all."""

import os
import socket
import sys
import threading

IPPROTO_MPTCP = 262


def stream(protocol):
    return socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP if protocol == "mptcp" else 0)


def serve(connection):
    buffer, body = b"", 0
    while data := connection.recv(16384 if "echo" not in sys.argv else 64):
        if "echo" in sys.argv:
            connection.sendall(data)
            continue
        buffer += data
        while buffer:
            taken = min(body, len(buffer))
            buffer, body = buffer[taken:], body - taken
            head, end, rest = buffer.partition(b"\r\n\r\n")
            if not end:
                break
            lines = head.decode().split("\r\n")
            status = lines[0].split(" ")[1].rsplit("/", 1)[-1]
            body = sum(int(line.split(":")[1]) for line in lines if line.lower().startswith("content-length:"))
            connection.sendall(f"HTTP/1.1 {status} X\r\nContent-Length: 0\r\n\r\n".encode())
            buffer = rest
    connection.close()


def accept(listener):
    while True:
        connection, _ = listener.accept()
        threading.Thread(target=serve, args=(connection,), daemon=True).start()


where = sys.argv[1]
if where in ("tcp", "mptcp"):
    listener = stream(where)
    listener.bind(("127.0.0.1", 0))
    number = listener.getsockname()[1]
else:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(where)
    number = 0
listener.listen(128)
print("listening", number, flush=True)
threading.Thread(target=accept, args=(listener,), daemon=True).start()
for line in sys.stdin:
    client = stream(where)
    client.connect(("127.0.0.1", number))
    for i in range(int(line)):
        client.sendall(f"GET /called/{i}/200 HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        assert client.recv(4096)
    client.close()
    print("called", flush=True)
os._exit(0)
