#!/bin/bash
# Boot time and private memory of our VMM beside QEMU's, in the rig. See boot_guest.py.
exec python3 "$(dirname "$0")/boot_guest.py"
