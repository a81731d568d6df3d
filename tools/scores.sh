#!/usr/bin/env bash
# Runs a package of tests against $HAKONE_BIN and prints what each suite scored, or, if a test fails,
# everything that was printed.
set -eu
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if go test "$1" -tags e2e -count=1 -timeout 15m -v >"$log" 2>&1; then
  grep -E '^ +[a-z0-9]+_test\.go:[0-9]+: ' "$log" | sed -E 's/^ +[a-z0-9]+_test\.go:[0-9]+: //'
  tail -n 1 "$log"
else
  cat "$log"
  exit 1
fi
