"""A client and its server over a wire with a delay, which loses what asks for it. Says what it knows of each request.

To be started in a network namespace of its own, in a folder with `cert.pem` and `key.pem`; begins once it is told to.
"""

import fcntl
import heapq
import os
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time

DELAY = 0.04
HERE, THERE, PORT = "10.99.0.1", "10.99.0.2", 8080


def wire():
    """Gives each packet back as if it came from the other end: what is sent there arrives here. Addresses that change places
    leave TCP's checksum as it is."""
    TUNSETIFF, TUN, WITHOUT_HEADER = 0x400454CA, 1, 0x1000
    tun = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tun, TUNSETIFF, struct.pack("16sH14x", b"wire0", TUN | WITHOUT_HEADER))
    for command in ("link set lo up", f"address add {HERE}/24 dev wire0", "link set wire0 up"):
        subprocess.run(["ip", *command.split()], check=True)
    if os.fork():
        os.close(tun)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    due, number, parent, lost = [], 0, os.getppid(), set()
    while os.getppid() == parent:
        patience = max(due[0][0] - time.monotonic(), 0) if due else 1
        if select.select([tun], [], [], patience)[0]:
            packet = os.read(tun, 65536)
            number += 1
            is_lost = b"/lost" in packet and b"GET" in packet and packet[24:28] not in lost
            if is_lost:
                lost.add(packet[24:28])
            else:
                packet = packet[:12] + packet[16:20] + packet[12:16] + packet[20:]
                heapq.heappush(due, (time.monotonic() + DELAY, number, packet))
        while due and due[0][0] <= time.monotonic():
            os.write(tun, heapq.heappop(due)[2])
    os._exit(0)


def serve(listener, pauses, wrap):
    connection, _ = listener.accept()
    connection = wrap(connection)
    for path, pause in pauses:
        select.select([connection], [], [])
        came = time.monotonic()
        time.sleep(pause)
        request = connection.recv(65536)
        assert request.startswith(f"GET {path} ".encode()), request
        print(f"waited {path} {time.monotonic() - came:.6f}", flush=True)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    connection.recv(1)


def ask(connection, path):
    connection.sendall(f"GET {path} HTTP/1.1\r\nHost: {THERE}\r\n\r\n".encode())
    answer = b""
    while not answer.endswith(b"\r\n\r\nok"):
        answer += connection.recv(65536)


def info(connection):
    """Smoothed round trip time and retransmitted segments."""
    fields = struct.unpack("8B24I", connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104))
    return fields[8 + 15] / 1e6, fields[8 + 23]


def connect():
    began = time.monotonic()
    connection = socket.create_connection((THERE, PORT))
    return connection, time.monotonic() - began


wire()
listener = socket.create_server((HERE, PORT))
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
trusting = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
trusting.check_hostname, trusting.verify_mode = False, ssl.CERT_NONE
print("ready", flush=True)
sys.stdin.readline()

steps = [("/first", 0.1), ("/later", 0.3), ("/soon", 0.03), ("/lost", 0.0), ("/last", 0.0)]
thread = threading.Thread(target=serve, args=(listener, steps, lambda connection: connection))
thread.start()
connection, took = connect()
print(f"connected /first {took:.6f}", flush=True)
for path, _ in steps:
    before = info(connection)
    ask(connection, path)
    after = info(connection)
    print(f"retransmitted {path} {after[1] - before[1]}", flush=True)
    print(f"round {path} {after[0]:.6f}", flush=True)
connection.close()
thread.join()

steps = [("/secret", 0.0), ("/secret/again", 0.0)]
thread = threading.Thread(target=serve, args=(listener, steps, lambda it: context.wrap_socket(it, server_side=True)))
thread.start()
connection, took = connect()
print(f"connected /secret {took:.6f}", flush=True)
began = time.monotonic()
connection = trusting.wrap_socket(connection)
print(f"shaken /secret {time.monotonic() - began:.6f}", flush=True)
for path, _ in steps:
    ask(connection, path)
connection.close()
thread.join()
print("done", flush=True)
sys.stdin.readline()
