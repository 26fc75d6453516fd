#!/bin/bash
# Benchmark `boot`: how fast a guest is there, and what its VMM costs. On this machine from VM creation to the first guest instruction
# (native/create), and to a Debian guest's init where KVM can boot Linux (boot_guest.py).
set -euo pipefail
cd "$(dirname "$0")/.."
bench/native/create
exec tests/rig/rig bench bench/boot.rig.sh
