#!/bin/bash
# Benchmark `dedup-guest`: see dedup/guest.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/dedup/guest.py
