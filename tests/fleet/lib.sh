# What every server of the test fleet needs: a record of its process, a wait for its first word,
# an end for that process and no other.
#
# Invariant: a signal goes only to a process whose recorded id and start time both still match.
# Source it from bash. The caller sets FLEET_DIR, one fresh directory per server.

fleet_die() {
  printf '%s: %s\n' "${0##*/}" "$*" >&2
  exit 1
}

# fleet_need COMMAND PACKAGE: says what to install when COMMAND is missing.
fleet_need() {
  command -v "$1" >/dev/null || fleet_die "$1 is missing; install the Debian package $2"
}

# fleet_root WHAT: says why root is needed.
fleet_root() {
  [ "$(id -u)" = 0 ] || fleet_die "$1 needs root: it runs in a mount namespace of its own"
}

# fleet_started PID: prints when PID started, in clock ticks since boot; nothing if it is gone.
# The command's name stands in brackets and may hold blanks, so cut behind the last bracket.
fleet_started() {
  local stat
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
  # shellcheck disable=SC2086
  set -- ${stat##*) }
  # A zombie has ended; only its parent has not noticed.
  [ "$1" = Z ] || printf '%s\n' "${20}"
}

# fleet_record PID: remembers a process that we started.
fleet_record() {
  printf '%s %s\n' "$1" "$(fleet_started "$1")" >"$FLEET_DIR/pid"
}

# fleet_pid: prints the recorded process if it still runs, else fails.
fleet_pid() {
  local pid started
  [ -f "$FLEET_DIR/pid" ] || return 1
  read -r pid started <"$FLEET_DIR/pid"
  [ -n "$pid" ] && [ -n "$started" ] && [ "$(fleet_started "$pid")" = "$started" ] || return 1
  printf '%s\n' "$pid"
}

# fleet_gone PID TENTHS: waits until PID has ended.
fleet_gone() {
  local left=$2
  while [ -n "$(fleet_started "$1")" ]; do
    [ "$left" -gt 0 ] || return 1
    left=$((left - 1))
    sleep 0.1
  done
}

# fleet_end PID: ends one process of ours, gently first.
fleet_end() {
  kill -TERM "$1" 2>/dev/null || return 0
  fleet_gone "$1" 50 || { kill -KILL "$1" 2>/dev/null; fleet_gone "$1" 50; }
}

# fleet_stop: ends the recorded process and whatever lives on in its mount namespace.
# The open file keeps the namespace alive, so its number cannot pass to a stranger meanwhile.
fleet_stop() {
  local pid here ours link
  pid=$(fleet_pid) || { rm -f "$FLEET_DIR/pid"; return 0; }
  exec 7<"/proc/$pid/ns/mnt"
  ours=$(readlink "/proc/$pid/ns/mnt")
  here=$(readlink /proc/self/ns/mnt)
  fleet_end "$pid"
  if [ "$ours" != "$here" ]; then
    for link in /proc/[0-9]*/ns/mnt; do
      [ "$(readlink "$link" 2>/dev/null)" = "$ours" ] || continue
      link=${link#/proc/}
      fleet_end "${link%%/*}"
    done
  fi
  exec 7<&-
  rm -f "$FLEET_DIR/pid"
}

# fleet_await PID TENTHS COMMAND...: repeats COMMAND until it succeeds; fails when PID has ended.
fleet_await() {
  local pid=$1 left=$(($2 * 2))
  shift 2
  until "$@"; do
    [ -n "$(fleet_started "$pid")" ] && [ "$left" -gt 0 ] || return 1
    left=$((left - 1))
    sleep 0.05
  done
}
