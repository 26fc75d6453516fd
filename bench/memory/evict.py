"""CPU time of evicting guest memory: taken and compressed by the manager, beside MADV_PAGEOUT to zram with lz4. All threads of the process count.

The peer is measured twice: zram-lz4-huge has the memory in huge pages, as the manager has it, zram-lz4-small in pages of 4 KiB.

RUNS (7) runs of each side take turns; PAGES (65536), MIX (25,25,25,25).
"""
import os

from programs import Report, column, run
from kernel_swap import zram  # programs.py finds it

RUNS = int(os.environ.get("RUNS", "7"))
OPTIONS = {"pages": os.environ.get("PAGES", "65536"), "mix": os.environ.get("MIX", "25,25,25,25"), "rounds": 1}


def main():
    report = Report("evict")
    sides = {"ours": {"side": "ours"}, "zram-lz4-huge": {"side": "kernel", "huge": "on"}, "zram-lz4-small": {"side": "kernel", "huge": "off"}}
    rounds = {name: [] for name in sides}
    with zram("lz4", 1024):
        for _ in range(RUNS + 1):
            for name, side in sides.items():
                rounds[name] += run("evict", **side, **OPTIONS)
    ours, *peers = ({"name": name, "rounds": r[1:]} for name, r in rounds.items())  # the first warm memory up
    for key, metric in (("cpu_us", "cpu_us_per_page"), ("wall_us", "wall_us_per_page")):
        for peer in peers:
            report.add(metric, "us", column(ours["rounds"], key), peer["name"], column(peer["rounds"], key), mix=OPTIONS["mix"])


main()
