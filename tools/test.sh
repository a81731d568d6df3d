#!/usr/bin/env bash
# Everything that must hold before a change lands. Prints how long each part took.
set -eu
cd "$(dirname "$0")/.."
begin=$SECONDS
part() {
  local name=$1 start=$SECONDS
  shift
  echo "== $name"
  "$@" || { echo "== $name FAILED after $((SECONDS - start)) s"; exit 1; }
  echo "== $name: $((SECONDS - start)) s"
}
part "modules" go mod download
part "setup" tools/setup.sh
part "build" make --no-print-directory build
part "lint" make --no-print-directory lint
part "unit and golden" make --no-print-directory unit
part "short fuzz" make --no-print-directory fuzz FUZZTIME=1s
part "demo" bin/hakone demo --script
part "demo of the edge" bin/hakone demo edge --script
part "demo of egress" bin/hakone demo egress --script
part "end to end" make --no-print-directory e2e
part "edge" make --no-print-directory edge
part "egress" make --no-print-directory egress
part "suites and real clients" make --no-print-directory interop
part "hostile peers" make --no-print-directory hostile
echo "== all: $((SECONDS - begin)) s"
