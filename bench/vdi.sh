#!/bin/bash
# Benchmark `vdi`: idle Debian desktops from one image, and all of them at work at once, beside QEMU with KSM and zram, in the rig. See vdi/vdi.py for what can be set.
set -euo pipefail
cd "$(dirname "$0")/.."
make -s build/tests/rig/guest-load
# The machine that they are in: guests, and itself.
guests=${VDI_GUESTS:-6} mib=${VDI_MIB:-160}
RIG_TIMEOUT=${RIG_TIMEOUT:-3000} RIG_MEM=${RIG_MEM:-$((1536 + guests * (mib + 64)))} exec tests/rig/rig bench bench/vdi.rig.sh
