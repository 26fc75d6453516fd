"""How the manager's work grows.

    faults_per_s    of 1, 2 and 4 threads, and guests with as many vCPUs, that touch random compressed pages at once; peer: one of them
    us_per_page     time to evict all of a guest and to touch all of it again, from 256 MiB to 8 GiB; peer: the smallest

RUNS (3), SIZES (256,1024,4096,8192 MiB), THREADS (1,2,4), PLACES (thread,kvm).
"""
import os
import pathlib
import re
import sys

from programs import Report, column, run
import vm

RUNS = int(os.environ.get("RUNS", "3"))
SIZES = [int(s) for s in os.environ.get("SIZES", "256,1024,4096,8192").split(",")]
THREADS = [int(s) for s in os.environ.get("THREADS", "1,2,4").split(",")]
PLACES = os.environ.get("PLACES", "thread,kvm").split(",")
TOUCHES = 16384


def available_mib():
    return int(re.search(r"MemAvailable: +(\d+)", pathlib.Path("/proc/meminfo").read_text(encoding="ascii"))[1]) // 1024


def add(report, metric, unit, samples, key):
    """Each beside the first."""
    first = min(samples)
    for size, values in samples.items():
        report.add(metric, unit, values, f"{first} {key}", samples[first], **{key: size})


def guests():
    samples = {n: [] for n in THREADS}
    for cpus in THREADS:
        with vm.Vm("ours", 65536, cpus=cpus, memory="prefetch=off") as g:
            for i in range(RUNS):
                g.fill()
                g.evict()
                r = g.touch(order="random", draw=i, touches=TOUCHES)
                print(f"  {cpus} vCPUs: {r}", file=sys.stderr)
                samples[cpus].append(r["touches"] * 1e6 / r["wall_us"])
            g.verify()
    return samples


def main():
    report = Report("scale")
    if "thread" in PLACES:
        samples = {n: [] for n in THREADS}
        for _ in range(RUNS):
            for n in THREADS:
                samples[n] += column(run("scale", what="faults", threads=n, touches=TOUCHES, prefetch="off", rounds=1), "faults_per_s")
        add(report, "thread_faults_per_s", "1/s", samples, "threads")
    if "kvm" in PLACES and not vm.skip_reason():
        add(report, "kvm_faults_per_s", "1/s", guests(), "vcpus")
    sizes = [s for s in SIZES if s * 2 < available_mib()]
    samples = {s: [] for s in sizes}
    # The largest first, untimed: where the host is a virtual machine itself, memory that it has not used lately costs its own host's faults.
    run("scale", what="size", pages=max(sizes) * 256, rounds=1)
    for _ in range(RUNS):
        for s in sizes:
            samples[s] += column(run("scale", what="size", pages=s * 256, rounds=1), "us_per_page")
    add(report, "us_per_page", "us", samples, "mib")


main()
