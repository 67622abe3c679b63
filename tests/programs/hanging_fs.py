"""Serves HTTP from a root of its own, whose /etc is a file system (FUSE) that never answers. Arguments: the root, which exists, and a port."""

import ctypes
import os
import struct
import sys

root, port = sys.argv[1:]
libc = ctypes.CDLL(None, use_errno=True)
NEWNS, PRIVATE, REC = 0x20000, 1 << 18, 1 << 14


def checked(result):
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


checked(libc.unshare(NEWNS))
checked(libc.mount(b"none", b"/", None, REC | PRIVATE, None))
os.makedirs(root + "/etc")
device = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={device},rootmode=40000,user_id=0,group_id=0".encode()
checked(libc.mount(b"hanging", (root + "/etc").encode(), b"fuse", 0, options))
if os.fork() == 0:
    os.close(device)
    os.chroot(root)
    os.chdir("/")
    os.execv("/serve", ["/serve", port])
INIT = 26
while True:
    request = os.read(device, 1 << 20)
    _, operation, unique = struct.unpack_from("<IIQ", request)
    if operation == INIT:
        answer = struct.pack("<IIIIHHI", 7, 31, 65536, 0, 12, 10, 65536).ljust(64, b"\0")
        os.write(device, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
