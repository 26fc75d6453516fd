#!/bin/bash
# Python compiles a part of its library to the same byte code as here while the guest has half of the memory that it uses.
# limit: 90
# needs: python3 mke2fs
. "$rig_dir/memory.sh"
needs_pagoda "a memory manager"
# A disk with this system's Python, and sources to compile.
python=$(readlink -f "$(command -v python3)")
library=$(python3 -c 'import os; print(os.path.dirname(os.__file__))')
mkdir -p "root$(dirname "$python")" "root$library" root/src root/lib64 root/tmp root/dev
cp "$python" root/usr/bin/python
/lib64/ld-linux-x86-64.so.2 --list "$python" | grep -o '/[^ ]*' | while read -r file; do
	mkdir -p "root$(dirname "$file")"
	cp -L "$file" "root$file"
done
cp -r "$library"/{encodings,collections,importlib,re} "$library"/*.py "root$library/"
[[ ! -d $library/lib-dynload ]] || cp -r "$library/lib-dynload" "root$library/"
for source in "$library"/{argparse,ast,datetime,decimal,_pydecimal,doctest,inspect,locale,optparse,pdb,pickle,pydoc,shutil,socket,subprocess,tarfile,threading,turtle,typing,zipfile}.py; do
	[[ ! -f $source ]] || cp "$source" root/src/
done
cat >root/compile.py <<'COMPILE'
import glob, zlib
sum = 0
for name in sorted(glob.glob("src/*.py")):
    text = open(name, encoding="utf-8").read()
    code = compile(text, name, "exec")
    sum = zlib.crc32(repr([c.co_names for c in code.co_consts if hasattr(c, "co_names")]).encode(), sum)
    sum = zlib.crc32(code.co_code, sum)
print("sum %08x" % sum)
COMPILE
expected=$(cd root && python3 compile.py)
mke2fs -q -F -t ext4 -d root disk.img 96M
{
	memory_guest_functions
	echo "expected='$expected'"
	cat <<'GUEST'
load ext4
must mount -t ext4 -o ro /dev/vda /root
say "disk mounted"
for round in 1 2 3; do
	is=$(chroot /root /usr/bin/python -c 'import os; os.chdir("/"); exec(open("compile.py").read())' 2>&1 | tail -n 1)
	[ "$is" = "$expected" ] || say "FAILED: round $round: $is, not $expected"
	say "round $round done"
	sleep 1
done
check_kernel_log
sleep 600
GUEST
} | guest_script
vmm_boot 6.12 "" -drive file=disk.img,if=virtio,format=raw,readonly=on -memory "swap=$memory_swap_directory"
wait_serial 'guest: round 1 done'
memory_squeeze
wait_serial 'guest: round 2 done'
memory_expect_near_target 20
wait_serial 'guest: round 3 done'
wait_serial 'guest: kernel log checked'
memory_expect_near_target 20
memory_expect_moved
qmp quit
expect_exit 0
