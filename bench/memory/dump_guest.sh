#!/bin/bash
# In the rig: boots a Debian guest twice, lets it work, and dumps its memory to $RIG_OUT while it still runs.
#   packages    dpkg unpacks packages, files are read and hashed: mostly page cache
#   python      python and sqlite hold a package list in memory: mostly heap
set -euo pipefail
busybox mount -t tmpfs -o size=1200M none "$RIG_OUT"
work=$(mktemp -d)
mem=${DUMP_MIB:-256}

cat >"$work/packages" <<'GUEST'
for deb in /var/cache/debs/*.deb; do dpkg --force-all --install $deb >/dev/null 2>&1; echo "guest: $deb"; done
find /usr /var /etc -xdev -type f | head -n 6000 | xargs -d '\n' sha256sum >/tmp/sums
sort -k2 /tmp/sums >/tmp/sorted
tar -c /usr/lib/python3* 2>/dev/null | gzip -1 >/tmp/python.tar.gz
gawk '{ n[$1]++ } END { for (w in n) print n[w], w }' /var/lib/dpkg/info/*.list 2>/dev/null | sort -rn >/tmp/words
echo "guest: worked"
sleep 100000
GUEST
cat >"$work/python" <<'GUEST'
cat >/tmp/work.py <<'PYTHON'
import json, sqlite3, time
packages, current = [], {}
for path in ["/var/cache/Packages"]:
    with open(path, encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file):
            if number > 250000:
                break
            if line == "\n":
                packages.append(current)
                current = {}
            elif line[0] != " " and ":" in line:
                key, _, value = line.partition(":")
                current[key] = value.strip()
print("guest: packages", len(packages), flush=True)
database = sqlite3.connect("/tmp/packages.db")
database.execute("create table p (name text primary key, version text, depends text, size integer)")
database.executemany("insert or replace into p values (?, ?, ?, ?)",
                     ((p.get("Package"), p.get("Version"), p.get("Depends"), int(p.get("Size", 0))) for p in packages))
database.execute("create index v on p (version)")
database.commit()
index = {}
for p in packages:
    for word in p.get("Description", "").split():
        index.setdefault(word.lower(), []).append(p.get("Package"))
text = json.dumps(packages[:4000])
print("guest: worked", len(index), len(text), flush=True)
time.sleep(100000)
PYTHON
python3 /tmp/work.py
GUEST

dump()
{
	local name=$1 dir=$work/$1-dir pid limit
	mkdir "$dir"
	cp --sparse=always build/bench/dumps/guest.ext4 "$dir/disk"
	cat >"$dir/scenario.sh" <<GUEST
load ext4
must mount -t ext4 -o rw /dev/vda /root
for d in dev proc sys; do mount --move /\$d /root/\$d; done
mount -t tmpfs none /root/tmp
cat >/root/tmp/run <<'RUN'
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
$(cat "$work/$name")
RUN
chroot /root /bin/sh /tmp/run
echo "guest: FAILED status \$?"
GUEST
	(cd "$dir" && echo scenario.sh | cpio -o -H newc --quiet | cat "$RIG_IMAGES/6.12/initrd" - >initrd)
	build/pagoda-vmm -m "${mem}M" -kernel "$RIG_IMAGES/6.12/vmlinuz" -initrd "$dir/initrd" -append "console=ttyS0 quiet panic=-1" \
		-drive "file=$dir/disk,if=virtio,format=raw" -serial stdio </dev/null >"$dir/serial" 2>&1 &
	pid=$!
	limit=$((SECONDS + 500))
	until grep -q 'guest: worked' "$dir/serial"; do
		if ((SECONDS > limit)) || ! kill -0 $pid 2>/dev/null || grep -q FAILED "$dir/serial"; then
			tail -n 5 "$dir/serial" >&2
			echo "store: the guest '$name' did not do its work" >&2
			exit 1
		fi
		sleep 1
	done
	kill -STOP $pid
	python3 bench/memory/dump_ram.py $pid "$RIG_OUT/$name.ram"
	kill -KILL $pid
	wait $pid 2>/dev/null || true
	rm -rf "$dir"
	echo "store: $name after $SECONDS s" >&2
}

dump packages
dump python
