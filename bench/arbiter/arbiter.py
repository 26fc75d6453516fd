#!/usr/bin/env python3
"""
What a decision of the arbiter costs, and guest-seconds under pressure beside MOM's rules, in simulation (docs/ARBITER.md). Metrics:
  decision_ms                   CPU of one decision over 1,000 guests that are short of memory
  guest_seconds_under_pressure  for each trace, and "all" of them; theirs_zram: with compressed memory as the kernel's swap
"""
import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from report import REPOSITORY, Report  # noqa: E402


def main():
    traces = sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "tests/traces").glob("*.trace"))
    program = REPOSITORY / "build/bench/arbiter/arbiter"
    out = subprocess.run([program, *traces], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    report, times, sums = Report("arbiter"), [], [0.0, 0.0, 0.0]
    for words in map(str.split, out.splitlines()):
        if words[0] == "decision_ms":
            times.append(float(words[1]))
            continue
        values = [float(word) for word in words[2:]]
        sums = [a + b for a, b in zip(sums, values)]
        add(report, Path(words[1]).stem, values)
    add(report, "all", sums)
    report.add("decision_ms", "ms", times, guests=1000)


def add(report, trace, values):
    more = {"trace": trace, "theirs_zram": values[2]}
    report.add("guest_seconds_under_pressure", "s", [values[0]], "mom-rules", [values[1]], **more)


if __name__ == "__main__":
    main()
