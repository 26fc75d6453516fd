#!/bin/bash
# Unmodified virt-install imports a Debian image, with the network that it gives guests unasked; on its console root logs in, and works; the guest comes back by virsh.
# limit: 150
# needs: python3 virsh virt-install passt ip
needs_pagoda "the daemon"
. "$rig_dir/daemon.sh"
guest_script <<'GUEST'
load ext4
must mount -t ext4 /dev/vda /root
for dir in dev proc sys; do mount --move /$dir /root/$dir; done
exec switch_root /root /sbin/init
GUEST
initrd=$PWD/$(guest_initrd 6.12)
# A way out, of which user networking makes the guest's.
ip link add up0 type veth peer name down0
ip addr add 192.0.2.2/24 dev up0
ip link set up0 up
ip link set down0 up
ip route add default via 192.0.2.1
mkdir pool
cp --sparse=always "$RIG_IMAGES/debian.ext4" pool/debian.raw
# What an image's maker would have set: a prompt at the serial port, and who may log in.
mkdir root
mount -o loop pool/debian.raw root
echo 'S0:2:respawn:/sbin/agetty -L 115200 ttyS0 vt100' >>root/etc/inittab
sed -i 's/^root:[^:]*:/root::/' root/etc/passwd
umount root

daemon --budget=1G --images="$PWD/pool"
python3 -B "$rig_dir/install_session.py" "$PWD" "$initrd" >>figures 2>session.log || fail "$(tail -n 1 session.log)"
kill "$daemon_pid"
wait "$daemon_pid" || true
