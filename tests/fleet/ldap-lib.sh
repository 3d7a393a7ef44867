# Sourced by the directory recipes (ca.sh, slapd.sh, ds389.sh, samba-ad.sh); does nothing by itself.
# Whatever they make lies below FLEET_DIR, and they signal no process that they did not record.
set -eu -o pipefail
umask 077
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
fleet=${FLEET_DIR:-${TMPDIR:-/tmp}/keywheel-fleet}
pki=$fleet/pki

fail() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

# needs PROGRAM PACKAGE: a missing tool is named together with its package.
needs() { command -v "$1" >/dev/null || fail "$1 is missing; install the package $2"; }

[[ $fleet =~ ^/[A-Za-z0-9._/-]{1,59}$ ]] ||
  fail "FLEET_DIR must be an absolute path of at most 60 letters, digits, dots, dashes and slashes"
mkdir -p "$fleet"
# The default name can be guessed, so a directory or a link of somebody else is refused.
[[ ! -L $fleet && -O $fleet ]] || fail "$fleet belongs to somebody else"

# running DIR: prints the pid recorded in DIR/pid while that process still has a file open in DIR.
# A recycled pid has none, so it is never taken for ours.
running() {
  local pid
  pid=$(tr -cd 0-9 2>/dev/null <"$1/pid") || return 1
  [[ -n $pid && -d /proc/$pid/fd ]] || return 1
  readlink "/proc/$pid/fd/"* 2>/dev/null | grep -qF "$1/" || return 1
  printf '%s\n' "$pid"
}

# finish DIR: asks the process recorded in DIR to end and waits for it, at most 20 s.
finish() {
  local pid tries
  pid=$(running "$1") || return 0
  kill -TERM "$pid"
  for ((tries = 0; tries < 1000; tries++)); do
    running "$1" >/dev/null || return 0
    sleep 0.02
  done
  fail "pid $pid does not end"
}

# until_true COMMAND…: repeats it until it succeeds, at most 20 s.
until_true() {
  local tries
  for ((tries = 0; tries < 800; tries++)); do
    "$@" >/dev/null 2>&1 && return 0
    sleep 0.025
  done
  return 1
}

# hold: starts a server that many tests of one process share, and ends it when that process does:
# its end closes our standard input, however it came about. An interrupt meant for the tests must
# not end us before the server.
hold() {
  trap '' INT
  start
  cat >/dev/null
  stopped
  rm -rf "$dir" "$pki"
  rmdir "$fleet" 2>/dev/null || true
}
