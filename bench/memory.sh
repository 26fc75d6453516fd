#!/bin/bash
# Benchmark `memory`: see memory/memory.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/memory/memory.py
