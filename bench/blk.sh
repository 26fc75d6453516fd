#!/bin/bash
# Benchmark `blk`: disk IOPS, throughput and latency of a guest, beside QEMU's. See blk_guest.py for what can be set.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/bench/guest
${CC:-cc} -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -static -o build/bench/guest/blkload bench/guest/blkload.c
exec tests/rig/rig bench bench/blk.rig.sh build/bench/guest/blkload
