"""How fast the scanner's hash goes over memory, in GB/s; peer: a loop that reads it and does nothing else, in the same program, in turn.

gb_per_s            pages in a row, registers as the CPU likes best
gb_per_s_WIDTH      the same with SSE2, AVX2, AVX-512, as far as the CPU has them
RUNS (7), MIB (1024).
"""
import os
import pathlib

from runner import Report, column, run

RUNS = int(os.environ.get("RUNS", "7"))
MIB = int(os.environ.get("MIB", "1024"))
WIDTHS = {"sse2": "sse2", "avx2": "avx2", "avx512": "avx512f"}


def main():
    report = Report("dedup-hash")
    flags = pathlib.Path("/proc/cpuinfo").read_text(encoding="ascii").split()
    samples = run("hash", mib=MIB, rounds=RUNS)
    report.add("gb_per_s", "GB/s", column(samples, "gb_per_s"), "read loop", column(samples, "read_gb_per_s"), width=int(samples[0]["width"]))
    for number, (name, flag) in enumerate(WIDTHS.items()):
        if flag not in flags:
            continue
        samples = run("hash", mib=MIB, rounds=RUNS, width=number)
        report.add(f"gb_per_s_{name}", "GB/s", column(samples, "gb_per_s"), "read loop", column(samples, "read_gb_per_s"))


main()
