"""A guest's disk: IOPS of 4 KiB requests, MB/s of 1 MiB requests, and the median time of one read; ours beside QEMU's virtio-blk-pci,
with its I/O in the main loop (its default) and in an I/O thread.

All guests are booted first and stay up, idle, each on an image of its own (raw, on tmpfs, cache=none); then rounds take one figure
after the other, of each guest in turn, so that what slows the machine down slows all of them.

  BLK_ROUNDS (9)     rounds
  BLK_MS (500)       for each figure
  BLK_PEERS          peers, "qemu qemu-iothread"; also qemu-threads
"""
import os
import pathlib
import re
import select
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parent / "lib"))
from initrd import cpio  # noqa: E402
from report import REPOSITORY, Report  # noqa: E402

BLKLOAD = REPOSITORY / "build/bench/guest/blkload"
IMAGES = pathlib.Path(os.environ["RIG_IMAGES"])
IMAGE_MIB = 64
MS = int(os.environ.get("BLK_MS", "500"))
QEMU = ["qemu-system-x86_64", "-M", "q35", "-accel", "kvm", "-cpu", "host", "-global", "kvm-apic.vapic=off", "-nodefaults",
        "-no-user-config", "-display", "none"]
# command, what -drive gets beside cache=none, what -device gets
COMMANDS = {
    "ours": ([str(REPOSITORY / "build/pagoda-vmm")], "", ""),
    "qemu": (QEMU, ",aio=io_uring", ""),
    "qemu-iothread": (QEMU + ["-object", "iothread,id=t"], ",aio=io_uring", ",iothread=t"),
    "qemu-threads": (QEMU, ",aio=threads", ""),
}
# metric, unit, which of blkload's figures, its arguments, what tells lines of one metric apart
FIGURES = [
    ("read_iops", "1/s", "iops", "read random 4096 32", {"depth": 32}),
    ("write_iops", "1/s", "iops", "write random 4096 32", {"depth": 32}),
    ("read_iops", "1/s", "iops", "read random 4096 1", {"depth": 1}),
    ("write_iops", "1/s", "iops", "write random 4096 1", {"depth": 1}),
    ("read_mbs", "MB/s", "mbs", "read sequential 1048576 4", {}),
    ("write_mbs", "MB/s", "mbs", "write sequential 1048576 4", {}),
]
LATENCY_OF = "read random 4096 1"


SCRIPT = b"""stty -echo 2>/dev/null
say listens
while read -r arguments; do
	[ "$arguments" = quit ] && break
	/blkload /dev/vda $arguments
done
"""


class Guest:
    """A booted guest that runs blkload when its serial console says so."""

    def __init__(self, work, name):
        self.name = name
        self.samples = {figure[3]: [] for figure in FIGURES}
        self.latencies = []
        self.text = b""
        image = work / f"{name}.img"
        # Filled, so that no figure pays for the first touch of a page.
        image.write_bytes(b"\0" * (IMAGE_MIB << 20))
        initrd = work / "initrd"
        if not initrd.exists():
            initrd.write_bytes((IMAGES / "6.12/initrd").read_bytes()
                               + cpio([("blkload", 0o100755, BLKLOAD.read_bytes()), ("scenario.sh", 0o100644, SCRIPT)]))
        command, drive, device = COMMANDS[name]
        self.vmm = subprocess.Popen(
            [*command, "-m", "192M", "-smp", "1", "-kernel", IMAGES / "6.12/vmlinuz", "-initrd", initrd,
             "-append", "console=ttyS0 quiet panic=-1", "-drive", f"file={image},if=none,id=d,format=raw,cache=none{drive}",
             "-device", f"virtio-blk-pci,drive=d{device}", "-serial", "stdio"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def wait(self, pattern, seconds):
        """Reads the console until pattern comes, and returns the match."""
        end = time.monotonic() + seconds
        while not (match := re.search(pattern, self.text)):
            ready, _, _ = select.select([self.vmm.stdout], [], [], max(0, end - time.monotonic()))
            more = os.read(self.vmm.stdout.fileno(), 65536) if ready else b""
            if not more:
                sys.exit(f"bench: {self.name} said no {pattern}; its console: {self.text[-500:]}")
            self.text += more
        self.text = self.text[match.end():]
        return match

    def send(self, line):
        self.vmm.stdin.write(line.encode() + b"\n")
        self.vmm.stdin.flush()

    def measure(self, arguments, key):
        self.send(f"{arguments} {MS}")
        match = self.wait(rb"iops=([\d.]+) mbs=([\d.]+) mean_us=[\d.]+ median_us=([\d.]+)\r?\n", 60 + MS / 100)
        value = float(match[1 if key == "iops" else 2])
        self.samples[arguments].append(value)
        if arguments == LATENCY_OF:
            self.latencies.append(float(match[3]))
        print(f"{self.name} {arguments}: {value}", file=sys.stderr)

    def end(self):
        self.send("quit")
        try:
            self.vmm.wait(20)
        except subprocess.TimeoutExpired:
            self.vmm.kill()


def main():
    peers = os.environ.get("BLK_PEERS", "qemu qemu-iothread").split()
    rounds = int(os.environ.get("BLK_ROUNDS", "9"))
    report = Report("blk")
    with tempfile.TemporaryDirectory() as work:
        guests = []
        for name in ["ours", *peers]:
            guests.append(Guest(pathlib.Path(work), name))
            guests[-1].wait(rb"guest: listens", 120)
        for _ in range(rounds):
            for _, _, key, arguments, _ in FIGURES:
                for guest in guests:
                    guest.measure(arguments, key)
        for guest in guests:
            guest.end()
    ours = guests[0]
    for peer in guests[1:]:
        for metric, unit, _, arguments, more in FIGURES:
            report.add(metric, unit, ours.samples[arguments], peer.name, peer.samples[arguments], **more)
        report.add("latency_us", "us", ours.latencies, peer.name, peer.latencies, depth=1)


main()
