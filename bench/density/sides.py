"""Ways to keep desktops in one cap of memory, in the KVM form.

    with side("ours", mib=384, options={...}, images=3) as s:
        s.add(); s.windows(); s.manager_ns(); s.full_scans(); s.remove()

ours        pagodad defines and starts the guests, divides memory among them and keeps what they share; the kernel keeps their cold pages, swapped to zram
own         the same, and VMMs keep them, in their own compressed tier
ksm         plain memory, the kernel's KSM with smart scan and its advisor, swap on zram
balloon     the same, and automatic ballooning: once memory is short, each desktop is asked for all that it does not use
plain       plain memory, and no cap: what the CPU alone does to latencies
"""
import contextlib
import os
import pathlib
import socket
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "dedup"))
import runner  # noqa: E402, F401  pylint: disable=unused-import,wrong-import-position  # the path to the modules of bench/memory
import costs  # noqa: E402  pylint: disable=wrong-import-position
import ksm  # noqa: E402  pylint: disable=wrong-import-position
import pagodad  # noqa: E402  pylint: disable=wrong-import-position
import vm  # noqa: E402  pylint: disable=wrong-import-position
from api import Api  # noqa: E402  pylint: disable=wrong-import-position
from kernel_swap import raise_on_signals, zram  # noqa: E402  pylint: disable=wrong-import-position
from memory_cap import MemoryCap  # noqa: E402  pylint: disable=wrong-import-position

PAGE = vm.PAGE
BESIDE_MIB = 4        # of the guest's image and tables
REAL_TIME = int(os.environ.get("RT", "0"))
LOGON_SECONDS = 120   # at most
START_SECONDS = 60    # that a start may be refused because memory is low
GAP = float(os.environ.get("GAP", "4"))  # seconds from one's log-on to the next's start
ZRAM_ALGORITHM = os.environ.get("ZRAM", "lz4")
ZRAM_TABLE = 16       # bytes that zram keeps for each page of its size
SCAN_SECONDS = int(os.environ.get("SCAN_SECONDS", "20"))  # KSM's advisor aims at that
KSM_CPU = int(os.environ.get("KSM_CPU", "30"))            # and takes no more of a CPU, percent
RMAP_ITEM = 64        # bytes that KSM keeps for each page it knows, and again for each that is shared; ksmd's, and so no cgroup's
UNCHARGED_SLABS = ("maple_node",)  # of all processes: the tree of mappings


def prefer(pid):
    """On a machine that is not quiet, all threads of a process may run before those of others: with RT, a real-time priority."""
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir() if REAL_TIME else []:
        with contextlib.suppress(OSError):
            os.sched_setscheduler(int(task.name), os.SCHED_RR, os.sched_param(REAL_TIME))


class Lost(Exception):
    """A desktop has ended: no memory was left for it."""


class Desktop(vm.Console):
    """What all have that a desktop runs in."""

    pid, index = 0, 0

    def lost(self, why):
        raise Lost(why)

    def is_alive(self):
        with contextlib.suppress(OSError):
            return pathlib.Path(f"/proc/{self.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()[0] not in "ZX"
        return False

    def send(self, line):
        try:
            super().send(line)
        except OSError as e:
            raise Lost(str(e)) from e

    def end(self):
        raise NotImplementedError


class Side:
    capped, reclaims = True, False

    def __init__(self, mib, images, options):
        self.mib, self.images, self.options = mib, images, options
        self.pages = options["pages"]
        self.desktops, self.ended_ns = [], 0

    def __enter__(self):
        raise_on_signals()
        with contextlib.ExitStack() as stack:
            self.directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="pagoda-bench-"))
            self.cap = stack.enter_context(MemoryCap(self.mib if self.capped else 1 << 20, self.unseen(), self.reclaims))
            self.slabs = self.slab_bytes()
            self.prepare(stack)
            stack.callback(self.remove_all)
            self.stack = stack.pop_all()
        return self

    def __exit__(self, *_):
        self.stack.close()

    def unseen(self):
        """Functions that tell bytes which the cgroup does not count."""
        return [lambda: max(0, self.slab_bytes() - self.slabs)]

    @staticmethod
    def slab_bytes():
        return costs.slab_bytes(UNCHARGED_SLABS)

    def words(self, i):
        return self.options | {"seed": self.options["seed"] + i, "image_seed": self.options["image_seed"] + i % self.images}

    def add(self):
        """One more, with the least number that nobody has: its seed, and its image, follow from that."""
        numbers = {desktop.index for desktop in self.desktops}
        index = next(i for i in range(len(numbers) + 1) if i not in numbers)
        desktop = self.start(index)
        desktop.index = index
        prefer(desktop.pid)
        self.desktops.append(desktop)
        time.sleep(GAP)

    def remove(self):
        self.ended_ns += self.desktop_ns(self.desktops[-1])
        self.desktops.pop().end()

    def bury(self):
        """Takes those away that have ended by themselves. Returns how many."""
        dead = [desktop for desktop in self.desktops if not desktop.is_alive()]
        for desktop in dead:
            self.desktops.remove(desktop)
            desktop.end()
        return len(dead)

    def remove_all(self):
        while self.desktops:
            self.desktops.pop().end()

    def windows(self):
        """Figures of all desktops since they were asked last."""
        for desktop in self.desktops:
            desktop.send("window")
        return [desktop.wait("window", 60) for desktop in self.desktops]

    def verify(self):
        for desktop in self.desktops:
            desktop.verify()

    def pids(self):
        """All processes of this run."""
        return [os.getpid(), *(desktop.pid for desktop in self.desktops)]

    def cpu_s(self):
        """CPU time that they have taken, all of them."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                stat = pathlib.Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
                total += (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")
        return total

    def saved_bytes(self):
        return len(self.desktops) * self.pages * PAGE - self.cap.used_bytes()

    # In their own ways.
    def prepare(self, stack):
        pass

    def start(self, i):
        raise NotImplementedError

    def manager_ns(self):
        """CPU time of all that manages memory, apart from what vCPUs do themselves when they fault."""
        return 0

    def desktop_ns(self, desktop):
        """The part of it that is in a desktop's process."""
        return 0

    def full_scans(self):
        return 0

    def memory(self):
        """Where memory is: MiB by name, for people."""
        return {"cgroup": self.cap.seen_bytes() >> 20, "kernel": self.cap.kernel_bytes() >> 20, "unseen": self.cap.unseen_bytes() >> 20}


class PlainDesktop(Desktop):
    """A guest that the benchmark starts itself."""

    def __init__(self, options, pages, before, append):
        self.guest = vm.Guest("desktop", pages, options, before=before, beside_mib=BESIDE_MIB, **append)
        super().__init__("desktop", self.guest.writer, self.guest.reader)
        self.pid = self.guest.vmm.pid

    def end(self):
        self.guest.end()


class Plain(Side):
    name, capped = "plain", False
    vmm_options = ["-memory", "manager=off"]

    def start(self, i):
        append = self.words(i)
        try:
            return PlainDesktop(self.vmm_options, append.pop("pages"), self.cap.enter, append)
        except SystemExit as e:
            raise Lost(e.code) from e


class Zram(Side):
    """Whose host swaps to zram."""

    swaps, device = True, None

    def unseen(self):
        return [*super().unseen(), self.zram_bytes]

    def zram_bytes(self):
        return self.device.stat()["mem_used_total"] + self.device_mib * 2**20 // PAGE * ZRAM_TABLE if self.device else 0

    def prepare(self, stack):
        super().prepare(stack)
        if not self.swaps:
            return
        self.device_mib = self.mib * 3
        self.device = stack.enter_context(zram(ZRAM_ALGORITHM, self.device_mib))
        stack.callback(setattr, self, "device", None)

    def memory(self):
        stat = self.device.stat() if self.device else {"mem_used_total": 0, "orig_data_size": 0}
        return super().memory() | {"zram": stat["mem_used_total"] >> 20, "swapped": stat["orig_data_size"] >> 20}


class Ksm(Zram, Plain):
    name, capped, reclaims = "ksm", True, True
    vmm_options = [*Plain.vmm_options, "-machine", "mem-merge=ksm"]

    def unseen(self):
        return [*super().unseen(), self.rmap_bytes]

    @staticmethod
    def rmap_bytes():
        return RMAP_ITEM * sum(map(ksm.get, ("pages_sharing", "pages_shared", "pages_shared", "pages_unshared", "pages_volatile")))

    def prepare(self, stack):
        self.ksm = stack.enter_context(ksm.Ksm(advisor_mode="scan-time", advisor_max_cpu=KSM_CPU, advisor_target_scan_time=SCAN_SECONDS))
        super().prepare(stack)
        self.ksm.start()

    def pids(self):
        return [*super().pids(), self.ksm.pid]

    def manager_ns(self):
        return self.ksm.cpu_ns() + self.cap.keeper_ns

    def full_scans(self):
        return ksm.get("full_scans")

    def memory(self):
        return super().memory() | {"merged": (ksm.get("pages_sharing") + ksm.get("ksm_zero_pages")) >> 8, "shared": ksm.get("pages_shared") >> 8}


class Balloon(Ksm):
    """By MOM's documented rule: balloons are used while less than a fifth of memory is free, and take what guests say is free."""

    name = "balloon"
    vmm_options = [*Ksm.vmm_options, "-device", "virtio-balloon-pci,id=balloon"]
    PRESSED = 0.8

    def __init__(self, *args):
        super().__init__(*args)
        self.given = set()

    def add(self):
        super().add()
        if self.cap.used_bytes() > self.cap.cap * self.PRESSED:
            for desktop in set(self.desktops) - self.given:
                self.inflate(desktop)
                self.given.add(desktop)

    def inflate(self, desktop):
        memory = self.pages * PAGE + (BESIDE_MIB << 20)
        desktop.guest.qmp.call("balloon", {"value": memory - self.pages * PAGE * self.options["zero"] // 100})
        desktop.command("balloon", "given", 30)


class OurDesktop(Desktop):
    """A guest that the daemon starts. budget: what the daemon's is; while it starts a guest, it is STARTING: admission keeps 8 MiB for each VMM, and a quarter of
    all shared pages for the case that they diverge, which suits larger guests. The daemon gets all three requests at once, and divides no memory in between."""

    STARTING = 1 << 36

    def __init__(self, api, i, pages, directory, append, budget, tier):
        self.api, self.guest = api, f"d{i}"
        append["pages"] = pages
        api.call("define", definition={
            "name": self.guest, "memory": pages * PAGE + (BESIDE_MIB << 20), "kernel": str(vm.GUESTS / "desktop.elf"), "tier": tier, "swap": False, "balloon": False,
            "append": " ".join(f"{k}={v}" for k, v in append.items()), "words": ["-no-reboot"]})
        self.console = socket.socket(socket.AF_UNIX)
        try:
            self.pid = self.start(budget)
            self.console.connect(f"{directory}/run/guests/{self.guest}/console")
            super().__init__("desktop", self.console.fileno(), self.console.fileno())
            api.call("resume", guest=self.guest)
            self.wait("ready", LOGON_SECONDS)
        except (OSError, RuntimeError, Lost) as e:
            self.end()
            raise Lost(str(e)) from e

    def start(self, budget):
        """While memory is low, the daemon starts nobody and says to try again later. Returns the VMM's process."""
        end = time.monotonic() + START_SECONDS
        while True:
            try:
                return self.api.call_all(("host-tune", {"set": {"budget": self.STARTING}}), ("start", {"guest": self.guest, "paused": True}),
                                         ("host-tune", {"set": {"budget": budget}}))[1]["pid"]
            except RuntimeError as e:
                if time.monotonic() > end:
                    raise Lost(str(e)) from e
            time.sleep(1)

    def end(self):
        """Where the daemon has ended before, the cap's end ends the guest."""
        with contextlib.suppress(RuntimeError, OSError):
            self.api.call("stop", guest=self.guest, force=True)
        with contextlib.suppress(RuntimeError, OSError):
            self.api.call("undefine", guest=self.guest)
        self.console.close()


class Ours(Zram):
    """The budget of the daemon is the cap, less what the cgroup has beside the guests' memory and the pool, less a margin: as an admin would set it who
    knows what his VMMs take. It is looked at each second."""

    name, tier = "ours", "kernel"
    MARGIN, RESERVE = 0.01, 1  # of the cap; percent of the budget that the arbiter keeps free: the kernel takes more by itself before there is none

    def prepare(self, stack):
        super().prepare(stack)
        self.daemon = pagodad.Pagodad(self.directory, self.cap.enter, [f"--budget={self.mib}M"])
        stack.callback(self.daemon.end)
        self.api, self.looking = (Api(f"{self.directory}/run/api") for _ in range(2))
        stack.callback(self.api.close)
        self.api.call("host-tune", set={"reserve": self.RESERVE})
        self.stop, self.overheads, self.budget = threading.Event(), [], self.mib << 20
        keeper = threading.Thread(target=self.keep, daemon=True)
        keeper.start()
        stack.callback(keeper.join)
        stack.callback(self.stop.set)

    def keep(self):
        """Sets the budget."""
        while not self.stop.wait(1):
            try:
                host = self.looking.call("host")
                overhead = self.cap.used_bytes() - host["granted"] - host["pool"]
                self.overheads = [*self.overheads[-4:], overhead]
                budget = int(self.cap.cap * (1 - self.MARGIN) - max(self.overheads)) >> 20 << 20
                if budget >= 16 << 20 and budget != self.budget:
                    self.looking.call("host-tune", set={"budget": budget})
                    self.budget = budget
            except (RuntimeError, OSError) as e:
                print(f"  ours: the budget was not set: {e}", file=sys.stderr)

    def start(self, i):
        append = self.words(i)
        return OurDesktop(self.api, i, append.pop("pages"), self.directory, append, self.budget, self.tier)

    def pids(self):
        return [*super().pids(), self.daemon.process.pid]

    def desktop_ns(self, desktop):
        return thread_ns(desktop.pid, ("mem-", "dedup-"))

    def manager_ns(self):
        return self.daemon.cpu_ns() + self.ended_ns + sum(map(self.desktop_ns, self.desktops))

    def full_scans(self):
        try:
            return min((self.api.call("qmp", guest=d.guest, command="query-dedup")["full_scans"] for d in self.desktops), default=0)
        except RuntimeError as e:  # one has ended
            raise Lost(str(e)) from e

    def memory(self):
        host = self.api.call("host")
        names = ("budget", "granted", "pool", "shared", "zero", "compressed", "compressed-memory", "overhead")
        return super().memory() | {name: host[name] >> 20 for name in names} | {
            "state": host["state"], "beside": (self.cap.used_bytes() - host["granted"] - host["pool"]) >> 20,
            "daemon": costs.anonymous_bytes(self.daemon.process.pid) >> 20, "faults": round(host["faults"]), "stall": round(host["stall"], 3)}


class Own(Ours):
    name, tier, swaps, MARGIN, RESERVE = "own", "own", False, 0.015, 0


def thread_ns(pid, prefixes):
    """CPU time of a process's threads so named."""
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            if (task / "comm").read_text(encoding="utf-8").startswith(prefixes):
                total += int((task / "schedstat").read_text(encoding="ascii").split()[0])
    return total


SIDES = {side.name: side for side in (Ours, Own, Ksm, Balloon, Plain)}
