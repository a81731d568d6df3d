package enroll

import (
	"path/filepath"
	"strings"
)

// Snippet is configuration for one kind of server, ready to use.
type Snippet struct {
	Server string // nginx, node, go, caddy
	File   string
	Text   string
}

const nginxText = `# %NAME%: nginx as an origin that lets only its edge in (hakone origin enroll).
server {
    listen 443 ssl;
    server_name %HOSTS%;

    ssl_certificate        "%DIR%/%NAME%.crt";
    ssl_certificate_key    "%DIR%/%NAME%.key";
    ssl_protocols          TLSv1.2 TLSv1.3;

    # The CA of the edge's certificate, which has issued nothing else.
    ssl_client_certificate "%DIR%/edge-ca.crt";
    ssl_verify_client      on;
    ssl_verify_depth       1;

    location / {
        root /var/www/html;
    }
}
`

const nodeText = `// %NAME%: Node.js with Express as an origin that lets only its edge in (hakone origin enroll).
// npm install express && node index.js
const express = require('express');
const https = require('https');
const fs = require('fs');

const options = {
  ca: fs.readFileSync('%DIR%/edge-ca.crt'), // the CA of the edge's certificate, which has issued nothing else
  cert: fs.readFileSync('%DIR%/%NAME%.crt'),
  key: fs.readFileSync('%DIR%/%NAME%.key'),
  minVersion: 'TLSv1.2',
  requestCert: true,
  rejectUnauthorized: true,
};

const app = express();
app.get('/', (req, res) => {
  res.status(200).json({ message: 'Hello ' + req.socket.getPeerCertificate().subject.CN });
});

const port = process.env.PORT || 443;
https.createServer(options, app).listen(port, () => {
  console.log('HTTPS listening on ' + port);
});
`

const goText = `// %NAME%: a Go server as an origin that lets only its edge in (hakone origin enroll).
package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log"
	"net/http"
	"os"
)

func main() {
	pem, err := os.ReadFile("%DIR%/edge-ca.crt") // the CA of the edge's certificate, which has issued nothing else
	if err != nil {
		log.Fatal(err)
	}
	edge := x509.NewCertPool()
	if !edge.AppendCertsFromPEM(pem) {
		log.Fatal("edge-ca.crt holds no certificate")
	}
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "Hello %s\n", r.TLS.PeerCertificates[0].Subject.CommonName)
	})
	address := os.Getenv("ADDRESS")
	if address == "" {
		address = ":443"
	}
	server := &http.Server{Addr: address, TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: edge}}
	log.Fatal(server.ListenAndServeTLS("%DIR%/%NAME%.crt", "%DIR%/%NAME%.key"))
}
`

const caddyText = `# %NAME%: Caddy 2.8 or later as an origin that lets only its edge in (hakone origin enroll).
%SITES% {
	tls "%DIR%/%NAME%.crt" "%DIR%/%NAME%.key" {
		client_auth {
			mode require_and_verify
			trust_pool file {
				pem_file "%DIR%/edge-ca.crt"
			}
		}
	}
	root * /var/www/html
	file_server
}
`

// Snippets returns the configuration of an origin for nginx, Node.js, Go and Caddy. The files are sought
// in the plan's Dir.
func (p *Plan) Snippets() []Snippet {
	dir := p.Dir
	if dir == "" {
		dir = "."
	}
	dir = filepath.ToSlash(dir)
	quoted := strings.NewReplacer(`\`, `\\`, `"`, `\"`, `'`, `\'`).Replace(dir)
	fill := strings.NewReplacer("%NAME%", p.Name, "%HOSTS%", strings.Join(p.Hosts, " "), "%SITES%", "https://"+strings.Join(p.Hosts, ", https://"), "%DIR%", quoted)
	return []Snippet{
		{"nginx", "nginx.conf", fill.Replace(nginxText)},
		{"node", "index.js", fill.Replace(nodeText)},
		{"go", "main.go", fill.Replace(goText)},
		{"caddy", "Caddyfile", fill.Replace(caddyText)},
	}
}
