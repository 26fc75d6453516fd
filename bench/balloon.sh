#!/bin/bash
# Benchmark `balloon`: how fast a guest's memory goes and comes back, beside QEMU's. See balloon_guest.py for what can be set.
set -euo pipefail
cd "$(dirname "$0")/.."
exec tests/rig/rig bench bench/balloon.rig.sh
