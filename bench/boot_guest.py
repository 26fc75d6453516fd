#!/usr/bin/env python3
"""Starts the same kernel and initrd under our VMM, QEMU's microvm and QEMU's q35, in turn, and measures for each

    time_to_init_s    from exec of the VMM to the first line of the guest's init
    vmm_private_kib   the VMM's own memory that nobody shares, while the guest waits: anonymous pages of all mappings but guest RAM

QEMU runs as its documentation advises for a fast start: no default devices, no option ROMs, kvmclock, and -cpu host.
BOOT_RUNS sets the number of runs (5), after one warm-up of each that brings all files into the page cache.
"""
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))
from report import REPOSITORY, Report  # noqa: E402

GUEST_MIB = 512
TIMEOUT_S = 120


def commands(kernel, initrd):
    common = ["-m", str(GUEST_MIB), "-smp", "1", "-no-reboot", "-kernel", kernel, "-initrd", initrd,
              "-append", "console=ttyS0 quiet", "-serial", "stdio"]
    qemu = ["qemu-system-x86_64", "-accel", "kvm", "-cpu", "host", "-nodefaults", "-no-user-config", "-display", "none"]
    return {
        "ours": [str(REPOSITORY / "build/pagoda-vmm"), *common],
        "qemu-microvm": [*qemu, "-M", "microvm,x-option-roms=off,pit=off,pic=off,rtc=off,isa-serial=on", *common],
        "qemu-q35": [*qemu, "-M", "q35", *common],
    }


def private_kib(pid):
    """Anonymous memory of the process, without the mapping that holds guest RAM: the one that is at least as large as that."""
    total, size = 0, 0
    for line in pathlib.Path(f"/proc/{pid}/smaps").read_text(encoding="ascii").splitlines():
        if match := re.match(r"Size: +(\d+) kB", line):
            size = int(match[1])
        elif (match := re.match(r"Anonymous: +(\d+) kB", line)) and size < GUEST_MIB * 1024:
            total += int(match[1])
    return total


def run(command):
    """One guest: returns seconds to its init, and KiB once it says that it is ready."""
    start = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as vmm:
        seconds, output = None, b""
        try:
            for line in vmm.stdout:
                output += line
                if b"guest: init" in line:
                    seconds = time.monotonic() - start
                elif b"guest: waits" in line:
                    return seconds, private_kib(vmm.pid)
                if time.monotonic() - start > TIMEOUT_S:
                    break
        finally:
            vmm.kill()
    raise SystemExit(f"boot: {' '.join(command)}: no guest after {time.monotonic() - start:.0f} s; it said:\n"
                     + output.decode(errors="replace"))


def waiting_initrd(directory, initrd):
    """The rig's initrd with a script behind it that only waits."""
    (directory / "scenario.sh").write_text("echo guest: waits\nsleep 1000\n", encoding="ascii")
    archive = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet"], input=b"scenario.sh\n", cwd=directory, check=True,
                             stdout=subprocess.PIPE).stdout
    whole = directory / "initrd"
    whole.write_bytes(pathlib.Path(initrd).read_bytes() + archive)
    return str(whole)


def main():
    images = pathlib.Path(os.environ["RIG_IMAGES"]) / "6.12"
    runs = int(os.environ.get("BOOT_RUNS", "5"))
    with tempfile.TemporaryDirectory() as name:
        vmms = commands(str(images / "vmlinuz"), waiting_initrd(pathlib.Path(name), images / "initrd"))
        seconds, kib = {vmm: [] for vmm in vmms}, {vmm: [] for vmm in vmms}
        for i in range(runs + 1):
            for vmm, command in vmms.items():
                s, k = run(command)
                print(f"boot: run {i} of {runs}: {vmm} {s:.2f} s, {k} KiB", file=sys.stderr, flush=True)
                if i:
                    seconds[vmm].append(s)
                    kib[vmm].append(k)
    report = Report("boot")
    for peer in ("qemu-microvm", "qemu-q35"):
        report.add("time_to_init_s", "s", seconds["ours"], peer, seconds[peer])
        report.add("vmm_private_kib", "KiB", kib["ours"], peer, kib[peer])


if __name__ == "__main__":
    main()
