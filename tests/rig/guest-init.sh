#!/bin/busybox sh
# shellcheck shell=dash disable=SC2013,SC2012
# First process of the small guests. It says `guest: init` at once (what boot time is measured to), loads the drivers of the
# devices it finds, says what it sees in one line `guest: ready ...`, and then runs /scenario.sh, which a scenario adds
# as a second archive of the initrd. Without one, or when it ends, the guest powers off.
echo "guest: init"
PATH=/bin
/bin/busybox mount -t devtmpfs none /dev
/bin/busybox mount -t proc none /proc
/bin/busybox mount -t sysfs none /sys
/bin/busybox --install -s /bin

say()
{
	echo "guest: $*"
}

# What a scenario expects to succeed: a failure is reported, and ends the guest.
must()
{
	"$@" && return
	say "FAILED: $*"
	poweroff -f
}

load()
{
	for file in $(sed -n "s/^$1://p" /modules/order); do
		insmod "/modules/$file" 2>/dev/null
	done
}

# Prints the value of a word NAME=VALUE of the kernel command line.
parameter()
{
	for word in $(cat /proc/cmdline); do
		case $word in
		"$1="*) echo "${word#*=}" ;;
		esac
	done
}

# Waits for a file to appear.
await()
{
	tries=100
	while [ ! -e "$1" ] && [ $tries -gt 0 ]; do
		sleep 0.1
		tries=$((tries - 1))
	done
	[ -e "$1" ] || say "FAILED: $1 did not appear"
}

load virtio_pci
grep -q virtio_mmio.device /proc/cmdline && load virtio_mmio
for modalias in /sys/bus/virtio/devices/*/modalias; do
	[ -e "$modalias" ] || break
	read -r alias <"$modalias"
	case $alias in
	virtio:d00000001*) load virtio_net ;;
	virtio:d00000002*) load virtio_blk ;;
	virtio:d00000003*) load virtio_console ;;
	virtio:d00000004*) load virtio_rng ;;
	virtio:d00000005*) load virtio_balloon ;;
	virtio:d00000013*) load vmw_vsock_virtio_transport ;;
	esac
done

mem=$(sed -n 's/^MemTotal: *\([0-9]*\) kB/\1/p' /proc/meminfo)
cpus=$(grep -c ^processor /proc/cpuinfo)
nodes=$(ls -d /sys/devices/system/node/node* 2>/dev/null | wc -l)
disks=$(cd /sys/block && ls -d vd* 2>/dev/null | tr '\n' ,)
nets=$(cd /sys/class/net && ls -d eth* 2>/dev/null | tr '\n' ,)
say "ready mem=${mem}KiB cpus=$cpus nodes=$nodes disks=${disks%,} nets=${nets%,} arch=$(uname -m) kernel=$(uname -r)"

if [ -f /scenario.sh ]; then
	. /scenario.sh
fi
poweroff -f
