#!/bin/bash
# Benchmark `store`: RAM and CPU time that evicted memory of real guests takes, beside zram: lz4 on this machine, zstd in the rig. See memory/store.py;
# dumps of guests are made first where they are missing (memory/make_dumps.sh).
set -euo pipefail
cd "$(dirname "$0")/.."
mapfile -t dumps < <(bench/memory/make_dumps.sh)
[ ${#dumps[@]} -gt 0 ] || exit 1
python3 bench/memory/store.py lz4 "${dumps[@]}"
RIG_MEM=4096 exec tests/rig/rig bench bench/store.rig.sh build/bench/memory/store build/bench/dumps/packages.ram build/bench/dumps/python.ram
