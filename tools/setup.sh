#!/usr/bin/env bash
# Installs what tests and benchmarks use as peers, if it is missing: Debian packages (needs apt and root or
# sudo; says so otherwise), the published suites of tools/suites and the npm modules of tools/peers. Running
# it again does nothing.
set -eu
cd "$(dirname "$0")/.."
declare -A package=(
  [curl]=curl [openssl]=openssl [gnutls-cli]=gnutls-bin [nginx]=nginx-light [haproxy]=haproxy [wrk]=wrk [h2load]=nghttp2-client
  [sslscan]=sslscan [testssl]=testssl.sh [slowhttptest]=slowhttptest [ip]=iproute2 [unshare]=util-linux
  [node]=nodejs [npm]=npm [javac]=openjdk-17-jdk-headless [chromium]=chromium [certutil]=libnss3-tools [python3]=python3
  [squid]=squid-openssl [varnishd]=varnish [nft]=nftables
)
missing=()
for program in "${!package[@]}"; do
  command -v "$program" >/dev/null 2>&1 || [ -x "/usr/sbin/$program" ] || missing+=("${package[$program]}")
done
[ -e /usr/lib/nginx/modules/ngx_stream_module.so ] || missing+=(libnginx-mod-stream) # for W6 of the benchmark
# Debian's Python, whatever else is first in PATH: its modules come from packages.
/usr/bin/python3 -c 'import h2, requests' 2>/dev/null || missing+=(python3 python3-h2 python3-requests)

install_packages() {
  echo "installing: ${missing[*]}" >&2
  local run=()
  if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || { echo "these packages are missing and cannot be installed without root: ${missing[*]}" >&2; exit 1; }
    run=(sudo)
  fi
  export DEBIAN_FRONTEND=noninteractive
  local install=("${run[@]}" apt-get install -y -qq --no-install-recommends)
  # Packages that are servers would start themselves; tests start their own on loopback.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' | "${run[@]}" tee $policy >/dev/null
    "${run[@]}" chmod +x $policy
    trap '"${run[@]}" rm -f $policy' EXIT
  fi
  "${install[@]}" "${missing[@]}" >/dev/null 2>&1 || { "${run[@]}" apt-get update -qq && "${install[@]}" "${missing[@]}" >/dev/null; }
}
[ ${#missing[@]} -eq 0 ] || install_packages

# The suites are built from pinned modules into the user's cache, where package test/program finds them.
declare -A suite=(
  [h2spec]=github.com/summerwind/h2spec/cmd/h2spec
  [connectconformance]=connectrpc.com/conformance/cmd/connectconformance
  [referenceserver]=connectrpc.com/conformance/cmd/referenceserver
  [grpcserver]=connectrpc.com/conformance/cmd/grpcserver
  [grpc-interop-client]=google.golang.org/grpc/interop/client
  [grpc-interop-server]=google.golang.org/grpc/interop/server
  [bettertls]=github.com/Netflix/bettertls/test-suites/cmd/bettertls
)
export GOTOOLCHAIN=${GOTOOLCHAIN:-local}
cache=${XDG_CACHE_HOME:-$HOME/.cache}/hakone/suites
key=$({ go version; cat tools/suites/go.mod tools/suites/go.sum; } | sha256sum | cut -c1-32)
built() {
  [ "$(cat "$cache/key" 2>/dev/null)" = "$key" ] || return 1
  for name in "${!suite[@]}"; do [ -x "$cache/$name" ] || return 1; done
}
if ! built; then
  echo "building the suites: ${!suite[*]}" >&2
  mkdir -p "$cache"
  for name in "${!suite[@]}"; do
    go build -C tools/suites -mod=readonly -trimpath -o "$cache/.$name.$$" "${suite[$name]}"
    mv "$cache/.$name.$$" "$cache/$name"
  done
  echo "$key" >"$cache/key"
fi

# The npm modules are unpacked beside them, without running their scripts.
peers=${XDG_CACHE_HOME:-$HOME/.cache}/hakone/peers
key=$(cat tools/peers/package.json tools/peers/package-lock.json | sha256sum | cut -c1-32)
if [ "$(cat "$peers/key" 2>/dev/null)" != "$key" ]; then
  echo "installing the npm modules of tools/peers" >&2
  rm -rf "$peers" && mkdir -p "$peers"
  cp tools/peers/package.json tools/peers/package-lock.json "$peers/"
  (cd "$peers" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
  echo "$key" >"$peers/key"
fi
