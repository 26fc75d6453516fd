#!/bin/bash
# Start-up and shut-down of the Debian system on a virtio disk, called by its sysvinit. Starting, it checks and mounts its
# root writable, writes files and powers off in the ordinary way, unless the kernel's command line has the word `stay`; stopping, it brings the
# file system to rest.
exec </dev/console >/dev/console 2>&1
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [[ ${1:-} == stop ]]; then
	sync
	mount -o remount,ro /
	echo "guest: debian stops"
	exec halt -f -p
fi
mountpoint -q /dev || mount -t devtmpfs none /dev
mountpoint -q /proc || mount -t proc none /proc
mountpoint -q /sys || mount -t sysfs none /sys
mount -t tmpfs none /run
cat /etc/hostname >/proc/sys/kernel/hostname
mount -o remount,rw /
boot=$(($(cat /var/lib/boots 2>/dev/null || echo 0) + 1))
echo "$boot" >/var/lib/boots
mkdir -p /var/lib/written
for n in {1..40}; do
	printf 'boot %d file %d\n' "$boot" "$n" >"/var/lib/written/$boot-$n"
done
head -c 8M /dev/urandom >/var/lib/written/random
(cd /var/lib/written && sha256sum random >random.sha256)
echo "guest: debian $(. /etc/os-release && echo "$VERSION_ID") boot $boot, init is $(cat /proc/1/comm), $(uname -r)"
sync
grep -q -w stay /proc/cmdline || (sleep 0.2; exec shutdown -h -P now) &
