#!/bin/bash
# Benchmark `net`: TCP throughput and latency of a guest, beside QEMU's. See net_guest.py for what can be set.
set -euo pipefail
cd "$(dirname "$0")/.."
mkdir -p build/bench/guest
${CC:-cc} -std=gnu11 -D_GNU_SOURCE -O2 -Wall -Wextra -static -o build/bench/guest/netload bench/guest/netload.c
exec tests/rig/rig bench bench/net.rig.sh build/bench/guest/netload
