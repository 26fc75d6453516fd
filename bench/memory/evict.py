"""CPU time of evicting guest memory: taken and compressed by the manager, beside MADV_PAGEOUT to zram with lz4. All threads of the process count.

RUNS (7) runs of each side take turns; PAGES (65536), MIX (25,25,25,25).
"""
import os

from programs import Report, column, interleaved, run
from kernel_swap import zram  # programs.py finds it

RUNS = int(os.environ.get("RUNS", "7"))
OPTIONS = {"pages": os.environ.get("PAGES", "65536"), "mix": os.environ.get("MIX", "25,25,25,25"), "rounds": 1}


def main():
    report = Report("evict")
    with zram("lz4", 1024):
        ours, theirs = interleaved(RUNS, lambda: run("evict", side="ours", **OPTIONS), lambda: run("evict", side="kernel", **OPTIONS))
    for key, metric in (("cpu_us", "cpu_us_per_page"), ("wall_us", "wall_us_per_page")):
        report.add(metric, "us", column(ours, key), "zram-lz4", column(theirs, key), mix=OPTIONS["mix"])


main()
