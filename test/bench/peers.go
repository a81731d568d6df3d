//go:build linux

package main

// The peers' configurations. Each setting that is not a default is there because the peer is faster or
// does more nearly the same work with it:
//
//   - upstream connections are kept alive (nginx needs HTTP/1.1, an empty Connection field in the same
//     block as every other proxy_set_header, and keepalive_requests on both sides; HAProxy needs
//     http-reuse always);
//   - TLS 1.3 with AES-128-GCM and X25519, which is what crypto/tls picks with a Go or OpenSSL client;
//   - the same fields towards the upstream: Host, X-Forwarded-For, X-Forwarded-Proto, X-Request-Id;
//   - one session ticket for each handshake, as crypto/tls sends, instead of OpenSSL's two: that is a tenth
//     of the cost of a handshake, a fifth with a client certificate (HAProxy takes it from openssl.cnf);
//   - the same deadlines, and an access log of the same fields when ours is on.

const nginxConf = `daemon off;
user root;
worker_processes {{.Cores}};
worker_rlimit_nofile 20000;
pid {{.Own}}/nginx.pid;
error_log stderr warn;
events {
  worker_connections 9000;
  multi_accept on;
  use epoll;
}
http {
  client_body_temp_path {{.Own}}/body;
  proxy_temp_path {{.Own}}/proxy;
  fastcgi_temp_path {{.Own}}/fastcgi;
  uwsgi_temp_path {{.Own}}/uwsgi;
  scgi_temp_path {{.Own}}/scgi;
  sendfile on;
  tcp_nodelay on;
  server_tokens off;
  keepalive_timeout 300s;
  keepalive_requests 1000000000;
  client_header_timeout 15s;
  client_body_timeout 60s;
  send_timeout 60s;
  client_max_body_size 0;
{{- if .AccessLog}}
  log_format bench escape=json '{"time":"$time_iso8601","remote":"$remote_addr:$remote_port","method":"$request_method","authority":"$http_host","path":"$request_uri",'
    '"status":$status,"bytes":$body_bytes_sent,"received":$request_length,"duration":$request_time,"upstream":"$upstream_addr","upstream_duration":"$upstream_response_time",'
    '"request_id":"$request_id","tls":"$ssl_protocol","cipher":"$ssl_cipher","sni":"$ssl_server_name","agent":"$http_user_agent"}';
  access_log {{.Own}}/access.log bench buffer=64k flush=1s;
{{- else}}
  access_log off;
{{- end}}
  ssl_protocols TLSv1.2 TLSv1.3;
  ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
  ssl_ecdh_curve X25519;
  ssl_session_cache shared:bench:20m;
  ssl_session_tickets on;
  ssl_conf_command NumTickets 1;
  proxy_http_version 1.1;
  proxy_connect_timeout 5s;
  proxy_read_timeout 60s;
  proxy_send_timeout 60s;
{{- if .Bulk}}
  proxy_buffer_size 64k;
  proxy_buffers 16 64k;
  proxy_busy_buffers_size 128k;
  proxy_max_temp_file_size 0;
{{- end}}
  proxy_set_header Connection "";
  proxy_set_header Host $http_host;
  proxy_set_header X-Forwarded-For $remote_addr;
  proxy_set_header X-Forwarded-Proto $scheme;
  proxy_set_header X-Request-Id $request_id;
  upstream plain {
    server 127.0.0.1:{{.Plain}} max_fails=0;
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
  }
  upstream tls {
    server 127.0.0.1:{{.TLS}} max_fails=0;
    keepalive 1024;
    keepalive_requests 1000000000;
    keepalive_timeout 300s;
  }
  server {
    listen 127.0.0.1:{{.Doors.ECDSA}} ssl http2{{if gt .Cores 1}} reuseport{{end}} backlog=4096;
    server_name {{.Host}};
    ssl_certificate {{.PKI.Server}};
    ssl_certificate_key {{.PKI.ServerKey}};
    location / { proxy_pass http://plain; }
  }
  server {
    listen 127.0.0.1:{{.Doors.MTLS}} ssl{{if gt .Cores 1}} reuseport{{end}} backlog=4096;
    server_name {{.Host}};
    ssl_certificate {{.PKI.Server}};
    ssl_certificate_key {{.PKI.ServerKey}};
    ssl_client_certificate {{.PKI.CA}};
    ssl_verify_client on;
    location / { proxy_pass http://plain; }
  }
  server {
    listen 127.0.0.1:{{.Doors.RSA}} ssl{{if gt .Cores 1}} reuseport{{end}} backlog=4096;
    server_name {{.Host}};
    ssl_certificate {{.PKI.RSA}};
    ssl_certificate_key {{.PKI.RSAKey}};
    location / { proxy_pass http://plain; }
  }
  server {
    listen 127.0.0.1:{{.Doors.MTLSEnd}} ssl{{if gt .Cores 1}} reuseport{{end}} backlog=4096;
    server_name {{.Host}};
    ssl_certificate {{.PKI.Server}};
    ssl_certificate_key {{.PKI.ServerKey}};
    ssl_client_certificate {{.PKI.CA}};
    ssl_verify_client on;
    location / {
      proxy_pass https://tls;
      proxy_ssl_certificate {{.PKI.Client}};
      proxy_ssl_certificate_key {{.PKI.ClientKey}};
      proxy_ssl_trusted_certificate {{.PKI.CA}};
      proxy_ssl_verify on;
      proxy_ssl_name {{.Host}};
      proxy_ssl_server_name on;
      proxy_ssl_protocols TLSv1.3;
      proxy_ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256;
    }
  }
}
`

const haproxyConf = `{{define "rules"}}  http-request set-header X-Forwarded-Proto https
{{- if .AccessLog}}
  http-request set-var(txn.host) req.hdr(host)
  http-request set-var(txn.agent) req.hdr(user-agent)
{{- end}}{{end -}}
global
  nbthread {{.Cores}}
  maxconn 9000
  stats socket {{.Own}}/admin.sock
{{- if .AccessLog}}
  log stdout format raw local0
{{- end}}
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256
  ssl-default-bind-curves X25519
  ssl-default-server-ciphersuites TLS_AES_128_GCM_SHA256
  tune.ssl.cachesize 100000
{{- if .Bulk}}
  tune.bufsize 65536
{{- end}}
defaults
  mode http
  timeout connect 5s
  timeout client 300s
  timeout server 60s
  timeout http-request 15s
  timeout http-keep-alive 300s
  option http-keep-alive
  http-reuse always
  option forwardfor
  unique-id-format %{+X}o\ %ci%cp%fi%fp%Ts%rt%pid
  unique-id-header X-Request-Id
{{- if .AccessLog}}
  log global
  log-format '{"time":"%t","remote":"%ci:%cp","method":"%HM","authority":"%[var(txn.host)]","path":"%HU","status":%ST,"bytes":%B,"received":%U,"duration":%Ta,"upstream":"%si:%sp","upstream_duration":%Tr,"request_id":"%ID","tls":"%sslv","cipher":"%sslc","sni":"%[ssl_fc_sni]","agent":"%[var(txn.agent)]"}'
{{- else}}
  option dontlog-normal
{{- end}}
frontend ecdsa
  bind 127.0.0.1:{{.Doors.ECDSA}} ssl crt {{.Own}}/server.pem alpn h2,http/1.1 backlog 4096
{{template "rules" .}}
  default_backend plain
frontend mtls
  bind 127.0.0.1:{{.Doors.MTLS}} ssl crt {{.Own}}/server.pem alpn http/1.1 ca-file {{.PKI.CA}} verify required backlog 4096
{{template "rules" .}}
  default_backend plain
frontend rsa
  bind 127.0.0.1:{{.Doors.RSA}} ssl crt {{.Own}}/rsa.pem alpn http/1.1 backlog 4096
{{template "rules" .}}
  default_backend plain
frontend mtlsend
  bind 127.0.0.1:{{.Doors.MTLSEnd}} ssl crt {{.Own}}/server.pem alpn http/1.1 ca-file {{.PKI.CA}} verify required backlog 4096
{{template "rules" .}}
  default_backend tls
backend plain
  server up 127.0.0.1:{{.Plain}} pool-max-conn 512 pool-purge-delay 300s
backend tls
  server up 127.0.0.1:{{.TLS}} pool-max-conn 512 pool-purge-delay 300s ssl verify required ca-file {{.PKI.CA}} crt {{.Own}}/client.pem sni str({{.Host}}) verifyhost {{.Host}}
`

// opensslConf sets for HAProxy what it has no directive for.
const opensslConf = `openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = default
[default]
NumTickets = 1
`
