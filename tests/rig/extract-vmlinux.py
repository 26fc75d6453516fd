#!/usr/bin/env python3
"""Writes the ELF kernel that a bzImage carries compressed.

usage: extract-vmlinux.py BZIMAGE VMLINUX

The setup header says where the compressed kernel lies within the protected-mode part (payload_offset, payload_length;
Linux Documentation/arch/x86/boot.rst). Its last four bytes are the uncompressed length. Prints the compression used.
"""

import struct
import subprocess
import sys

COMPRESSIONS = [  # first bytes, name, command
    (b"\x28\xb5\x2f\xfd", "zstd", ["zstd", "-q", "-dc"]),
    (b"\xfd7zXZ\x00", "xz", ["xz", "-dc"]),
    (b"\x1f\x8b", "gzip", ["gzip", "-dc"]),
    (b"\x02\x21\x4c\x18", "lz4", ["lz4", "-q", "-dc"]),
]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], "rb") as file:
        image = file.read()
    if image[0x202:0x206] != b"HdrS":
        sys.exit(f"{sys.argv[1]}: no setup header: not a bzImage")
    setup_sectors = image[0x1F1] or 4
    offset, length = struct.unpack_from("<II", image, 0x248)
    start = (setup_sectors + 1) * 512 + offset
    payload = image[start : start + length]
    size = struct.unpack_from("<I", payload, length - 4)[0]
    for magic, name, command in COMPRESSIONS:
        if payload.startswith(magic):
            break
    else:
        sys.exit(f"{sys.argv[1]}: unknown compression {payload[:6].hex()}")
    # gzip's own trailer is that length; the others have it appended
    stream = payload if name == "gzip" else payload[:-4]
    vmlinux = subprocess.run(command, input=stream, stdout=subprocess.PIPE, check=True).stdout
    if len(vmlinux) < size or vmlinux[:4] != b"\x7fELF":
        sys.exit(f"{sys.argv[1]}: the payload is no ELF kernel of {size} bytes")
    with open(sys.argv[2], "wb") as file:
        file.write(vmlinux)
    print(name)


main()
