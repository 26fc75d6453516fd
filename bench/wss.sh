#!/bin/bash
# Benchmark `wss`: see memory/wss.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/memory/wss.py
