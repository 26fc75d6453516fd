"""RAM that evicted memory of real guests takes, per GiB of it, and CPU time to get it there; beside zram.

    store.py ALGORITHM DUMP...

Beside lz4 the manager as it is by default (packing "fast": LZ4), and as it is with dense=on once pages are cold ("later": LZ4, then zstd; CPU
time of both counts); beside zstd the latter, and "first": zstd at once, as zram has it.

RUNS (3).
"""
import os
import pathlib
import sys

from programs import Report, column, run
from kernel_swap import zram  # programs.py finds it

RUNS = int(os.environ.get("RUNS", "3"))


PACKINGS = {"lz4": {"fast": "off", "later": "later"}, "zstd": {"first": "first", "later": "later"}}


def measure(algorithm, dump):
    """Rounds of the kernel and of each packing, in turn; the first of each warms memory up."""
    theirs, ours = [], {packing: [] for packing in PACKINGS[algorithm]}
    with zram(algorithm, (os.path.getsize(dump) >> 20) + 64) as device:
        for _ in range(RUNS + 1):
            theirs += run("store", side="kernel", zram=device.sys, dump=dump)
            for packing, rounds in ours.items():
                rounds += run("store", side="ours", dense=PACKINGS[algorithm][packing], dump=dump)
    return theirs[1:], {packing: rounds[1:] for packing, rounds in ours.items()}


def main():
    algorithm, *dumps = sys.argv[1:]
    report = Report("store")
    for dump in dumps:
        theirs, ours = measure(algorithm, dump)
        for packing, rounds in ours.items():
            more = {"dump": pathlib.Path(dump).stem, "packing": packing}
            report.add("ram_per_gib", "MiB", column(rounds, "mib_per_gib"), f"zram-{algorithm}", column(theirs, "mib_per_gib"), **more)
            report.add("cpu_us_per_page", "us", column(rounds, "cpu_us"), f"zram-{algorithm}", column(theirs, "cpu_us"), **more)


main()
