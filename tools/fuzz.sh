#!/usr/bin/env bash
# Runs every fuzz target of the tree for the time given (default 5s), one after another. On a busy machine
# Go's fuzzer at times ends with "context deadline exceeded" when its own time is up (no input failed, and
# none is written): such a run is repeated, twice at most.
set -eu
time=${1:-5s}
out=$(mktemp)
trap 'rm -f "$out"' EXIT
fuzz() { # DIR TARGET
  for _ in 1 2 3; do
    go test "$1" -run '^$' -fuzz "^$2\$" -fuzztime "$time" >"$out" 2>&1 && return
    grep -q 'context deadline exceeded' "$out" && ! grep -q 'Failing input written' "$out" || break
    echo "fuzz $1 $2: the fuzzer ran out of its own time; again"
  done
  cat "$out"
  return 1
}
grep -rlE '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r dir; do
  for target in $(grep -hoE '^func Fuzz[A-Za-z0-9_]+' "$dir"/*_test.go | awk '{print $2}'); do
    echo "fuzz $dir $target $time"
    fuzz "$dir" "$target"
  done
done
