#!/bin/bash
# Installs the Debian packages that building, the fleet or the tests need, if they are missing.
#
#   scripts/packages.sh [--check] build|fleet|tests|bench|all ...
#
#   build   what a `cargo build` needs beside Rust
#   fleet   the real targets of tests/fleet/ and of `make demo`, and the clients that check them
#   tests   what the tests start or ask beside the fleet
#   bench   what the measurements compare with; not part of all
#
# --check installs nothing, names what is missing and exits 1. Without root it goes through sudo.
# Debian would start a new sshd and slapd on every interface. So nothing is started: a policy-rc.d
# says no while packages are unpacked, and what stood in its place before is put back.
#
# Rust is not installed here: this script only says whether the one that is there is new enough.
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
root=$(cd "$(dirname "$0")/.." && pwd)

build=(build-essential pkg-config libssl-dev)
fleet=(openssh-server openssh-client dropbear-bin sshpass sudo opendoas libpam-modules
  libpam-pwquality cracklib-runtime tcsh util-linux slapd slapd-contrib ldap-utils openssl procps
  389-ds-base libnss3-tools samba-ad-dc samba-ad-provision ldb-tools)
tests=(7zip age postgresql prometheus jq python3 python3-aiosmtpd python3-venv git rsyslog)
bench=(ansible-core)

# Everything that would start a server while a package is installed asks this file first.
gate=/usr/sbin/policy-rc.d

say() { printf 'packages: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

as_root() {
  if [ "$(id -u)" = 0 ]; then
    "$@"
  elif command -v sudo >/dev/null; then
    sudo -- "$@"
  else
    die "root is needed and sudo is not there; run as root: $*"
  fi
}

check=0
wanted=()
for word in "$@"; do
  case $word in
    --check) check=1 ;;
    build) wanted+=("${build[@]}") ;;
    fleet) wanted+=("${fleet[@]}") ;;
    tests) wanted+=("${tests[@]}") ;;
    bench) wanted+=("${bench[@]}") ;;
    all) wanted+=("${build[@]}" "${fleet[@]}" "${tests[@]}") ;;
    *) die "unknown group $word; there are build, fleet, tests, bench and all" ;;
  esac
done
[ "${#wanted[@]}" -gt 0 ] || die "usage: packages.sh [--check] build|fleet|tests|bench|all ..."

installed() {
  [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

close_gate() {
  kept=$(mktemp -d)
  # The name may also stand for a link, which is kept as one.
  if [ -e "$gate" ] || [ -L "$gate" ]; then as_root cp -a "$gate" "$kept/gate"; fi
  trap open_gate EXIT
  trap 'exit 130' INT
  trap 'exit 143' TERM HUP
  printf '#!/bin/sh\nexit 101\n' >"$kept/closed"
  as_root rm -f "$gate"
  as_root install -m 755 "$kept/closed" "$gate"
}

open_gate() {
  as_root rm -f "$gate"
  if [ -e "$kept/gate" ] || [ -L "$kept/gate" ]; then as_root cp -a "$kept/gate" "$gate"; fi
  as_root rm -rf "$kept"
}

command -v apt-get >/dev/null && command -v dpkg-query >/dev/null ||
  die "this is no Debian; install what stands for these packages here: ${wanted[*]}"

missing=()
for package in "${wanted[@]}"; do
  installed "$package" || missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
  [ "$check" = 0 ] || die "missing: ${missing[*]}"
  say "installing ${missing[*]} (no service is started)"
  close_gate
  as_root apt-get -q update
  as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y \
    -o DPkg::Lock::Timeout=120 install --no-install-recommends "${missing[@]}"
fi

need=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
how="see https://rustup.rs, then: rustup toolchain install stable --component clippy,rustfmt"
command -v cargo >/dev/null || die "there is no cargo; Rust $need or newer is needed: $how"
have=$(cd "$root" && rustc --version | cut -d ' ' -f 2)
oldest=$(printf '%s\n' "$need" "${have%%-*}" | sort -V | head -n 1)
[ "$oldest" = "$need" ] || die "Rust $have is there, $need or newer is needed: $how"
