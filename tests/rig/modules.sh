# shellcheck shell=bash
# Kernel modules for the small systems of the rig.
#
# Their init scripts know neither modprobe nor compression. rig_modules puts the modules, unpacked, in one flat directory
# beside a file `order`, whose lines "NAME: FILE FILE ..." say what to insmod, in order, for NAME.

# rig_modules TREE OUT NAME...: TREE is an unpacked kernel package; a NAME that is built in, or does not exist, is left out.
rig_modules()
{
	local tree=$1 out=$2 version name path files
	shift 2
	version=$(basename "$(echo "$tree"/lib/modules/*)")
	mkdir -p "$out"
	[[ -f $tree/lib/modules/$version/modules.dep ]] || /sbin/depmod -b "$tree" "$version"
	for name in "$@"; do
		files=
		while read -r path; do
			files+=" $(rig_module "$path" "$out")"
		done < <(/sbin/modprobe -d "$tree" -S "$version" --show-depends "$name" 2>/dev/null | awk '$1 == "insmod" {print $2}')
		[[ -z $files ]] || echo "$name:$files"
	done >"$out/order"
}

# rig_module PATH OUT: unpacks one module and prints its new file name.
rig_module()
{
	local name
	name=$(basename "$1")
	name=${name%.xz}
	name=${name%.zst}
	case $1 in
	*.xz) xz -dkc "$1" ;;
	*.zst) zstd -q -dkc "$1" ;;
	*) cat "$1" ;;
	esac >"$2/$name"
	echo "$name"
}
