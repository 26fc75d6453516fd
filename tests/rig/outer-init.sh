#!/bin/busybox sh
# shellcheck shell=dash disable=SC2013,SC2012
# First process of the outer VM. As /init of the initrd it loads modules and goes over to the disk image; started again there
# (argument "disk") it unpacks what the host sent, runs the command that came with it, sends back the results and powers off.
#
# Disks, by serial number: root (the outer system, changes are thrown away), images (guest kernels and disks, read-only),
# carry (a tar: repository files and rig/command), result (a tar goes there: exit status and what is in $RIG_OUT).
# The command's input and output are the virtio console hvc0; kernel messages go to the serial port.

mount_basics()
{
	/bin/busybox mount -t devtmpfs none /dev
	/bin/busybox mount -t proc none /proc
	/bin/busybox mount -t sysfs none /sys
}

load()
{
	for file in $(/bin/busybox sed -n "s/^$1://p" /rig-modules/order); do
		/bin/busybox insmod "/rig-modules/$file" 2>/dev/null
	done
}

disk_with_serial()
{
	for serial in /sys/block/vd*/serial; do
		if [ "$(/bin/busybox cat "$serial")" = "$1" ]; then
			serial=${serial%/serial}
			echo "/dev/${serial##*/}"
			return
		fi
	done
}

if [ "$1" != disk ]; then
	mount_basics
	load virtio_blk
	/bin/busybox mount -t ext4 -o noatime "$(disk_with_serial root)" /root
	/bin/busybox cp -r /rig-modules /init /root/
	for dir in dev proc sys; do /bin/busybox umount /$dir; done
	exec /bin/busybox switch_root /root /init disk
fi

mount_basics
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root TERM=linux LANG=C
mkdir -p /dev/pts /dev/shm /sys/fs/cgroup
mount -t devpts none /dev/pts
mount -t tmpfs none /dev/shm
mount -t tmpfs none /tmp
mount -t tmpfs none /run
mount -t cgroup2 none /sys/fs/cgroup 2>/dev/null
ln -s /proc/self/fd /dev/fd 2>/dev/null
ln -s /proc/self/fd/0 /dev/stdin 2>/dev/null
ln -s /proc/self/fd/1 /dev/stdout 2>/dev/null
ln -s /proc/self/fd/2 /dev/stderr 2>/dev/null
for name in kvm_amd tun veth bridge vhost_net vhost_vsock loop zram; do load $name; done
ip link set lo up
hostname rig
echo 1 >/proc/sys/vm/overcommit_memory

mkdir -p /rig/repo /rig/out /images
mount -t ext4 -o ro,noload "$(disk_with_serial images)" /images 2>/dev/null
tar -x -C /rig/repo -f "$(disk_with_serial carry)"
export RIG_OUT=/rig/out RIG_IMAGES=/images RIG_INNER=1
cd /rig/repo || exit 1

stty -F /dev/hvc0 -opost -echo
setsid -c /bin/bash rig-command </dev/hvc0 >/dev/hvc0 2>&1
echo $? >/rig/out/.status
stty -F /dev/hvc0 -icanon 2>/dev/null
tar -c -C /rig/out . >"$(disk_with_serial result)"
sync
busybox poweroff -f
