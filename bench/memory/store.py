"""RAM that evicted memory of real guests takes, per GiB of it, and CPU time to get it there; beside zram.

    store.py ALGORITHM DUMP...      lz4 beside the manager as it is by default; zstd beside it with dense=on

RUNS (3).
"""
import os
import pathlib
import sys

from programs import Report, column, interleaved, run
from kernel_swap import zram  # programs.py finds it

RUNS = int(os.environ.get("RUNS", "3"))


def main():
    algorithm, *dumps = sys.argv[1:]
    report = Report("store")
    for dump in dumps:
        mib = os.path.getsize(dump) >> 20
        with zram(algorithm, mib + 64) as device:
            options = {"dump": dump}
            ours, theirs = interleaved(RUNS, lambda: run("store", side="ours", dense="on" if algorithm == "zstd" else "off", **options),
                                       lambda: run("store", side="kernel", zram=device.sys, **options))
        more = {"dump": pathlib.Path(dump).stem}
        report.add("ram_per_gib", "MiB", column(ours, "mib_per_gib"), f"zram-{algorithm}", column(theirs, "mib_per_gib"), **more)
        report.add("cpu_us_per_page", "us", column(ours, "cpu_us"), f"zram-{algorithm}", column(theirs, "cpu_us"), **more)


main()
