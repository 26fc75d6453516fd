#!/bin/bash
# Benchmark `scale`: see memory/scale.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/memory/scale.py
