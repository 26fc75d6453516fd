"""Guests that have content in common (tests/guests/twins.c), merged by Pagoda, by the kernel's KSM, or by nobody; and what that saves and costs.

    with side("ours", guests=2, mib=256, common=100, run=1) as s:
        s.fill(); s.start(percent=10); ... s.saved(), s.cpu_ns(), s.net_bytes()

Nothing merges before start(), which takes the CPU that merging may have in percent of one core, all guests together; None: as much as it
wants. s.oracle says what could be saved. Not counted on either side: the guests' own faults when they write to merged pages.
"""
import contextlib
import os
import sys
import tempfile
import time

import costs
import runner  # noqa: F401  pylint: disable=unused-import  # the path to the modules of bench/memory
import ksm
import oracle
import pagodad
import vm
from vm import PAGE

PASS_MS = int(os.environ.get("PASS_MS", "1000"))
FAULT_THREADS = ("mem-pager", "mem-fault0", "mem-fault1", "mem-reclaim")


def need_guests(bench):
    """Ends the benchmark where it cannot run."""
    reason = vm.skip_reason() or (None if ksm.SYS.exists() else "this kernel has no KSM to compare with")
    if reason:
        sys.exit(f"{bench}: {reason}")


class Side:
    name = "off"
    options = ["-memory", "manager=off"]

    def __init__(self, guests, mib, settings=None, seed=1, **content):
        """settings: KSM's, beside the best ones. content: options of the guests."""
        self.settings = settings or {}
        self.pages, self.nr, self.content = mib * 2**20 // PAGE, guests, content
        self.seeds = [seed + i for i in range(guests)]
        self.guests, self.oracle = [], None

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            self.directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pagoda-bench-"))
            self.prepare(stack)
            self.guests = [stack.enter_context(self.guest(i)) for i in range(self.nr)]
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def guest(self, i):
        return vm.Guest("twins", self.pages, self.options, seed=self.seeds[i], **self.content)

    def fill(self):
        """All pages of all guests; the oracle knows them from then on, and what else there is to be saved in the guests' memory."""
        for guest in self.guests:
            guest.fill()
        layouts = [oracle.Layout(self.pages, seed, **self.content) for seed in self.seeds]
        self.oracle = oracle.Oracle(layouts)
        size = self.pages * PAGE + (vm.BESIDE_MIB << 20)
        self.bases = {guest: oracle.memory_of(guest.vmm.pid, size) for guest in self.guests}
        self.beside = self.count(beside=True)
        self.anonymous = self.anonymous_pages()
        self.before = self.overhead() | {"available": costs.meminfo()["MemAvailable"]}

    def pids(self):
        return [guest.vmm.pid for guest in self.guests]

    def count(self, beside=False):
        """What could be saved in the guests' regions, or beside them, by the bytes that are there."""
        start, end = self.guests[0].gpa, self.guests[0].gpa + self.pages * PAGE
        ranges = [(0, start), (end, end - start + (vm.BESIDE_MIB << 20))] if beside else [(start, end)]
        return oracle.count([(guest.vmm.pid, base) for guest, base in self.bases.items()], ranges, all_pages=not beside)

    def check_oracle(self):
        """Does the oracle know what is there?"""
        counted = self.count()
        if counted != self.oracle.saved:
            sys.exit(f"the oracle would save {self.oracle.saved} pages, {counted} could be saved by what lies in memory")

    def anonymous_pages(self):
        """Of the VMMs' memory; KSM's shared pages count as often as they are mapped, the zero page and other files' pages do not."""
        return sum(costs.anonymous_bytes(pid) for pid in self.pids()) // PAGE

    def gib(self):
        return self.nr * self.pages * PAGE / 2**30

    def could_save(self):
        """Pages; zeros beside the guests' regions and the like are counted as they were at first."""
        return self.oracle.saved + self.beside

    def all(self, name, answer, **options):
        """A command to all guests at once, and what they answer."""
        line = " ".join([name, *(f"{k}={v}" for k, v in options.items())])
        for guest in self.guests:
            guest.send(line)
        return [guest.wait(answer) for guest in self.guests]

    def frames(self):
        """Page frames of all guests' regions: of anonymous memory (KSM's, too), and of files."""
        anonymous, files = set(), set()
        for guest in self.guests:
            own, shared = oracle.frames(guest.vmm.pid, self.bases[guest] + guest.gpa, self.pages)
            anonymous |= own
            files |= shared
        return anonymous, files

    def held_pages(self):
        """What is saved of the regions at this moment, by the page tables: counters learn of pages that a guest has written to only with the next pass.
        To be compared with oracle.saved."""
        anonymous, files = self.frames()
        return self.nr * self.pages - len(anonymous) - len(files)

    def verify(self):
        for guest in self.guests:
            guest.verify()

    def wait_saved(self, share, seconds, step=0.05):
        """Until that share of what can be saved is saved. Returns seconds; None when the time is over."""
        start = time.monotonic()
        while self.saved() < share * self.could_save():
            if time.monotonic() - start > seconds:
                return None
            self.tick()
            time.sleep(step)
        return time.monotonic() - start

    def wait_told(self, guest, what, seconds=120):
        """Until the guest says it, while merging goes on. Returns its words."""
        end = time.monotonic() + seconds
        while not guest.is_heard(what) and time.monotonic() < end:
            self.tick()
            time.sleep(0.1)
        return guest.wait(what)

    def net_bytes(self):
        """What is saved, less all that it costs."""
        now = self.overhead()
        return self.saved() * PAGE - sum(now[name] - self.before[name] for name in now)

    def costs(self):
        now = self.overhead()
        return {f"{name}_kib": round((now[name] - self.before[name]) / 1024) for name in now}

    def available_bytes(self):
        """By how much the host's available memory has grown: a check on net_bytes() that sees all the host's other processes, too."""
        return costs.meminfo()["MemAvailable"] - self.before["available"]

    # What sides do in their own ways.
    def prepare(self, stack):
        """What is to be there before the guests are; stack ends it."""

    def start(self, percent=None):
        pass

    def tick(self):
        """To be called every fifth of a second or so."""

    def saved(self):
        return 0

    def merged(self):
        """Pages that map a shared page, or none because they are zero."""
        return 0

    def cpu_ns(self):
        return 0

    def passes(self):
        return 0

    def overhead(self):
        """Bytes of each kind."""
        return costs.kernel_bytes(self.pids())


class KsmSide(Side):
    name = "KSM"
    options = [*Side.options, "-machine", "mem-merge=ksm"]

    throttle = None

    def prepare(self, stack):
        self.ksm = stack.enter_context(ksm.Ksm(**self.settings))

    def start(self, percent=None):
        """Where the settings turn on KSM's advisor, that keeps to the limit."""
        self.ksm.start()
        advised = "advisor_mode" in self.settings
        self.throttle = ksm.Throttle(self.ksm, percent) if percent and not advised else None

    def tick(self):
        if self.throttle:
            self.throttle.tick()

    def zeros(self):
        """Not by its counter: when the kernel splits a huge page, zeros in it become the zero page and KSM never sees them."""
        return max(0, self.anonymous - self.anonymous_pages())

    def saved(self):
        return ksm.get("pages_sharing") + self.zeros()

    def merged(self):
        return ksm.get("pages_sharing") + ksm.get("pages_shared") + self.zeros()

    def cpu_ns(self):
        return self.ksm.cpu_ns()

    def passes(self):
        return ksm.get("full_scans")


class OurSide(Side):
    name = "ours"
    options = []

    def prepare(self, stack):
        self.daemon = pagodad.Pagodad(self.directory)
        stack.callback(self.daemon.end)

    def guest(self, i):
        option = f"socket={self.daemon.socket},domain=bench,guest=g{i},cpu=0,pass={PASS_MS},huge=on"
        return vm.Guest("twins", self.pages, [*self.options, "-dedup", option], seed=self.seeds[i], **self.content)

    def start(self, percent=None):
        for guest in self.guests:
            guest.qmp.call("set-dedup", {"cpu": max(1, round(percent / self.nr)) if percent else 100})

    def stats(self, name):
        return sum(guest.qmp.call("query-dedup")[name] for guest in self.guests)

    def sums(self):
        """Of all guests' counters."""
        each = [guest.qmp.call("query-dedup") for guest in self.guests]
        return {name: sum(stats[name] for stats in each) for name, value in each[0].items() if type(value) is int}

    def merged(self):
        """Zeros as on KSM's side: those that the kernel has dropped when a huge page was split are not in the scanner's counter."""
        sums = self.sums()
        return sums["pages_sharing"] + max(sums["ksm_zero_pages"], self.anonymous - self.anonymous_pages() - sums["pages_sharing"])

    def saved(self):
        return self.merged() - self.daemon.status()["pages_shared"]

    def held_pages(self):
        """The whole pool counts, whether or not a guest maps a slot."""
        return self.nr * self.pages - len(self.frames()[0]) - self.daemon.file_bytes() // PAGE

    def cpu_ns(self):
        """The scanners and the daemon."""
        return self.stats("cpu_us") * 1000 + self.daemon.cpu_ns()

    def fault_cpu_ns(self):
        """The manager's threads, which serve guests that touch a page while it is being merged."""
        return sum(pagodad.cpu_ns(pid, FAULT_THREADS) for pid in self.pids())

    def passes(self):
        return self.stats("full_scans") / self.nr

    def overhead(self):
        """Slots that are held are no overhead: they are left out of what is saved."""
        slots = self.daemon.status()["pages_shared"]
        return super().overhead() | {"daemon": self.daemon.bytes() - slots * PAGE, "scanners": self.stats("metadata_bytes")}


def side(which, *args, **content):
    return {"ours": OurSide, "ksm": KsmSide, "off": Side}[which](*args, **content)
