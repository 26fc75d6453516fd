#!/bin/bash
# Disk speed in the guest, ours beside QEMU's, where guests run (tests/rig/rig bench; bench/blk.sh builds what it needs).
#
# Runs of the VMMs alternate: each boots the same kernel and initrd with the same image on tmpfs, and the guest's blkload measures all
# metrics. JSON lines with the medians go to $RIG_RESULTS.
#
#   BLK_RUNS (3) pairs of boots; BLK_MS (2000) each measurement; BLK_QEMU ("aio=io_uring") what QEMU's -drive gets beside cache=none;
#   BLK_QEMU_DEVICE (empty) what its -device gets, as ",iothread=t"; BLK_CPUS (1) the guest's
set -euo pipefail
runs=${BLK_RUNS:-3} ms=${BLK_MS:-2000} qemu_drive=${BLK_QEMU:-aio=io_uring} qemu_device=${BLK_QEMU_DEVICE:-}
blkload=build/bench/guest/blkload
[[ -x $blkload ]] || { echo "bench: $blkload is missing: run bench/blk.sh" >&2; exit 1; }
results=${RIG_RESULTS:-/dev/stdout}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/tree/bin"
cp "$blkload" "$work/tree/bin/"
cat >"$work/tree/scenario.sh" <<GUEST
blkload /dev/vda read random 4096 1 $ms
blkload /dev/vda read random 4096 32 $ms
blkload /dev/vda write random 4096 1 $ms
blkload /dev/vda write random 4096 32 $ms
blkload /dev/vda read sequential 1048576 4 $ms
blkload /dev/vda write sequential 1048576 4 $ms
GUEST
(cd "$work/tree" && find . | cpio -o -H newc --quiet) >"$work/load.cpio"
cat "$RIG_IMAGES/6.12/initrd" "$work/load.cpio" >"$work/initrd"
image=$work/disk.img
# Filled, so that no run pays for the first touch of a page.
dd if=/dev/zero of="$image" bs=1M count=128 status=none

# boot WHO COMMAND...: one run; the guest powers off at its end.
boot()
{
	local who=$1
	shift
	timeout 200 "$@" -m 256M -smp "${BLK_CPUS:-1}" -kernel "$RIG_IMAGES/6.12/vmlinuz" -initrd "$work/initrd" \
		-append "console=ttyS0 quiet panic=-1" -serial "file:$work/serial.log" -no-reboot </dev/null >&2 || {
		echo "bench: $who failed; its console ends with:" >&2
		tail -n 5 "$work/serial.log" >&2
		exit 1
	}
	tr -d '\r' <"$work/serial.log" | sed -n "s/^blkload: /$who /p" | tee -a "$work/all" >&2
}

for ((i = 0; i < runs; i++)); do
	boot ours build/pagoda-vmm -drive "file=$image,if=virtio,format=raw,cache=none"
	boot theirs qemu-system-x86_64 -M q35 -accel kvm -cpu host -global kvm-apic.vapic=off -nodefaults -no-user-config \
		-display none -object iothread,id=t \
		-drive "file=$image,if=none,id=d,format=raw,cache=none,$qemu_drive" -device "virtio-blk-pci,drive=d$qemu_device"
done

# Fields: who op pattern block depth iops= mbs= mean_us= median_us=
awk '
	function median(list, n,   i, j, t) {
		for (i = 2; i <= n; i++)
			for (j = i; j > 1 && list[j - 1] > list[j]; j--) { t = list[j]; list[j] = list[j - 1]; list[j - 1] = t }
		return n % 2 ? list[(n + 1) / 2] : (list[n / 2] + list[n / 2 + 1]) / 2
	}
	function value(name,   i, part) {
		for (i = 6; i <= NF; i++) { split($i, part, "="); if (part[1] == name) return part[2] + 0 }
	}
	function note(metric, depth, v,   key) {
		key = metric " " depth
		if (!(key in seen)) { seen[key] = 1; order[++nr] = key }
		data[$1, key, ++count[$1, key]] = v
	}
	function report(key,   part, n, i, list, m, who, low, high) {
		split(key, part, " ")
		for (who in names) {
			n = count[who, key]
			for (i = 1; i <= n; i++) list[i] = data[who, key, i]
			m[who] = median(list, n); low[who] = list[1]; high[who] = list[n]
		}
		unit = part[1] ~ /iops/ ? "1/s" : part[1] ~ /mbs/ ? "MB/s" : "us"
		printf "{\"bench\":\"blk\",\"metric\":\"%s\",\"unit\":\"%s\",\"depth\":%d,\"ours\":%.1f,\"peer\":\"qemu\",\"theirs\":%.1f," \
			"\"ratio\":%.3f,\"ours_min\":%.1f,\"ours_max\":%.1f,\"theirs_min\":%.1f,\"theirs_max\":%.1f,\"runs\":%d}\n",
			part[1], unit, part[2], m["ours"], m["theirs"], m["ours"] / m["theirs"], low["ours"], high["ours"],
			low["theirs"], high["theirs"], n
	}
	BEGIN { names["ours"]; names["theirs"] }
	$3 == "random" { note($2 "_iops", $5, value("iops")) }
	$3 == "random" && $5 == 1 && $2 == "read" { note("latency_us", 1, value("median_us")) }
	$3 == "sequential" { note($2 "_mbs", $5, value("mbs")) }
	END { for (i = 1; i <= nr; i++) report(order[i]) }
' "$work/all" >>"$results"
