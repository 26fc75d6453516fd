#!/bin/bash
# Disks of guests, ours beside QEMU's, in the rig. See blk_guest.py; blk.sh builds what it needs.
exec python3 "$(dirname "$0")/blk_guest.py"
