#!/bin/bash
# The balloon of a guest, ours beside QEMU's, in the rig. See balloon_guest.py.
exec python3 "$(dirname "$0")/balloon_guest.py"
