#!/bin/bash
# Six Debian guests on 600 MiB: a load moves from one to the next, targets follow it, all answer; pagodad is killed ten times, and nobody notices.
# limit: 450
# needs: python3
# on request: eleven minutes of a quiet machine, with RIG_PATIENCE=3
. "$rig_dir/memory.sh"
needs_pagoda "a daemon"
swap=$(mktemp -d "$memory_swap_directory/moving-load-XXXXXX")
trap 'for file in trace storm.log; do cp $file "$RIG_OUT/host-moving-load.$file" || true; done 2>/dev/null; rm -rf "$swap"' EXIT
python3 -B "$rig_dir/moving_load.py" "$swap"
