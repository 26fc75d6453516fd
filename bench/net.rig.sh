#!/bin/bash
# TCP between host and guest, ours beside QEMU's, in the rig. See net_guest.py; net.sh builds what it needs.
exec python3 "$(dirname "$0")/net_guest.py"
