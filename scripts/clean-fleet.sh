#!/bin/bash
# Ends and removes what a demo left behind that was killed before it could do so itself: the
# service and the servers of its folder, then the folder. A demo that still runs is left alone.
#
# A process is signalled only if its recorded id and start time both still match.
set -euo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
root=$(cd "$(dirname "$0")/.." && pwd)
# shellcheck source=tests/fleet/lib.sh
. "$root/tests/fleet/lib.sh"

shopt -s nullglob
left=0
for folder in "${TMPDIR:-/tmp}"/keywheel-demo-?????? /tmp/keywheel-demo-??????; do
  # A folder of somebody else is none of ours.
  [ -d "$folder" ] && [ ! -L "$folder" ] && [ -O "$folder" ] || continue
  read -r pid started <"$folder/demo.pid" 2>/dev/null || continue
  if [ -n "$started" ] && [ "$(fleet_started "$pid")" = "$started" ]; then
    echo "$folder: its demo still runs as process $pid"
    continue
  fi
  FLEET_DIR=$folder/service fleet_stop
  for host in "$folder"/*/keys; do
    FLEET_DIR=${host%/keys} bash "$root/tests/fleet/sshd.sh" stop
  done
  for directory in "$folder"/*/pki; do
    FLEET_DIR=${directory%/pki} bash "$root/tests/fleet/slapd.sh" stop
  done
  rm -rf --one-file-system "$folder"
  echo "$folder: removed"
  left=1
done
[ "$left" = 1 ] || echo "no demo left anything behind"
