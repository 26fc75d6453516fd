#!/usr/bin/env python3
"""Runs a program with an open tap device.

usage: tap-exec.py NAME ADDRESS/PREFIX FD COMMAND [ARG...]

Creates the tap NAME with virtio headers, gives the host's side the address, and executes the command with the device open as
file descriptor FD.
"""

import fcntl
import os
import struct
import subprocess
import sys

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


def main():
    if len(sys.argv) < 5:
        sys.exit(__doc__)
    name, address, fd = sys.argv[1], sys.argv[2], int(sys.argv[3])
    tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI | IFF_VNET_HDR))
    subprocess.run(["ip", "addr", "add", address, "dev", name], check=True)
    subprocess.run(["ip", "link", "set", name, "up"], check=True)
    if tap != fd:
        os.dup2(tap, fd)
    os.set_inheritable(fd, True)
    os.execvp(sys.argv[4], sys.argv[4:])


main()
