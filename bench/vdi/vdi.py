"""Debian desktops from one read-only image on one host: what an idle one takes of its memory, and how long answers take while all begin to work at once. In the rig (vdi.sh).

Both sides have the same guests and may in the end take CAP MiB, all counted: guests, VMMs, daemon, shared pages, the compressed tier, and what the kernel keeps for them. A guest's service answers a
question every IDLE_S seconds, for which it verifies and rewrites 32 pages of SERVICE MiB; it keeps KEPT MiB that it does not use, and has read all of its system's libraries.

    ours     pagodad with that budget and no swap; its own compressed tier
    qemu     QEMU (q35), KSM with its advisor, zram (lz4) as swap, and a control group of that size less what zram takes

First all boot, as if there were memory for all, and lie idle for BEFORE_S seconds, in which equal pages are found: the kernel merges none that are swapped. Then they are squeezed: for SQUEEZE_S seconds they may take SQUEEZE MiB together. Then they have all of
CAP again, and lie idle until what they take has changed by less than 1 % within CALM_S seconds, or for IDLE_MOST_S. Then the storm: all get LOAD MiB to fill and work through, and
are asked every second.

mib_per_idle_guest     of the host, all that was not taken before the first of them came: free memory and page cache apart, which the kernel gives up
converge_s             from the squeeze until what they take changes no more
storm_p50_ms, storm_p99_ms   of answers, from the command to work until STORM_S seconds later
storm_fill_s           until the last guest has filled its memory; STORM_S where one has not
storm_mib              what is taken at its end, which CAP does not bound for a side that cannot do with less
VDI_GUESTS (6), VDI_MIB (160, of each), VDI_CAP (540), VDI_SQUEEZE (300), VDI_LOAD (32), VDI_SERVICE (16), VDI_KEPT (24), VDI_RUNS (1), VDI_SIDES (ours,qemu)
"""
import contextlib
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "dedup"), str(REPOSITORY / "tests/rig")]
import ksm  # noqa: E402
from kernel_swap import zram  # noqa: E402
from many_guests import Broken, Console, Host, make_initrd, percentile  # noqa: E402
from report import Report  # noqa: E402

SETTINGS = {"GUESTS": 6, "MIB": 160, "CAP": 540, "SQUEEZE": 300, "LOAD": 32, "SERVICE": 16, "KEPT": 24, "RUNS": 1}
GUESTS, GUEST_MIB, CAP, SQUEEZE, LOAD, SERVICE, KEPT, RUNS = (int(os.environ.get(f"VDI_{name}", value)) for name, value in SETTINGS.items())
IMAGES = pathlib.Path(os.environ["RIG_IMAGES"])
MIB = 1 << 20
ENOUGH = GUESTS * (GUEST_MIB + 48)
BOOT_S, ANSWER_S, SUMS_S, IDLE_S, ASK_S = 240, 400, 400, 5, 1
BEFORE_S, SQUEEZE_S, CALM_S, IDLE_MOST_S, STORM_S = 90, 60, 30, 120, 90
CGROUP = pathlib.Path("/sys/fs/cgroup/vdi")
LIBRARIES = "/usr/lib/x86_64-linux-gnu/*.so* /usr/bin/*"


def say(text):
    print(f"  {text}", file=sys.stderr, flush=True)


def taken():
    """Bytes of this machine's memory that are neither free, on lists of a CPU's own too, nor page cache."""
    listed = sum(int(pages) for pages in re.findall(r"^ +count: +(\d+)", pathlib.Path("/proc/zoneinfo").read_text(encoding="ascii"), re.M)) * 4096
    fields = {name: int(kib) << 10 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", pathlib.Path("/proc/meminfo").read_text(encoding="ascii"), re.M)}
    return fields["MemTotal"] - fields["MemFree"] - fields["Buffers"] - (fields["Cached"] - fields["Shmem"]) - fields["SReclaimable"] - fields["SwapCached"] - listed


class Desktops(Host):
    """Guests on a host of some kind; limit(mib) is for all of them together."""

    def __init__(self, directory):
        super().__init__(directory, "none", ENOUGH)
        self.append = "console=ttyS0 quiet panic=-1 mitigations=off init_on_alloc=0 nosoftlockup"
        make_initrd(directory / "initrd", IMAGES / "6.12/initrd", REPOSITORY / "build/tests/rig/guest-load", LIBRARIES)
        self.before = taken()

    def words(self, i):
        return f"{self.append} seed={i + 1} service={SERVICE} kept={KEPT}"

    def guest_mib(self):
        return (taken() - self.before) / MIB

    def boot(self):
        for i in range(GUESTS):
            name = f"desk{i + 1}"
            self.start_guest(i, name)
            console = self.consoles[name]
            if not self.run(BOOT_S, lambda c=console: c.find("guest: serves")):
                raise Broken(f"{name} does not come up: {(self.directory / name / 'serial.log').read_text(encoding='utf-8', errors='replace')[-800:]}")
            console.every_s, console.ask_at = IDLE_S, time.monotonic()
            say(f"{self.name}: {name} serves; {self.guest_mib():.0f} MiB are taken")

    def idle(self):
        """Squeezed, and left alone. Returns seconds until it changed no more."""
        self.run(BEFORE_S)
        say(f"{self.name}: not squeezed yet: {self.guest_mib():.0f} MiB are taken; {self.detail()}")
        start = time.monotonic()
        self.limit(SQUEEZE)
        self.run(SQUEEZE_S)
        say(f"{self.name}: squeezed: {self.guest_mib():.0f} MiB are taken; {self.detail()}")
        self.limit(CAP)
        lifted = since = time.monotonic()
        last = self.guest_mib()
        while time.monotonic() - since < CALM_S and time.monotonic() - lifted < IDLE_MOST_S:
            self.run(2)
            now = self.guest_mib()
            if abs(now - last) > last / 100:
                last, since = now, time.monotonic()
        return since - start

    def storm(self):
        for i, console in enumerate(self.consoles.values()):
            console.answers.clear()
            console.lines.clear()
            console.every_s, console.ask_at = ASK_S, time.monotonic() + i * ASK_S / GUESTS
            console.send(f"load {LOAD}")
        start, full = time.monotonic(), {}
        while time.monotonic() - start < STORM_S:
            self.run(0.5)
            for name, console in self.consoles.items():
                if name not in full and console.find(rf"^filled {LOAD}"):
                    full[name] = time.monotonic() - start
        say(f"{self.name}: storm: {self.guest_mib():.0f} MiB are taken; {len(full)} of {GUESTS} have filled their memory; {self.detail()}")
        # Who has no answer yet has waited so long at least.
        waited = [time.monotonic() - c.asked[1] for c in self.consoles.values() if c.asked]
        return [a for c in self.consoles.values() for a in c.answers] + waited, max(full.values()) if len(full) == GUESTS else STORM_S

    def measure(self):
        self.boot()
        converge = self.idle()
        per_guest = self.guest_mib() / GUESTS
        say(f"{self.name}: idle: {per_guest:.1f} MiB for each, after {converge:.0f} s; {self.detail()}")
        answers, fill = self.storm()
        taken_mib = self.guest_mib()
        for console in self.consoles.values():
            console.send("load 0")
        for name, found in self.sums(SUMS_S).items():
            if found[1] == "0":
                say(f"{self.name}: {name}: its load was not once through its memory")
        say(f"{self.name}: every page of {GUESTS} desktops is right")
        return {"mib_per_idle_guest": per_guest, "converge_s": converge, "storm_p50_ms": percentile(answers, 50) * 1e3, "storm_p99_ms": percentile(answers, 99) * 1e3,
                "storm_fill_s": fill, "storm_mib": taken_mib}


class Ours(Desktops):
    name = "ours"

    def __enter__(self):
        self.start_daemon()
        return self

    def start_guest(self, i, name):
        self.ask("define", definition={
            "name": name, "memory": GUEST_MIB * MIB, "minimum": 16 * MIB, "kernel": f"{IMAGES}/6.12/vmlinuz", "initrd": str(self.directory / "initrd"),
            "append": self.words(i), "drives": [{"file": f"{IMAGES}/debian.ext4", "readonly": True}]})
        self.ask("start", guest=name)
        self.open_console(name, ANSWER_S, IDLE_S)

    def limit(self, mib):
        self.ask("host-tune", set={"budget": mib * MIB})

    def detail(self):
        host, uses = self.ask("host"), [row["use"] for row in self.ask("list")]
        parts = {name: sum(use[name] for use in uses) for name in ("granted", "shared", "compressed", "compressed-memory", "zero", "balloon")} | {"pool": host["pool"]}
        return ", ".join(f"{name} {value / MIB:.0f}" for name, value in parts.items())

    def __exit__(self, *_):
        for name in self.consoles:
            with contextlib.suppress(Broken):
                self.ask("stop", guest=name, force=True)
        self.daemon.terminate()
        self.daemon.wait()


class Qemu(Desktops):
    name = "qemu"

    def __enter__(self):
        self.vmms, self.stack, self.mib, self.limited_at = [], contextlib.ExitStack(), ENOUGH, 0
        self.zram = self.stack.enter_context(zram("lz4", 2 * GUESTS * GUEST_MIB))
        self.ksm = self.stack.enter_context(ksm.Ksm(advisor_mode="scan-time", advisor_target_scan_time=20))
        self.ksm.start()
        pathlib.Path("/sys/fs/cgroup/cgroup.subtree_control").write_text("+memory", encoding="ascii")
        CGROUP.mkdir(exist_ok=True)
        return self

    def start_guest(self, i, name):
        path = self.directory / name
        path.mkdir()
        log = open(path / "vmm.log", "wb")  # pylint: disable=consider-using-with
        vmm = subprocess.Popen(
            ["qemu-system-x86_64", "-M", "q35,mem-merge=on", "-accel", "kvm", "-cpu", "host", "-global", "kvm-apic.vapic=off", "-nodefaults", "-no-user-config", "-display", "none",
             "-m", f"{GUEST_MIB}M", "-smp", "1", "-kernel", f"{IMAGES}/6.12/vmlinuz", "-initrd", self.directory / "initrd", "-append", self.words(i),
             "-drive", f"file={IMAGES}/debian.ext4,if=none,id=d,format=raw,readonly=on,cache=none", "-device", "virtio-blk-pci,drive=d",
             "-device", "virtio-balloon-pci,free-page-reporting=on", "-serial", f"unix:{path}/console,server=on,wait=off"],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, preexec_fn=lambda: (CGROUP / "cgroup.procs").write_text(str(os.getpid()), encoding="ascii"))
        self.vmms.append(vmm)
        while not (path / "console").exists():
            if vmm.poll() is not None:
                raise Broken(f"{name}: QEMU ends: {(path / 'vmm.log').read_text(encoding='utf-8')}")
            time.sleep(0.05)
        console = Console(name, path / "serial.log", str(path / "console"), self.selector, ANSWER_S, IDLE_S)
        console.open()
        self.consoles[name] = console

    def limit(self, mib):
        self.mib, self.limited_at = mib, 0

    def turn(self, seconds):
        """zram's memory is none of the group's: what it takes is taken off the group's limit."""
        super().turn(seconds)
        if time.monotonic() > self.limited_at + 0.5:
            self.limited_at = time.monotonic()
            rest = max(32 * MIB, self.mib * MIB - self.zram.stat()["mem_used_total"])
            (CGROUP / "memory.high").write_text(str(rest), encoding="ascii")

    def detail(self):
        stat = self.zram.stat()
        return (f"group {int((CGROUP / 'memory.current').read_text(encoding='ascii')) / MIB:.0f}, zram {stat['mem_used_total'] / MIB:.0f} for {stat['orig_data_size'] / MIB:.0f}, "
                f"KSM saves {ksm.get('pages_sharing') / 256:.0f}")

    def __exit__(self, *_):
        for vmm in self.vmms:
            vmm.kill()
            vmm.wait()
        self.stack.close()
        CGROUP.rmdir()


SIDES = {"ours": Ours, "qemu": Qemu}
UNITS = {"mib_per_idle_guest": "MiB", "converge_s": "s", "storm_p50_ms": "ms", "storm_p99_ms": "ms", "storm_fill_s": "s", "storm_mib": "MiB"}


def main():
    sides = os.environ.get("VDI_SIDES", "ours,qemu").split(",")
    found = {side: [] for side in sides}
    for i in range(RUNS):
        for side in sides if i % 2 == 0 else reversed(sides):
            with tempfile.TemporaryDirectory() as directory, SIDES[side](pathlib.Path(directory)) as desktops:
                try:
                    found[side].append(desktops.measure())
                except Broken as reason:
                    sys.exit(f"vdi: {side}: {reason}")
            say(f"{side}: {found[side][-1]}")
    report = Report("vdi")
    for metric, unit in UNITS.items() if "ours" in found else ():
        theirs = ["qemu", [f[metric] for f in found["qemu"]]] if "qemu" in found else []
        report.add(metric, unit, [f[metric] for f in found["ours"]], *theirs, guests=GUESTS, mib=GUEST_MIB, cap_mib=CAP, load_mib=LOAD)


main()
