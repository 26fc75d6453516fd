#!/bin/bash
# Benchmark `dedup-cold`: see dedup/cold.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/dedup/cold.py
