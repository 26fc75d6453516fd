#!/usr/bin/env python3
"""
What a decision of the arbiter costs, and guest-seconds under pressure beside MOM's rules, in simulation; and what it costs the daemon to watch real guests
(docs/ARBITER.md). Traces are drawn into build/bench/arbiter-TRACE.svg. Metrics:
  decision_ms                   CPU of one decision over 1,000 guests that are short of memory
  guest_seconds_under_pressure  for each trace, and "all" of them; theirs_zram: with compressed memory as the kernel's swap
  guest_seconds_under_pressure_varied   the same for 20 variations of each that the policy was not fitted to; ratio_median and ratio_worst: of single ones
  daemon_cpu_share              percent of a core that pagodad takes beside GUESTS (100) guests that do nothing; RUNS (5) samples of SECONDS (20)
  daemon_kib                    its private memory (USS); pss_kib
"""
import os
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import daemon  # noqa: E402
from report import REPOSITORY, Report  # noqa: E402


def main():
    traces = sorted(str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "tests/traces").glob("*.trace"))
    program = REPOSITORY / "build/bench/arbiter/arbiter"
    out = subprocess.run([program, *traces], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    report, times, played = Report("arbiter"), [], {}
    for words in map(str.split, out.splitlines()):
        if words[0] == "decision_ms":
            times.append(float(words[1]))
            continue
        played.setdefault(Path(words[1]).stem, []).append([float(word) for word in words[3:]])
    played["all"] = [[sum(values) for values in zip(*rows)] for rows in zip(*played.values())]
    for trace, rows in played.items():
        add(report, trace, *rows)
    report.add("decision_ms", "ms", times, guests=1000)
    for trace in traces:
        subprocess.run(["bench/arbiter/plot.sh", trace], cwd=REPOSITORY, check=True, stdout=sys.stderr)
    watch(report)


def number(name, otherwise):
    return int(os.environ.get(name, otherwise))


def watch(report):
    reason = daemon.skip_reason()
    if reason:
        print(f"arbiter: no figures of the daemon: {reason}", file=sys.stderr)
        return
    guests, runs, seconds, shares, kib = number("GUESTS", 100), number("RUNS", 5), number("SECONDS", 20), [], []
    with daemon.Daemon() as pagodad:
        for i in range(guests):
            pagodad.add(f"g{i}")
        pagodad.settle()
        for _ in range(runs):
            shares.append(pagodad.cpu_share(seconds))
            kib.append(pagodad.memory_kib())
        state = pagodad.call("host")["state"]
    report.add("daemon_cpu_share", "%", shares, guests=guests, state=state)
    uss, pss = zip(*kib)
    report.add("daemon_kib", "KiB", [*uss], guests=guests, pss_kib=max(pss))


def add(report, trace, played, *variations):
    """The trace as it is, and a line with all of its variations."""
    metric = "guest_seconds_under_pressure"
    report.add(metric, "s", [played[0]], "mom-rules", [played[1]], trace=trace, theirs_zram=played[2])
    ratios = [ours / theirs for ours, theirs, _ in variations if theirs]
    more = {"ratio_median": round(statistics.median(ratios), 3), "ratio_worst": round(max(ratios), 3)} if len(ratios) == len(variations) else {}
    report.add(metric + "_varied", "s", [v[0] for v in variations], "mom-rules", [v[1] for v in variations], trace=trace, **more)


if __name__ == "__main__":
    main()
