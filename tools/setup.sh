#!/usr/bin/env bash
# Installs the programs that tests and benchmarks use as peers, if they are missing. Needs apt and root
# (or sudo); says so otherwise. Running it again does nothing.
set -eu
declare -A package=(
  [curl]=curl [openssl]=openssl [gnutls-cli]=gnutls-bin [nginx]=nginx-light [haproxy]=haproxy [wrk]=wrk [h2load]=nghttp2-client
  [sslscan]=sslscan [ip]=iproute2
)
missing=()
for program in "${!package[@]}"; do
  command -v "$program" >/dev/null 2>&1 || [ -x "/usr/sbin/$program" ] || missing+=("${package[$program]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0
echo "installing: ${missing[*]}" >&2
run=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "these packages are missing and cannot be installed without root: ${missing[*]}" >&2; exit 1; }
  run=(sudo)
fi
export DEBIAN_FRONTEND=noninteractive
install=("${run[@]}" apt-get install -y -qq --no-install-recommends)
# Packages that are servers would start themselves; tests start their own on loopback.
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
  printf '#!/bin/sh\nexit 101\n' | "${run[@]}" tee $policy >/dev/null
  "${run[@]}" chmod +x $policy
  trap '"${run[@]}" rm -f $policy' EXIT
fi
"${install[@]}" "${missing[@]}" >/dev/null 2>&1 || { "${run[@]}" apt-get update -qq && "${install[@]}" "${missing[@]}" >/dev/null; }
