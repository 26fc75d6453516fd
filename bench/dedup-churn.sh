#!/bin/bash
# Benchmark `dedup-churn`: see dedup/churn.py.
set -euo pipefail
cd "$(dirname "$0")/.."
exec python3 bench/dedup/churn.py
