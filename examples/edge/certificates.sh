#!/bin/sh
# Makes every certificate of this example with openssl, and the Secrets and ConfigMaps that hold them.
#
#   sh certificates.sh DIR
#
# leaves in DIR what the manifests beside this script name (*.yaml), and what clients and the origin need:
# ca.crt, client.crt and client.key, mtls_bkend.crt and mtls_bkend.key, edge-ca.crt.
set -eu
umask 077
dir=${1:?usage: certificates.sh DIR}
mkdir -p "$dir"
cd "$dir"

# The authority of the clients, and a client's certificate: X.509 version 1, as openssl makes it without
# extensions. Hakone takes it, with a warning.
openssl req -new -x509 -nodes -days 365 -subj '/CN=hyama-ca' -keyout ca.key -out ca.crt
openssl genrsa -out client.key
openssl req -new -subj '/CN=localhost' -key client.key -out client.csr
openssl x509 -req -CA ca.crt -CAkey ca.key -CAcreateserial -days 365 -in client.csr -out client.crt

# The authority of servers, the edge's own certificate, and the origin's for 15 years.
openssl req -new -x509 -nodes -days 5475 -subj '/CN=edge-ca' -keyout edge-ca.key -out edge-ca.crt
server() { # NAME HOST DAYS
	openssl req -new -newkey rsa:2048 -nodes -subj "/CN=$2" -addext "subjectAltName=DNS:$2" -addext extendedKeyUsage=serverAuth -keyout "$1.key" -out "$1.csr"
	openssl x509 -req -CA edge-ca.crt -CAkey edge-ca.key -CAcreateserial -days "$3" -in "$1.csr" -copy_extensions copy -out "$1.crt"
}
server mtls_lb mtls_lb.mtls-test.net 365
server mtls_bkend mtls_bkend.mtls-test.net 5475

# With kubectl: kubectl create -n edge secret tls NAME --cert CERT --key KEY --dry-run=client -o yaml,
# and kubectl create -n edge configmap NAME --from-file ca.crt=CERT --dry-run=client -o yaml.
one_line() { base64 <"$1" | tr -d '\n'; }
secret() { # NAME CERT KEY
	cat >"secret-$1.yaml" <<YAML
apiVersion: v1
kind: Secret
metadata: {name: $1, namespace: edge}
type: kubernetes.io/tls
data:
  tls.crt: $(one_line "$2")
  tls.key: $(one_line "$3")
YAML
}
authority() { # NAME CERT
	cat >"configmap-$1.yaml" <<YAML
apiVersion: v1
kind: ConfigMap
metadata: {name: $1, namespace: edge}
data:
  ca.crt: |
$(sed 's/^/    /' "$2")
YAML
}
secret mtls-lb-cert mtls_lb.crt mtls_lb.key
secret origin-pull-cert client.crt client.key
authority mtls-ca ca.crt
authority origin-ca edge-ca.crt
