#!/bin/bash
# Benchmark `dedup-idle`: see dedup/idle.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/dedup/idle.py
