#!/bin/bash
# Benchmark `dedup-rig`: Debian guests that install packages, merged by Pagoda and by KSM, in the rig. See dedup/rig.py for what can be set.
set -euo pipefail
cd "$(dirname "$0")/.."
# The machine that they are in: guests, their disks in memory, and itself.
guests=${DEDUP_GUESTS:-8} mib=${DEDUP_MIB:-160}
RIG_MEM=${RIG_MEM:-$((2048 + guests * (mib + 32 + 256)))} exec tests/rig/rig bench bench/dedup-rig.rig.sh
