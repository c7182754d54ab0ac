#!/usr/bin/env bash
# Fetch the Linux kernel that test/vm boots: hack/vm-kernel.sh [DIR]
#
# DIR (.cache/vm when not given) then holds vmlinuz, config, release and modules/. The package is
# downloaded from Debian's archive and unpacked there, never installed. Where DIR already has the
# newest kernel that apt knows of, nothing is done.
set -euo pipefail
cd "$(dirname "$0")/.."
dir=${1:-.cache/vm}

# 6.12 is the oldest kernel that runs well under QEMU's counted instructions: 6.1 hangs with two CPUs.
meta=linux-image-6.12-cloud-amd64
modules=(configfs null_blk)

for tool in apt-get apt-cache dpkg xz; do
  if ! command -v "$tool" >/dev/null; then
    echo "hack/vm-kernel.sh: no $tool: this needs Debian or Ubuntu with xz-utils; or put a kernel's bzImage at $dir/vmlinuz" >&2
    exit 1
  fi
done
package=$(apt-cache depends "$meta" 2>/dev/null | awk '/Depends: linux-image-/ { print $2; exit }')
if [ -z "$package" ]; then
  if [ -f "$dir/vmlinuz" ]; then
    exit 0
  fi
  echo "hack/vm-kernel.sh: apt knows no $meta: run apt-get update, with Debian 12's backports or Debian 13 among its sources" >&2
  exit 1
fi
if [ "$(cat "$dir/release" 2>/dev/null)" = "$package" ]; then
  exit 0
fi

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
chmod 755 "$scratch" # apt downloads as a user of its own
(cd "$scratch" && apt-get -q=2 -o APT::Sandbox::User=root download "$package")
dpkg -x "$scratch"/*.deb "$scratch/tree"

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
# Last, so that an interrupted run is done again.
echo "$package" >"$dir/release"
echo "$dir: $package"
