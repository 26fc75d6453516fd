"""What the memory manager costs a guest that is under no pressure: time to stream through its memory, and to read it at random, beside the same guest
without the manager (-memory manager=off). Both guests stay up and warm; many short rounds of them take turns, each first in turn.

RUNS (41), PAGES (65536).
"""
import os
import sys

from programs import Report
import vm

RUNS = int(os.environ.get("RUNS", "41"))
PAGES = int(os.environ.get("PAGES", "65536"))
FIGURES = {"stream_s": ("stream", "streamed", {"rounds": 6}), "random_s": ("chase", "chased", {"touches": 400000})}


def main():
    reason = vm.skip_reason()
    if reason:
        sys.exit(f"memory: {reason}")
    samples = {metric: {"ours": [], "kernel": []} for metric in FIGURES}
    with vm.Vm("ours", PAGES) as ours, vm.Vm("kernel", PAGES) as theirs:
        guests = [ours, theirs]
        for guest in guests:
            guest.fill()
        for i in range(RUNS + 2):
            guests.reverse()
            for metric, (name, answer, options) in FIGURES.items():
                for guest in guests:
                    us = guest.command(name, answer, **options)["wall_us"]
                    if i >= 2:
                        samples[metric][guest.side].append(us / 1e6)
        for guest in guests:
            guest.verify()
    report = Report("memory")
    for metric, sides in samples.items():
        report.add(metric, "s", sides["ours"], "manager=off", sides["kernel"], mib=PAGES // 256)


main()
