#!/bin/bash
# Benchmark `dedup-meta`: see dedup/meta.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/dedup/meta.py
