#!/bin/bash
# Benchmark `dedup-scale`: see dedup/scale.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/dedup/scale.py
