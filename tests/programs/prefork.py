"""A server that forks its workers, which share one listening socket. Answers with the worker's pid. Lines of standard
input: `fork N` adds workers, `retire` ends those that there are."""

import os
import signal
import socket
import sys

listener = socket.create_server(("127.0.0.1", 0), backlog=128)
workers = []


def serve():
    while True:
        connection, _ = listener.accept()
        with connection:
            while request := connection.recv(4096):
                body = str(os.getpid()).encode()
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


def fork(count):
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            serve()
        workers.append(pid)


fork(int(sys.argv[1]))
print("listening", listener.getsockname()[1], flush=True)
for line in sys.stdin:
    words = line.split()
    if words[0] == "fork":
        fork(int(words[1]))
    else:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        workers.clear()
    print("done", flush=True)
