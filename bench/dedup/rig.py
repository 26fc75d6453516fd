"""Debian guests that install packages, and verify them, while their pages are merged: by Pagoda, and by KSM. In the rig (dedup-rig.sh).

All are booted while nobody merges. Then they install and verify, all at once, while merging may take PERCENT of the one CPU that there is; what is there then is
merged at full speed until no more is found, and everybody is stopped and weighed.

net_saving_mib              pages with content, less all that the guests take: frames of anonymous memory (zeros that nobody dropped, too), the pool, and what the kernel and
                            both ends of ours keep more than before merging began
net_saving_of_oracle        the same, by what one copy of each content would save
memory_taken_mib            what is subtracted there
cpu_s                       of the scanners and pagodad, of ksmd: from the start of merging until it has settled
install_s                   until the last guest has verified its packages
settle_s                    from then until no more is found
pages_per_mapping           ours: pages that map slots, by mappings that they need. KSM makes none.
within, across, saved, divergence: the map of all guests together, MiB; the whole map is on standard error
DEDUP_GUESTS (8), DEDUP_MIB (160, of each), DEDUP_PERCENT (24), DEDUP_SIDES (ours,ksm)
"""
import os
import pathlib
import re
import select
import struct
import subprocess
import sys
import time

import guests as sides
import ksm
import oracle
import vm
from initrd import cpio
from runner import Report
from vm import PAGE

GUESTS, MIB, PERCENT = (int(os.environ.get(f"DEDUP_{name}", otherwise)) for name, otherwise in (("GUESTS", 8), ("MIB", 160), ("PERCENT", 24)))
IMAGES = pathlib.Path(os.environ.get("RIG_IMAGES", "/images"))
KPAGEFLAGS, KPF_ZERO_PAGE = os.open("/proc/kpageflags", os.O_RDONLY), 24
BOOT_SECONDS, INSTALL_SECONDS, SETTLE_SECONDS, CALM_SECONDS = 400, 900, 240, 15

# What the guest's first process runs, and what the Debian system on its disk then does; a line on the console starts that.
SCRIPT = r"""load ext4
must mount -t ext4 -o rw /dev/vda /root
must mount -t ext4 -o ro /dev/vdb /root/mnt
for dir in dev proc sys; do must mount --move /$dir /root/$dir; done
must mount -t tmpfs none /root/tmp
stty -echo 2>/dev/null
say booted
read -r go
cat >/root/tmp/run <<'RUN'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive LC_ALL=C
dpkg --force-depends,unsafe-io --install /mnt/*.deb >/tmp/log 2>&1 || echo "guest: FAILED: $(grep -m 1 -i error /tmp/log)"
sync
# Everything that the system has, as backups and virus scanners do it: now it lies in memory.
find /usr/bin /usr/sbin /usr/lib -xdev -type f | sort | xargs cat >/dev/null
differs=$(dpkg --verify 2>&1 | head -n 3)
[[ -z $differs ]] || echo "guest: FAILED: $differs"
echo "guest: verified"
RUN
chroot /root /bin/bash /tmp/run
read -r go
"""


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def is_zero_page(frame):
    """Whether that is the kernel's own page of zeros, small or huge, which nobody pays for."""
    return struct.unpack("<Q", os.pread(KPAGEFLAGS, 8, frame * 8))[0] >> KPF_ZERO_PAGE & 1


class Debian:
    """A booted Debian system on a disk of its own. Looks like vm.Guest to those who merge."""

    gpa = 0

    def __init__(self, directory, i, options):
        self.name, self.text = f"g{i}", b""
        disk, initrd = f"{directory}/{self.name}.img", pathlib.Path(directory, "initrd")
        subprocess.run(["cp", "--sparse=always", IMAGES / "debian.ext4", disk], check=True)
        if not initrd.exists():
            initrd.write_bytes((IMAGES / "6.12/initrd").read_bytes() + cpio([("scenario.sh", 0o100644, SCRIPT.encode())]))
        self.vmm = subprocess.Popen(
            [vm.VMM, "-m", f"{MIB}M", "-smp", "1", "-kernel", IMAGES / "6.12/vmlinuz", "-initrd", initrd, "-append", "console=ttyS0 quiet panic=-1",
             "-drive", f"file={disk},if=virtio,format=raw,cache=none", "-drive", f"file={IMAGES}/debs.ext4,if=virtio,format=raw,readonly=on",
             "-serial", "stdio", "-qmp", f"unix:{directory}/{self.name}.qmp,server=on,wait=off", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.qmp = vm.Qmp(f"{directory}/{self.name}.qmp")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.vmm.kill()
        self.vmm.wait()

    def hears(self, pattern):
        """Whether the console has said that."""
        while select.select([self.vmm.stdout], [], [], 0)[0]:
            more = os.read(self.vmm.stdout.fileno(), 65536)
            if not more:
                sys.exit(f"dedup-rig: {self.name} has ended; its console: {self.text[-500:]}")
            self.text += more
        if b"guest: FAILED" in self.text or b"Out of memory" in self.text:
            sys.exit(f"dedup-rig: {self.name}: {self.text[-1000:].decode(errors='replace')}")
        return re.search(pattern, self.text)

    def go(self):
        self.vmm.stdin.write(b"go\n")
        self.vmm.stdin.flush()


class Installing:
    """What both sides have in common, in front of a side of guests.py."""

    def guest(self, i):
        guest = Debian(self.directory, i, self.options_of(i))
        say(f"{self.name}: guest {i} starts")
        return guest

    def options_of(self, _):
        return self.options

    def wait_all(self, pattern, seconds):
        """Until all consoles have said it. Returns seconds."""
        start, told = time.monotonic(), -1
        while True:
            self.tick()
            heard = sum(bool(guest.hears(pattern)) for guest in self.guests)
            if heard != told:
                say(f"{self.name}: {heard} of {self.nr} guests: {pattern.decode()}, after {time.monotonic() - start:.0f} s")
                told = heard
            if heard == self.nr:
                return time.monotonic() - start
            if time.monotonic() - start > seconds:
                sys.exit(f"dedup-rig: {self.name}: only {heard} guests have said '{pattern.decode()}' after {seconds} s")
            time.sleep(0.2)

    def settle(self):
        """At full speed until no more is saved. Returns seconds, without those in which nothing came."""
        self.start(None)
        start = since = time.monotonic()
        best = self.found()
        while time.monotonic() - since < CALM_SECONDS and time.monotonic() - start < SETTLE_SECONDS:
            time.sleep(1)
            now = self.found()
            if now > best + self.nr * self.pages // 1000:
                best, since = now, time.monotonic()
        return since - start

    def weigh(self):
        """Stops all guests. Returns pages that have content, contents, and frames that the guests' anonymous memory takes."""
        nr, contents, frames, zero = 0, set(), set(), bytes(PAGE)
        self.rest()
        for guest in self.guests:
            guest.qmp.call("stop")
        time.sleep(1)
        for guest in self.guests:
            with open(f"/proc/{guest.vmm.pid}/mem", "rb", buffering=0) as file:
                for start, end, of_pool in self.memory_of(guest.vmm.pid):
                    for page, entry in enumerate(oracle.pagemap(guest.vmm.pid, start, (end - start) // PAGE)):
                        # A slot is in the page tables only when it was touched after it was mapped.
                        if not (entry & oracle.PRESENT or of_pool):
                            continue
                        content = os.pread(file.fileno(), PAGE, start + page * PAGE)
                        if content != zero:
                            nr += 1
                            contents.add(hash(content))
                        is_own = entry & oracle.PRESENT and not entry & oracle.FILE
                        if is_own and not (content == zero and is_zero_page(entry & oracle.FRAME)):
                            frames.add(entry & oracle.FRAME)
            say(f"{self.name}: {guest.name} weighed: {nr} pages with content until now, {len(contents)} contents, {len(frames)} frames")
        return nr, len(contents), len(frames)

    @staticmethod
    def memory_of(pid):
        """Where guest RAM lies: the mapping of its size, or what has become of it: mappings that follow each other without a gap, each with whether it is the pool's."""
        groups = []
        for line in pathlib.Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
            words = line.split()
            start, end = (int(x, 16) for x in words[0].split("-"))
            if words[1] != "rw-p" or (len(words) > 5 and "memfd" not in words[5]):
                continue
            if not groups or groups[-1][-1][1] != start:
                groups.append([])
            groups[-1].append((start, end, len(words) > 5))
        return [mapping for group in groups if group[-1][1] - group[0][0] >= MIB << 20 for mapping in group]

    def mappings(self):
        """Of the pool, in all guests."""
        return sum(sum("memfd:" in line and "rw-p" in line for line in pathlib.Path(f"/proc/{guest.vmm.pid}/maps").read_text(encoding="utf-8").splitlines())
                   for guest in self.guests)

    def measure(self):
        self.wait_all(rb"guest: booted", BOOT_SECONDS)
        before, cpu = self.overhead(), self.cpu_ns()
        self.start(PERCENT)
        for guest in self.guests:
            guest.go()
        figures = {"install_s": self.wait_all(rb"guest: verified", INSTALL_SECONDS)}
        figures["settle_s"] = self.settle()
        figures["cpu_s"] = (self.cpu_ns() - cpu) / 1e9
        say(f"{self.name}: settled after {figures['settle_s']:.0f} s, {self.found()} pages merged")
        figures |= self.more()
        after = self.overhead()
        kept = {name: after[name] - before[name] for name in after}
        nr, contents, frames = self.weigh()
        taken = (frames + self.pool_pages()) * PAGE + sum(kept.values())
        say(f"{self.name}: {nr} pages with content, {contents} contents, {frames} frames, {self.pool_pages()} slots; kept beside: {kept}")
        return figures | {"memory_taken_mib": taken / 2**20, "net_saving_mib": (nr * PAGE - taken) / 2**20, "content_mib": nr * PAGE / 2**20,
                          "net_saving_of_oracle": (nr * PAGE - taken) / PAGE / (nr - contents)}

    def more(self):
        return {}

    def rest(self):
        """Nothing is merged any more; what is stays so."""
        self.ksm.rest()

    def pool_pages(self):
        return 0


class Ours(Installing, sides.OurSide):
    def rest(self):
        for guest in self.guests:
            guest.qmp.call("set-dedup", {"cpu": 0})

    def options_of(self, i):
        return ["-dedup", f"socket={self.daemon.socket},domain=rig,guest=g{i},cpu=0,pass=1000,huge=on"]

    def pool_pages(self):
        return self.daemon.status()["pages_shared"]

    def found(self):
        return self.stats("pages_sharing")

    def more(self):
        sums, everybody = self.sums(), self.daemon.sharing([c["client"] for c in self.daemon.clients()])
        for line in self.daemon.map():
            print(line, file=sys.stderr, flush=True)
        say(f"scanners: {sums}")
        return {"pages_per_mapping": sums["pages_sharing"] / max(1, self.mappings())} | {
            f"{name}_mib": everybody[name] / 256 for name in ("within", "across", "saved", "divergence")}


class Ksm(Installing, sides.KsmSide):
    def found(self):
        return ksm.get("pages_sharing") + ksm.get("pages_shared") + ksm.get("ksm_zero_pages")


UNITS = {"net_saving_mib": "MiB", "net_saving_of_oracle": "", "memory_taken_mib": "MiB", "content_mib": "MiB", "cpu_s": "s", "install_s": "s", "settle_s": "s"}
OF_OURS = {"pages_per_mapping": "pages", "within_mib": "MiB", "across_mib": "MiB", "saved_mib": "MiB", "divergence_mib": "MiB"}


def main():
    report, figures = Report("dedup-rig"), {}
    for which in os.environ.get("DEDUP_SIDES", "ours,ksm").split(","):
        with {"ours": Ours, "ksm": Ksm}[which](GUESTS, MIB) as side:
            figures[which] = side.measure()
        say(f"{which}: {' '.join(f'{name}={value:.5g}' for name, value in figures[which].items())}")
    more = {"guests": GUESTS, "mib": MIB, "percent": PERCENT}
    for metric, unit in UNITS.items():
        if "ours" in figures:
            report.add(metric, unit, [figures["ours"][metric]], "KSM", [figures["ksm"][metric]] if "ksm" in figures else None, **more)
    for metric, unit in OF_OURS.items():
        if "ours" in figures:
            report.add(metric, unit, [figures["ours"][metric]], **more)


main()
