#!/bin/bash
# Runs every fuzz target with many cases, and adds up how many were run.
# CASES: of each target; dear ones run a share of them. Overflow checks and debug assertions stay on;
# only the code under test and what makes its inputs is optimised.
set -euo pipefail
cd "$(dirname "$0")/.."

export KEYWHEEL_FUZZ_CASES="${CASES:-200000}"
optimised=()
for package in keywheel keywheel-connectors proptest rand_chacha rand_xorshift; do
  optimised+=(--config "profile.dev.package.$package.opt-level=1")
done

said="$(mktemp)"
trap 'rm -f "$said"' EXIT
status=0
cargo test --locked "${optimised[@]}" --workspace --lib \
  --features keywheel-connectors/fake,keywheel-connectors/conformance \
  -- tests::fuzz:: --nocapture >"$said" 2>&1 || status=$?
if [ "$status" != 0 ]; then
  cat "$said"
  echo "a target failed" >&2
  exit "$status"
fi
echo "fuzz targets, $KEYWHEEL_FUZZ_CASES cases of each that is not dear; $(date -u +%F)"
rustc --version
grep -A1 'name = "proptest"' Cargo.lock | tr -d '\n' | sed 's/name = //; s/version = / /; s/"//g; s/$/\n/'
grep -o 'fuzz .*: [0-9]* cases, the slowest [0-9]* us' "$said" | sort
grep -o 'fuzz .*: [0-9]* cases' "$said" |
  awk '{ cases += $(NF - 1); targets += 1 } END { printf "%d targets, %d cases, none failed\n", targets, cases; exit !targets }'
