"""How far the manager's estimate of the working set is off, in percent of the known one, and what the sampling costs in CPU time.

A guest (kvm_), or a thread in its place (thread_), touches a known number of scattered pages for 20 s; the estimate is the mean of the last ten.
Pages are not zero: those take no memory once their huge page is split, and so are in no working set.
SETS (16384,32768,49152 pages), PAGES (65536), SAMPLE (400 pages/s), MIX (0,40,40,20), PLACES (thread,kvm).
"""
import os
import sys
import time

from programs import Report, run
import vm

PAGES = int(os.environ.get("PAGES", "65536"))
SETS = [int(s) for s in os.environ.get("SETS", "16384,32768,49152").split(",")]
SAMPLE = int(os.environ.get("SAMPLE", "400"))
MIX = os.environ.get("MIX", "0,40,40,20")
SETTLE_S, SECONDS = 10, 10
PLACES = os.environ.get("PLACES", "thread,kvm").split(",")


def guest(size):
    """The estimate while a guest works on that many pages. The guest's other memory, a page in a thousand, is not used meanwhile."""
    with vm.Vm("ours", PAGES, memory=f"sample-rate={SAMPLE}", mix=MIX) as g:
        g.fill()
        g.send(f"run pages={size} ms={(SETTLE_S + SECONDS) * 1000 + 500}")
        time.sleep(SETTLE_S)
        estimates = []
        for _ in range(SECONDS):
            time.sleep(1)
            estimates.append(g.stats()["active_pages"])
        g.wait("ran")
        g.verify()
        return sum(estimates) / len(estimates)


def main():
    report = Report("wss")
    for size in SETS:
        if "thread" in PLACES:
            r = run("wss", side="ours", pages=PAGES, mix=MIX, set=size, sample=SAMPLE, settle_s=SETTLE_S, seconds=SECONDS)[0]
            report.add("thread_error", "%", [abs(r["estimate"] - size) / size * 100], set=size, estimate=r["estimate"])
            report.add("cpu_share", "%", [r["cpu_share"] * 100], set=size, sample=SAMPLE)
        if "kvm" in PLACES and not vm.skip_reason():
            estimate = guest(size)
            print(f"  kvm: set {size}, estimate {estimate:.0f}", file=sys.stderr)
            report.add("kvm_error", "%", [abs(estimate - size) / size * 100], set=size, estimate=round(estimate))


main()
