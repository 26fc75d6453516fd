#!/bin/bash
# Memory of evicted guests beside zram with zstd, in the rig: its kernel has zstd for zram. store.sh carries dumps and program there.
set -euo pipefail
export PAGODA_BENCHES=$PWD/build/bench/memory RUNS=${RUNS:-1}
exec python3 bench/memory/store.py zstd build/bench/dumps/*.ram
