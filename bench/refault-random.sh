#!/bin/bash
# Benchmark `refault-random`: see memory/refault.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/memory/refault.py random
