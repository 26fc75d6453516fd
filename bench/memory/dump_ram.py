#!/usr/bin/env python3
"""dump_ram.py PID FILE: writes the guest RAM of a running pagoda-vmm to a file, region after region as they lie in the process.

Guest RAM is what the VMM has asked huge pages for and keeps out of core dumps. Pause the guest first where a consistent state matters.
"""
import re
import sys

STEP = 1 << 20
LEAST = 16 << 20


def regions(pid):
    found, last = [], None
    with open(f"/proc/{pid}/smaps", encoding="ascii", errors="replace") as smaps:
        for line in smaps:
            if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) rw-p ", line):
                last = int(match[1], 16), int(match[2], 16)
            elif line.startswith("VmFlags:") and last and {"dd", "hg"} <= set(line.split()) and last[1] - last[0] >= LEAST:
                found.append(last)
    return found


def main():
    pid, path = sys.argv[1:]
    total = 0
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory, open(path, "wb") as out:
        for start, end in regions(pid):
            for at in range(start, end, STEP):
                memory.seek(at)
                total += out.write(memory.read(min(STEP, end - at)))
    if not total:
        sys.exit(f"dump_ram: process {pid} has no guest RAM")
    print(f"dump_ram: {total >> 20} MiB to {path}", file=sys.stderr)


main()
