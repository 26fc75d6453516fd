#!/bin/bash
# Debian guests whose pages are merged, in the rig. dedup-rig.sh starts it.
exec python3 "$(dirname "$0")/dedup/rig.py"
