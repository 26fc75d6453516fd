#!/bin/bash
# Benchmark `dedup-time`: see dedup/budget.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/dedup/budget.py
