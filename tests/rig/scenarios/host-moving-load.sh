#!/bin/bash
# Six Debian guests on 600 MiB: a load moves from one to the next, targets follow it, all answer; pagodad is killed ten times, and nobody notices.
# limit: 300
# needs: python3
# on request: targets do not follow loads in emulation yet; moving_load.py says what was seen
. "$rig_dir/memory.sh"
needs_pagoda "a daemon"
cat >scenario.sh <<'GUEST'
stty -echo
load ext4
must mount -t ext4 -o ro,noload /dev/vda /root
words="$(parameter seed) $(parameter service) $(parameter kept)"
for dir in dev proc sys; do must mount --move /$dir /root/$dir; done
must mount -t tmpfs none /root/tmp
must cp /bin/guest-load /root/tmp/
# Files of the system: what the guest has cached, and could do without.
exec chroot /root /bin/bash -c "cat /usr/bin/[a-m]* /usr/lib/x86_64-linux-gnu/lib[a-c]* >/dev/null; exec /tmp/guest-load $words"
GUEST
mkdir bin
swap=$(mktemp -d "$memory_swap_directory/moving-load-XXXXXX")
cp "$rig_repo/build/tests/rig/guest-load" bin/
{
	cat "$RIG_IMAGES/6.12/initrd"
	printf '%s\n' scenario.sh bin bin/guest-load | cpio -o -H newc --quiet
} >initrd
trap 'for file in trace storm.log; do cp $file "$RIG_OUT/host-moving-load.$file" || true; done 2>/dev/null; rm -rf "$swap"' EXIT
python3 -B "$rig_dir/moving_load.py" "$PWD/initrd" "$swap"
