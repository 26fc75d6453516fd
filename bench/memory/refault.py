"""How long touches of evicted pages stall, beside the kernel's swap: in a KVM guest (kvm_) and in a plain thread in the guest's place (thread_).

    refault.py random    p50 and p99 of touches of random compressed pages, with prefetch and without; peer: zram with lz4
    refault.py zipf      sum of stalls of Zipf-distributed touches over a set that is three quarters evicted. victims=random: the same pages on
                         both sides; range: pages that follow each other, which is as random, since the popular ones lie scattered;
                         own: each side chose while the thread ran (the kernel under a memory cgroup's limit)
    refault.py set       until an evicted working set is back, touched in address order and in the random order in which it was touched before
    refault.py disk      the same, and p99 of random touches, from disk; peer: a swap file on the same file system

A touch that finds its page present is no stall. In the guest that takes up to 5.7 us here: KVM's own page tables have to be filled.
RUNS (5; disk: 3, and 1 with a guest), PAGES (65536), MIX (25,25,25,25), STALL_NS (thread_ 1000), KVM_STALL_NS (5700), PLACES (thread,kvm), DISK (/var/tmp).
"""
import contextlib
import os
import pathlib
import sys
import time

from programs import Report, column, interleaved, run
from kernel_swap import memory_cgroup, swap_file, zram  # programs.py finds it
import vm

RUNS = int(os.environ.get("RUNS", "5"))
PAGES = int(os.environ.get("PAGES", "65536"))
MIX = os.environ.get("MIX", "25,25,25,25")
STALL_NS = int(os.environ.get("STALL_NS", "1000"))
KVM_STALL_NS = int(os.environ.get("KVM_STALL_NS", "5700"))
PLACES = os.environ.get("PLACES", "thread,kvm").split(",")
DISK = os.environ.get("DISK", "/var/tmp")
RANDOM_TOUCHES = 8192
ZIPF_TOUCHES = 200000


def say(text):
    print(f"refault: {text}", file=sys.stderr, flush=True)


def without_kvm():
    """Why there are no guests here, None when there are."""
    reason = None if "kvm" in PLACES else "not wanted"
    return reason or vm.skip_reason()


def pair(title, ours, theirs, runs=RUNS, warm=True):
    say(title)
    return interleaved(runs, ours, theirs, warm)


class Thread:
    """The program refault, started anew for each round, so that each starts with huge pages."""

    name = "thread"

    def __init__(self, side, **options):
        self.options = {"side": side, "pages": PAGES, "mix": MIX, "rounds": 1, "stall_ns": STALL_NS} | options

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def round(self, **options):
        rounds = run("refault", **self.options, **options)
        for r in rounds:
            r["wall_us"] = r["wall_s"] * 1e6
        return rounds


class Kvm:
    """A guest, which does in turn what the program refault does."""

    name = "kvm"

    def __init__(self, side, tier="compressed", prefetch="on", swap=None, cgroup=None):
        memory = ",".join(filter(None, (f"prefetch={prefetch}", f"swap={swap}" if swap else "")))
        self.vm = vm.Vm(side, PAGES, memory=memory, cgroup=cgroup, mix=MIX)
        self.tier, self.cgroup = tier, cgroup
        self.rounds = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.vm.end()

    def round(self, order="random", touches=None, victims="all", learn=0):
        guest = self.vm
        self.rounds += 1
        draw = 0 if order == "recorded" else self.rounds
        kind = {"order": "random" if order == "recorded" else order, "touches": touches or PAGES, "stall_ns": KVM_STALL_NS}
        guest.fill()
        if order == "recorded":
            guest.evict(tier=self.tier)
            guest.touch(draw=0, **kind)
        for i in range(learn):
            guest.touch(draw=2000 + i, **kind)
        guest.evict(keep_percent=25 if victims != "all" else 0, tier=self.tier)
        if self.tier == "disk":
            drop_caches(self.cgroup)
        touched = guest.touch(draw=draw, **kind)
        guest.verify()
        print(f"  {guest.side} kvm {order}: {touched}", file=sys.stderr, flush=True)
        return [touched]


def drop_caches(cgroup):
    """Nothing evicted stays in the page cache; or in the kernel's cache of its swap, which only reclaim empties."""
    for limit in [8 << 20] * 8 + [-1] if cgroup else []:
        with contextlib.suppress(OSError):  # EBUSY: not all can go
            pathlib.Path(cgroup, "memory.limit_in_bytes").write_text(str(limit), encoding="ascii")
        time.sleep(0.05)
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3", encoding="ascii")


@contextlib.contextmanager
def both(place, ours=None, theirs=None):
    with place("ours", **(ours or {})) as a, place("kernel", **(theirs or {})) as b:
        yield a, b


def places():
    result = [Thread] if "thread" in PLACES else []
    reason = without_kvm()
    if reason:
        say(f"no guests: {reason}")
    else:
        result.append(Kvm)
    return result


def add(report, metric, unit, key, rounds, peer, scale=1.0, **more):
    samples = [[value * scale for value in column(side, key)] for side in rounds]
    report.add(metric, unit, samples[0], peer, samples[1], mix=MIX, **more)


def random(report):
    with zram("lz4", 1024):
        for place in places():
            for prefetch in ("off", "on"):
                with both(place, {"prefetch": prefetch}) as (ours, theirs):
                    options = {"order": "random", "touches": RANDOM_TOUCHES}
                    rounds = pair(f"{place.name}: prefetch {prefetch}", lambda: ours.round(**options), lambda: theirs.round(**options))
                for key in ("p50_us", "p99_us"):
                    add(report, f"{place.name}_{key}", "us", key, rounds, "zram-lz4", prefetch=prefetch)
                add(report, f"{place.name}_stalls", "1", "stalls", rounds, "zram-lz4", prefetch=prefetch)
                add(report, f"{place.name}_total_us", "us", "total_us", rounds, "zram-lz4", prefetch=prefetch)


def zipf(report):
    options = {"order": "zipf", "touches": ZIPF_TOUCHES}
    with zram("lz4", 1024):
        for place in places():
            with both(place) as (ours, theirs):
                victims = "random" if place is Thread else "range"
                how = options | {"victims": victims, "learn": 1}
                rounds = pair(f"{place.name}: victims {victims}", lambda: ours.round(**how), lambda: theirs.round(**how))
                add(report, f"{place.name}_total_stall_s", "s", "total_us", rounds, "zram-lz4", 1e-6, victims=victims)
        if "thread" in PLACES:
            with memory_cgroup() as cgroup, both(Thread, None, {"cgroup": cgroup}) as (ours, theirs):
                how = options | {"victims": "own"}
                rounds = pair("thread: victims of each side's own choice", lambda: ours.round(**how), lambda: theirs.round(**how))
            add(report, "thread_total_stall_s", "s", "total_us", rounds, "zram-lz4", 1e-6, victims="own")


def disk_runs(place):
    """Guests are slow to be evicted to a file: one run has to do, unless more are wanted. Memory is warm from the first round's filling."""
    return (RUNS if "RUNS" in os.environ else 3 if place is Thread else 1), False


def set_back(report, places_, ours_options, peer, theirs_options=None):
    is_disk = peer == "swap-file"
    for place in places_:
        with both(place, ours_options, theirs_options) as (ours, theirs):
            for order in ("sequential", "recorded"):
                rounds = pair(f"{place.name}: {order}", lambda: ours.round(order=order), lambda: theirs.round(order=order),
                              *disk_runs(place) if is_disk else ())
                add(report, f"{place.name}_{order}_s", "s", "wall_us", rounds, peer, 1e-6)


def working_set(report):
    with zram("lz4", 1024):
        set_back(report, places(), {}, "zram-lz4")


def disk(report):
    ours_options = {"tier": "disk", "swap": DISK}
    with swap_file(DISK, 1024), memory_cgroup() as cgroup:
        theirs_options = {"tier": "disk", "cgroup": cgroup}
        set_back(report, places(), ours_options, "swap-file", theirs_options)
        for place in places():
            with both(place, ours_options, theirs_options) as (ours, theirs):
                options = {"order": "random", "touches": RANDOM_TOUCHES // 4}
                rounds = pair(f"{place.name}: random", lambda: ours.round(**options), lambda: theirs.round(**options),
                              *disk_runs(place))
                for key in ("p50_us", "p99_us"):
                    add(report, f"{place.name}_{key}", "us", key, rounds, "swap-file")


WHAT = {"random": random, "zipf": zipf, "set": working_set, "disk": disk}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in WHAT:
        sys.exit(__doc__)
    WHAT[sys.argv[1]](Report(f"refault-{sys.argv[1]}"))
