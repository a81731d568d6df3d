#!/bin/sh
# Makes the mesh's CA with openssl, and the Secrets and ConfigMaps that hold it and the company's.
#
#   sh certificates.sh DIR [BUMP.CRT]
#
# BUMP.CRT is the certificate that the company's Squid signs with (tls-cert= on its http_port). Without it one is
# made, as bump.crt and bump.key, for a Squid of your own. DIR then has what the manifests beside this script
# name (*.yaml), and mesh-ca.crt for workloads.
set -eu
umask 077
dir=${1:?usage: certificates.sh DIR [BUMP.CRT]}
mkdir -p "$dir"
if [ $# -gt 1 ]; then
	cp "$2" "$dir/bump.crt"
else
	openssl req -new -newkey rsa:2048 -days 3650 -nodes -x509 -subj '/CN=company proxy' -addext basicConstraints=critical,CA:TRUE \
		-addext keyUsage=critical,keyCertSign,cRLSign -keyout "$dir/bump.key" -out "$dir/bump.crt"
fi
cd "$dir"

# The mesh's CA may sign for example.com and what lies below it, and for nothing else.
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -days 365 -nodes -x509 -subj '/CN=mesh egress CA' \
	-addext basicConstraints=critical,CA:TRUE,pathlen:0 -addext keyUsage=critical,keyCertSign,cRLSign \
	-addext 'nameConstraints=critical,permitted;DNS:example.com,excluded;IP:0.0.0.0/0.0.0.0,excluded;IP:::/::' \
	-keyout mesh-ca.key -out mesh-ca.crt

one_line() { base64 <"$1" | tr -d '\n'; }
cat >secret-mesh-ca.yaml <<YAML
apiVersion: v1
kind: Secret
metadata: {name: mesh-ca, namespace: egress}
type: kubernetes.io/tls
data:
  tls.crt: $(one_line mesh-ca.crt)
  tls.key: $(one_line mesh-ca.key)
YAML
authority() { # NAME KEY CERT
	cat >"configmap-$1.yaml" <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: $1, namespace: egress}
data:
  $2: |
$(sed 's/^/    /' "$3")
YAML
}
authority company-ca bump.crt bump.crt
authority mesh-ca ca.crt mesh-ca.crt # for workloads: mount it, and point SSL_CERT_FILE or CURL_CA_BUNDLE to it
