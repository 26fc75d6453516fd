#!/bin/bash
# Debian desktops, idle and at work, in the rig. vdi.sh starts it.
exec python3 "$(dirname "$0")/vdi/vdi.py"
