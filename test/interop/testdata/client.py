"""A client of Python: client.py http1.1|h2 PORT HOST PATH CA [CERT KEY]. Prints "PROTOCOL STATUS BODY"."""
import http.client
import socket
import ssl
import sys

import h2.config
import h2.connection
import h2.events

version, port, host, path, ca = sys.argv[1:6]
context = ssl.create_default_context(cafile=ca)
context.set_alpn_protocols(["h2" if version == "h2" else "http/1.1"])
if len(sys.argv) > 6:
    context.load_cert_chain(sys.argv[6], sys.argv[7])


def ask_h1(tls):
    connection = http.client.HTTPSConnection(host, int(port))
    connection.sock = tls
    connection.request("GET", path)
    response = connection.getresponse()
    protocol = {10: "http/1.0", 11: "http/1.1"}[response.version]
    return protocol, response.status, response.read().decode()


def ask_h2(tls):
    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
    connection.initiate_connection()
    fields = [(":method", "GET"), (":scheme", "https"), (":authority", f"{host}:{port}"), (":path", path)]
    connection.send_headers(1, fields, end_stream=True)
    tls.sendall(connection.data_to_send())
    status, body = 0, b""
    while True:
        data = tls.recv(65536)
        if not data:
            raise ConnectionError("closed before the answer's end")
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                status = int(dict(event.headers)[":status"])
            elif isinstance(event, h2.events.DataReceived):
                body += event.data
                connection.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamReset, h2.events.ConnectionTerminated)):
                raise ConnectionError(repr(event))
            elif isinstance(event, h2.events.StreamEnded):
                return tls.selected_alpn_protocol(), status, body.decode()
        tls.sendall(connection.data_to_send())


try:
    with socket.create_connection(("127.0.0.1", int(port)), timeout=10) as raw:
        with context.wrap_socket(raw, server_hostname=host) as tls:
            print(*(ask_h2 if version == "h2" else ask_h1)(tls))
except OSError as err:
    print("ERROR", err)
    sys.exit(1)
