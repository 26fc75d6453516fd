#!/bin/bash
# Benchmark `libvirt`: see libvirt/libvirt.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/libvirt/libvirt.py
