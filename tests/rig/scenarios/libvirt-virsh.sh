#!/bin/bash
# Unmodified virsh drives a daemon and two Debian guests by some eighty commands, and each has its effect; libvirt's events come; its exporter tells the truth.
# limit: 150
# nodes: 2
# needs: python3 virsh prometheus-libvirt-exporter ip
needs_pagoda "the daemon"
python3 -c "import libvirt" 2>/dev/null || skip "python3-libvirt is not installed"
. "$rig_dir/numa.sh"
. "$rig_dir/daemon.sh"
numa_host 2
# The guest carries out what it is told on its serial port, a line each, and hears its power button.
guest_script <<'GUEST'
stty -echo
load ext4
load button
load evdev
for device in /sys/class/input/event*; do
	[ "$(cat "$device/device/name")" = "Power Button" ] && button=/dev/input/${device##*/}
done
await "$button"
must mount -t ext4 -o "$(parameter mount)" /dev/vda /root
for dir in dev proc sys; do must mount --move /$dir /root/$dir; done
must mount -t tmpfs none /root/tmp
must cp /bin/busybox /agent /root/tmp/
exec chroot /root /bin/bash /tmp/agent "$button"
GUEST
cat >agent <<'AGENT'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
(
	head -c 24 "$1" >/dev/null
	echo "guest: button pressed"
	mount -o remount,ro /
	halt -f -p
) </dev/null &
echo "guest: listens"
while IFS= read -r line; do
	echo "answer ${line%% *}: $(eval "${line#* }" 2>&1 | tr '\n' ' ')"
done
AGENT
printf '%s\n' scenario.sh agent | cpio -o -H newc --quiet >scenario.cpio
initrd=$PWD/$(guest_initrd 6.12)
ip tuntap add tap0 mode tap
ip addr add 10.1.1.1/24 dev tap0
ip link set tap0 up
mkdir pool
cp --sparse=always "$RIG_IMAGES/debian.ext4" pool/alpha.raw

daemon --budget=1500M --images="$PWD/pool"
python3 -B "$rig_dir/virsh_session.py" "$PWD" "$initrd" >>figures 2>session.log || fail "$(tail -n 1 session.log)"
kill "$daemon_pid"
wait "$daemon_pid" || true
