#!/bin/bash
# Installs real clients of the interfaces for the tests, if they are missing or of other versions:
# ps-cli in a virtual environment below target/, as tests/clients/requirements.txt pins it.
#
# pip asks the registry that it is configured for; each file's hash must be one of those pinned.
set -euo pipefail
export LC_ALL=C
root=$(cd "$(dirname "$0")/.." && pwd)
pinned=$root/tests/clients/requirements.txt
made=${CARGO_TARGET_DIR:-$root/target}/clients/ps-cli

say() { printf 'clients: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

# Complete only once the pins lie beside it: they are copied last.
cmp -s "$pinned" "$made/requirements.txt" && [ -x "$made/bin/ps-cli" ] && exit 0

python3 -c 'import ensurepip, venv' 2>/dev/null ||
  die "python3 cannot make virtual environments: apt-get install python3-venv"
say "installing $(sed -n 's/^\(beyondtrust-bips-cli==[^ ]*\).*/\1/p' "$pinned") into $made"
rm -rf "$made"
mkdir -p "$(dirname "$made")"
python3 -m venv "$made"
"$made/bin/python" -m pip install --quiet --disable-pip-version-check --no-input \
  --require-hashes --only-binary :all: --no-deps --requirement "$pinned"
cp "$pinned" "$made/requirements.txt"
