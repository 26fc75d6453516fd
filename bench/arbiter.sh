#!/bin/bash
# Benchmark `arbiter`: see arbiter/arbiter.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/arbiter/arbiter.py
