#!/bin/bash
# Benchmark `evict`: what it costs to take guest memory. See memory/evict.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/memory/evict.py
