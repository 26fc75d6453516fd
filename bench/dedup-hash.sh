#!/bin/bash
# Benchmark `dedup-hash`: see dedup/hash.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/dedup/hash.py
