#!/bin/bash
# Makes dumps of real guests' memory in the rig, once: build/bench/dumps/{packages,python}.ram. Prints their paths.
# The guest is a Debian system of its own with dpkg, python and sqlite (build/bench/dumps/guest.ext4); what it does is in dump_guest.sh.
set -euo pipefail
cd "$(dirname "$0")/../.."
dumps=build/bench/dumps
packages=(base-files base-passwd bash coreutils dash debianutils diffutils dpkg e2fsprogs findutils gawk grep gzip mount perl-base procps
	python3-minimal libpython3-stdlib sed sqlite3 tar util-linux xz-utils)
to_install=(nano less file vim-tiny hello)

build_guest()
{
	# shellcheck source=tests/rig/cache.sh
	. tests/rig/cache.sh
	# shellcheck source=tests/rig/outer.sh
	. tests/rig/outer.sh
	local work
	work=$(mktemp -d "${TMPDIR:-/tmp}/bench-guest-XXXXXX")
	rig_fetch amd64 "$work/root" "${packages[@]}"
	rm -rf "$work/root"/usr/share/{doc,man,locale,info,lintian,zoneinfo} "$work/root/.packages"
	mkdir -p "$work/root"/{dev,proc,sys,tmp,run,root,var/lib/dpkg/{updates,info,triggers},var/cache/debs}
	: >>"$work/root/var/lib/dpkg/status"
	cp "$work/root/usr/share/base-passwd/passwd.master" "$work/root/etc/passwd"
	cp "$work/root/usr/share/base-passwd/group.master" "$work/root/etc/group"
	[[ -e $work/root/bin/sh ]] || ln -s dash "$work/root/bin/sh"
	ln -sf gawk "$work/root/usr/bin/awk"
	(cd "$work/root/var/cache/debs" && rig_apt amd64 download "${to_install[@]}" >/dev/null)
	# a package list, as apt keeps it: something to read for programs
	find "$rig_cache/apt/amd64/lists" -name '*_main_binary-amd64_Packages.lz4' -printf '%s %p\n' | sort -rn | head -n 1 | cut -d' ' -f2- |
		xargs lz4 -d -q -c | head -c 24M >"$work/root/var/cache/Packages" || true
	outer_image "$work/root" "$dumps/guest.ext4.new" 96 journal
	mv "$dumps/guest.ext4.new" "$dumps/guest.ext4"
	rm -rf "$work"
}

mkdir -p "$dumps"
if [[ ! -s $dumps/packages.ram || ! -s $dumps/python.ram ]]; then
	echo "store: making dumps of guests' memory (once; kept in $dumps)" >&2
	[[ -s $dumps/guest.ext4 ]] || build_guest
	RIG_MEM=4096 RIG_TIMEOUT=${DUMP_TIMEOUT:-1200} tests/rig/rig exec 'bash bench/memory/dump_guest.sh' "$dumps/guest.ext4" >&2
	mv build/rig/out/{packages,python}.ram "$dumps/"
fi
realpath "$dumps"/{packages,python}.ram
