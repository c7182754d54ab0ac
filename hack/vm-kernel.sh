#!/usr/bin/env bash
# Fetch the Linux kernel that test/vm boots: hack/vm-kernel.sh [DIR]
# Or build one that has what no packaged kernel has: hack/vm-kernel.sh --from-source [DIR]
#
# DIR (.cache/vm when not given, .cache/vm-source with --from-source) then holds vmlinuz, config, release
# and modules/. The packages are downloaded from Debian's archive and unpacked there, never installed.
# Where DIR already has the newest kernel that apt knows of, nothing is done.
#
# --from-source builds Debian's sources of the same version with the options in hack/vm-kernel.config: core
# scheduling (CONFIG_SCHED_CORE) above all, which the strategy coresched needs and Debian leaves out. It needs
# gcc, make, flex, bison, bc and libelf-dev, 3 GB in DIR's parent while it runs, and some ten minutes on two cores: JOBS=N
# says how many compilers run at once, two when not given.
set -euo pipefail
cd "$(dirname "$0")/.."
source=
if [ "${1:-}" = --from-source ]; then
  source=y
  shift
fi
dir=${1:-.cache/vm${source:+-source}}

# 6.12 is the oldest kernel that runs well under QEMU's counted instructions: 6.1 hangs with two CPUs.
version=6.12
modules=(configfs null_blk)
# What a node in the guest needs. A kernel of our own has none of these.
[ -n "$source" ] || modules+=(failover net_failover virtio_net overlay veth)

fail() {
  echo "hack/vm-kernel.sh: $*" >&2
  exit 1
}

for tool in apt-get apt-cache dpkg xz; do
  command -v "$tool" >/dev/null ||
    fail "no $tool: this needs Debian or Ubuntu with xz-utils; or put a kernel's bzImage at $dir/vmlinuz"
done
if [ -n "$source" ]; then
  package=linux-source-$version
  newest=$(apt-cache policy "$package" | awk '/Candidate:/ && $2 != "(none)" { print $2 }')
  # Another list of options is another kernel.
  release=${newest:+linux-source-$newest-$(sha256sum hack/vm-kernel.config | cut -c1-12)}
else
  meta=linux-image-$version-cloud-amd64
  package=$(apt-cache depends "$meta" 2>/dev/null | awk '/Depends: linux-image-/ { print $2; exit }')
  release=$package
fi
if [ -z "$release" ]; then
  if [ -f "$dir/vmlinuz" ]; then
    exit 0
  fi
  fail "apt knows no ${meta:-$package}: run apt-get update, with Debian 12's backports or Debian 13 among its sources"
fi
if [ "$(cat "$dir/release" 2>/dev/null)" = "$release" ] && [ "$(cat "$dir/modules/wanted" 2>/dev/null)" = "${modules[*]}" ]; then
  exit 0
fi

# Beside DIR, not in /tmp, which may be memory.
mkdir -p "$(dirname "$dir")"
scratch=$(mktemp -d "$(cd "$(dirname "$dir")" && pwd)/vm-kernel.XXXXXX")
trap 'rm -rf "$scratch"' EXIT

# build_kernel unpacks the sources and leaves in $scratch/tree what the package of a kernel has.
build_kernel() {
  local tool began=$SECONDS made
  for tool in gcc make flex bison bc; do
    command -v "$tool" >/dev/null || fail "no $tool: building a kernel needs gcc make flex bison bc libelf-dev"
  done
  echo '#include <gelf.h>' | gcc -E - >/dev/null 2>&1 || fail "no gelf.h: building a kernel needs libelf-dev"
  tar -C "$scratch" -xf "$scratch/tree/usr/src/$package.tar.xz"
  rm -rf "$scratch/tree"
  made=(make -s -C "$scratch/$package" "-j${JOBS:-2}"
    KCONFIG_ALLCONFIG="$PWD/hack/vm-kernel.config" KBUILD_BUILD_TIMESTAMP=@0 KBUILD_BUILD_USER=plimsoll KBUILD_BUILD_HOST=plimsoll)
  "${made[@]}" allnoconfig >/dev/null
  # Kconfig drops in silence what depends on something else that is off.
  local option missing=
  while read -r option; do
    grep -qx -- "$option" "$scratch/$package/.config" || missing+=" $option"
  done < <(grep '^CONFIG_' hack/vm-kernel.config)
  [ -z "$missing" ] || fail "hack/vm-kernel.config asks for what this kernel does not take so:$missing"
  nice -n 10 "${made[@]}" bzImage modules
  mkdir -p "$scratch/tree/boot" "$scratch/tree/lib/modules"
  cp "$scratch/$package/arch/x86/boot/bzImage" "$scratch/tree/boot/vmlinuz-built"
  cp "$scratch/$package/.config" "$scratch/tree/boot/config-built"
  find "$scratch/$package" -name '*.ko' -exec cp {} "$scratch/tree/lib/modules/" \;
  echo "$dir: built in $((SECONDS - began)) s"
}

chmod 755 "$scratch" # apt downloads as a user of its own
(cd "$scratch" && apt-get -q=2 -o APT::Sandbox::User=root download "$package")
dpkg -x "$scratch"/*.deb "$scratch/tree"
if [ -n "$source" ]; then
  build_kernel
fi

rm -rf "$dir"
mkdir -p "$dir/modules"
cp "$scratch"/tree/boot/vmlinuz-* "$dir/vmlinuz"
cp "$scratch"/tree/boot/config-* "$dir/config"
for module in "${modules[@]}"; do
  file=$(find "$scratch/tree/lib/modules" "$scratch/tree/usr/lib/modules" -name "$module.ko*" 2>/dev/null | head -1 || true)
  case $file in
  *.ko.xz) xz -dc "$file" >"$dir/modules/$module.ko" ;;
  *.ko) cp "$file" "$dir/modules/" ;;
  *) echo "hack/vm-kernel.sh: $package has no module $module" >&2 ;;
  esac
done
echo "${modules[*]}" >"$dir/modules/wanted"
# Last, so that an interrupted run is done again.
echo "$release" >"$dir/release"
echo "$dir: $release"
