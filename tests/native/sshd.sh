#!/bin/bash
# Prints where an sshd is, for tests: this machine's own, or that of Debian's package openssh-server, which is unpacked into the cache and never installed, so that no
# service is started and no account made. Exits with 1 and says why when there is none.
set -euo pipefail
if [ -x /usr/sbin/sshd ]; then
	echo /usr/sbin/sshd
	exit 0
fi
cache=${PAGODA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pagoda}/sshd
sshd=$cache/usr/sbin/sshd
if [ ! -x "$sshd" ]; then
	mkdir -p "${cache%/*}"
	work=$(mktemp -d "$cache.XXXXXX")
	trap 'rm -rf "$work"' EXIT
	if ! (cd "$work" && apt-get -q download openssh-server && dpkg-deb -x openssh-server_*.deb root) >"$work/log" 2>&1; then
		echo "no sshd: $(tail -n 1 "$work/log")" >&2
		exit 1
	fi
	mkdir -p "$cache/usr/sbin"
	mv "$work/root/usr/sbin/sshd" "$sshd"
fi
# The libraries that it needs are there?
if ! "$sshd" -V >/dev/null 2>&1 && ldd "$sshd" | grep -q 'not found'; then
	echo "no sshd: $(ldd "$sshd" | grep 'not found' | head -n 1)" >&2
	exit 1
fi
echo "$sshd"
