#!/usr/bin/env python3
"""
How long clients of libvirt's protocol wait for a daemon with real guests (calls.c): CLIENTS (50) that make RATE (1000) calls a second, for SECONDS (10), RUNS (5)
times, beside GUESTS (10) guests that do nothing. Metrics:
  call_p50_us, call_p99_us, call_most_us   from the moment at which a call was due; calls_s: answers a second
  daemon_cpu_share                         percent of a core that pagodad takes meanwhile
"""
import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "lib"), str(HERE.parent / "arbiter")]
import daemon  # noqa: E402
from report import REPOSITORY, Report  # noqa: E402


def number(name, otherwise):
    return int(os.environ.get(name, otherwise))


def measure(pagodad, clients, rate, seconds):
    cpu, start = daemon.cpu_ns(pagodad.process.pid), time.monotonic()
    words = [REPOSITORY / "build/bench/libvirt/calls", f"{pagodad.directory}/run/virtpagodad-sock", *map(str, (clients, rate, seconds))]
    text = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout.split()
    figures = dict(zip(text[::2], map(float, text[1::2])))
    figures["cpu"] = (daemon.cpu_ns(pagodad.process.pid) - cpu) / (time.monotonic() - start) / 1e7
    print(f"libvirt: {figures}", file=sys.stderr)
    return figures


def main():
    reason = daemon.skip_reason()
    if reason:
        sys.exit(f"libvirt: {reason}")
    guests, clients, rate = number("GUESTS", 10), number("CLIENTS", 50), number("RATE", 1000)
    with daemon.Daemon() as pagodad:
        for i in range(guests):
            pagodad.add(f"g{i}")
        time.sleep(5)
        runs = [measure(pagodad, clients, rate, number("SECONDS", 10)) for _ in range(number("RUNS", 5))]
    more = {"guests": guests, "clients": clients, "calls_s": rate}
    errors = sum(run["errors"] for run in runs)
    if errors:
        sys.exit(f"libvirt: {errors:.0f} calls were answered with an error")
    report = Report("libvirt")
    for metric, member, unit in (("call_p50_us", "p50_us", "us"), ("call_p99_us", "p99_us", "us"), ("call_most_us", "most_us", "us"),
                                 ("calls_s", "rate", "1/s"), ("daemon_cpu_share", "cpu", "%")):
        report.add(metric, unit, [run[member] for run in runs], **more)


main()
