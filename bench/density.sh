#!/bin/bash
# Benchmark `density`: how many desktops fit into a cap of memory. See density/density.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/density/density.py
