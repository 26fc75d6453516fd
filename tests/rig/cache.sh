# shellcheck shell=bash
# The cache of what the rig builds from Debian packages: kernels, initrds, disk images.
#
# An artefact lives in $rig_cache/NAME-KEY, where KEY is a hash of its recipe (the files and words that determine it), so a
# changed recipe is a new artefact and an old one is never half right. It is built in a directory of its own and renamed
# when complete, so an interrupted build leaves nothing that looks finished. Older keys of the same
# name are removed once they have not been used for a day: other checkouts may share the cache.
#
# Packages are fetched by apt with directories of its own (lists, archives, an empty package status), one set per
# architecture: the system's package database is neither used nor changed, and no root is needed.

rig_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034  # read by the scripts that source this one
rig_repo=$(cd "$rig_dir/../.." && pwd)
rig_cache=${PAGODA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pagoda}/rig

rig_die()
{
	echo "rig: $*" >&2
	exit 1
}

rig_say()
{
	echo "rig: $*" >&2
}

# rig_key WORD...: prints a short hash of the words and of the content of those that name files.
rig_key()
{
	local word
	for word in "$@"; do
		echo "$word"
		[[ ! -f $word ]] || cat "$word"
	done | sed "s|$rig_dir/||" | sha256sum | cut -c1-12
}

# rig_artefact NAME KEY BUILDER [ARG...]: prints the path of the artefact and builds it first if it is missing.
# BUILDER is called with a new directory, then ARG...; what it leaves there becomes the artefact.
rig_artefact()
{
	local name=$1 key=$2 builder=$3 path temp
	shift 3
	path=$rig_cache/$name-$key
	if [[ ! -d $path ]]; then
		mkdir -p "$rig_cache" || rig_die "cannot create $rig_cache; set PAGODA_CACHE to a directory that you may write"
		(
			flock 9
			[[ ! -d $path ]] || exit 0
			rig_say "building $name (once; kept in $rig_cache)"
			temp=$(mktemp -d "$rig_cache/.building-$name-XXXXXX")
			trap 'rm -rf "$temp"' EXIT
			chmod 755 "$temp"
			# a process of its own, so that any failing command in it ends it, whatever the context of this call
			bash "$rig_dir/rig" _build "$builder" "$temp" "$@" >&2 || exit 1
			# another checkout may be using one with another key: only what nobody has used for a day goes
			find "$rig_cache" -maxdepth 1 -name "$name-????????????" -mtime +0 -exec rm -rf {} +
			mv "$temp" "$path"
		) 9>"$rig_cache/.lock-$name" || exit 1
	fi
	touch -c "$path"
	echo "$path"
}

# rig_apt ARCH ARG...: apt-get with the rig's own state for that Debian architecture.
rig_apt()
{
	local arch=$1 state=$rig_cache/apt/$1
	shift
	apt-get -q -y \
		-o APT::Architecture="$arch" -o APT::Architectures="$arch" \
		-o APT::Install-Recommends=false -o APT::Sandbox::User=root -o APT::Get::AllowUnauthenticated=false \
		-o Acquire::Languages=none -o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false \
		-o Dir::State="$state" -o Dir::State::status="$state/status" -o Dir::State::extended_states="$state/extended" \
		-o Dir::Cache="$state/cache" -o Dir::Log="$state" -o DPkg::Lock::Timeout=120 -o Acquire::Retries=3 \
		-o APT::Update::Post-Invoke::= -o Debug::NoLocking=false "$@"
}

# rig_apt_update ARCH: fetches package lists, at most once in six hours.
rig_apt_update()
{
	local state=$rig_cache/apt/$1
	mkdir -p "$state/lists/partial" "$state/cache/archives/partial"
	(
		flock 9
		if [[ -z $(find "$state/fresh" -mmin -360 2>/dev/null) ]]; then
			: >"$state/status"
			# a source that fails alone is no reason to stop: what it lacks may not be needed
			rig_apt "$1" update >"$state/update.log" 2>&1 || rig_say "some package lists for $1 could not be fetched; log: $state/update.log"
			touch "$state/fresh"
		fi
	) 9>"$state/lock"
}

# rig_fetch ARCH DIR PACKAGE...: unpacks the packages and all that they depend on into DIR, without running their scripts.
rig_fetch()
{
	local arch=$1 dir=$2 archives deb name
	shift 2
	rig_apt_update "$arch"
	archives=$(mktemp -d "$rig_cache/.debs-XXXXXX")
	mkdir -p "$archives/partial" "$dir"
	rig_apt "$arch" -o Dir::Cache::archives="$archives" install --download-only "$@" >/dev/null ||
		{ rm -rf "$archives"; rig_die "cannot download $* ($arch)"; }
	for deb in "$archives"/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C "$dir"
		name=${deb##*/}
		echo "${name%.deb}" >>"$dir/.packages"
	done
	rm -rf "$archives"
}

# rig_fetch_only ARCH DIR PACKAGE...: the same for exactly these packages, without what they depend on.
rig_fetch_only()
{
	local arch=$1 dir=$2 work deb
	shift 2
	rig_apt_update "$arch"
	mkdir -p "$dir"
	work=$(mktemp -d "$rig_cache/.debs-XXXXXX")
	(cd "$work" && rig_apt "$arch" download "$@" >/dev/null) ||
		{ rm -rf "$work"; rig_die "cannot download $* ($arch)"; }
	for deb in "$work"/*.deb; do
		dpkg-deb --fsys-tarfile "$deb" | tar -x --keep-directory-symlink --no-same-owner -C "$dir"
	done
	rm -rf "$work"
}

# rig_kernel_package ARCH METAPACKAGE: prints the package that the metapackage stands for.
rig_kernel_package()
{
	local arch=$1
	rig_apt_update "$arch"
	rig_apt "$arch" --simulate install "$2" | awk '$1 == "Inst" && $2 ~ /^linux-image-[0-9].*[0-9]/ && $2 != "'"$2"'" {print $2; exit}'
}
