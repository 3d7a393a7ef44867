#!/bin/bash
# Installs real clients of the interfaces for the tests, if they are missing or of other versions:
# ps-cli, schemathesis and the package itglue, each in a virtual environment of its own below
# target/, as tests/clients/ pins it: requirements.txt, schemathesis.txt and itglue.txt.
#
# pip asks the registry that it is configured for; each file's hash must be one of those pinned.
set -euo pipefail
export LC_ALL=C
root=$(cd "$(dirname "$0")/.." && pwd)
clients=${CARGO_TARGET_DIR:-$root/target}/clients

say() { printf 'clients: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# install <folder> <program> <pins> <package>
install() {
  local made=$clients/$1 program=$2 pinned=$root/tests/clients/$3 package=$4
  # Complete only once the pins lie beside it: they are copied last.
  cmp -s "$pinned" "$made/requirements.txt" && [ -x "$made/bin/$program" ] && return

  python3 -c 'import ensurepip, venv' 2>/dev/null ||
    die "python3 cannot make virtual environments: apt-get install python3-venv"
  say "installing $(sed -n "s/^\($package==[^ ]*\).*/\1/p" "$pinned") into $made"
  rm -rf "$made"
  mkdir -p "$clients"
  python3 -m venv "$made"
  "$made/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
    --require-hashes --only-binary :all: --no-deps --requirement "$pinned"
  cp "$pinned" "$made/requirements.txt"
}

install ps-cli ps-cli requirements.txt beyondtrust-bips-cli
install schemathesis schemathesis schemathesis.txt schemathesis
install itglue python itglue.txt itglue
