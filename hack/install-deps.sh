#!/usr/bin/env bash
# Install what the build and the tests need beside Go, on Debian and Ubuntu.
#
#   hack/install-deps.sh            install what is missing (root)
#   hack/install-deps.sh --check    only say what is missing; fail if the build cannot do without it
#
# runc is the one part that needs cgo: it filters system calls with libseccomp, and containerd
# starts no pod without it.
set -euo pipefail

missing=()  # the build or the tests fail without these
optional=() # something stays uncovered without these
need() { # need PACKAGE CHECK...
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || missing+=("$package")
}
want() { # want PACKAGE CHECK...
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || optional+=("$package")
}
need git command -v git
need make command -v make
need gcc command -v gcc
need libc6-dev test -e /usr/include/stdlib.h
need pkg-config command -v pkg-config
need libseccomp-dev test -e /usr/include/seccomp.h
want shellcheck command -v shellcheck
want qemu-system-x86 command -v qemu-system-x86_64 # boots the guest of the vm tests
want redis-tools command -v redis-check-rdb        # a service of bench-protect; the server is in it
want chromium command -v chromium                  # opens the pages of plimsoll in their tests
want prometheus command -v promtool                # reads the history, the rules and the alerts in their tests
want xz-utils command -v xz                        # unpacks its kernel modules

all=("${missing[@]}" "${optional[@]}")
if [ "${1:-}" = --check ]; then
  if [ ${#optional[@]} != 0 ]; then
    echo "missing, and some tests are skipped without: ${optional[*]}: run hack/install-deps.sh as root"
  fi
  if [ ${#missing[@]} != 0 ]; then
    echo "missing: ${missing[*]}: run hack/install-deps.sh as root, or install them as your system does" >&2
    exit 1
  fi
  exit 0
fi
if [ ${#all[@]} = 0 ]; then
  exit 0
fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  echo "hack/install-deps.sh needs root and apt-get; install these some other way: ${all[*]}" >&2
  exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing ${all[*]}"
apt-get -qq update
apt-get -qq -o Dpkg::Use-Pty=0 install --yes --no-install-recommends "${all[@]}" >/dev/null
