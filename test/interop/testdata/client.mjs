// A client of Node: node client.mjs http1.1|h2 PORT HOST PATH CA [CERT KEY]. Prints "PROTOCOL STATUS BODY".
import fs from 'node:fs';
import http2 from 'node:http2';
import https from 'node:https';

const [version, port, host, path, ca, cert, key] = process.argv.slice(2);
const options = { ca: fs.readFileSync(ca), servername: host, lookup: (_name, o, done) => o.all ? done(null, [{ address: '127.0.0.1', family: 4 }]) : done(null, '127.0.0.1', 4) };
if (cert) {
  options.cert = fs.readFileSync(cert);
  options.key = fs.readFileSync(key);
}
const fail = (err) => {
  console.log(`ERROR ${err.code} ${err.message}`);
  process.exit(1);
};
const read = (stream, done) => {
  let body = '';
  stream.setEncoding('utf8').on('data', (text) => { body += text; }).on('end', () => done(body)).on('error', fail);
};

if (version === 'h2') {
  const session = http2.connect(`https://${host}:${port}`, options);
  session.on('error', fail);
  const request = session.request({ ':path': path });
  request.on('error', fail);
  request.on('response', (headers) => read(request, (body) => {
    console.log(session.alpnProtocol, headers[':status'], body);
    session.close();
  }));
} else {
  https.get({ ...options, host, port, path, ALPNProtocols: ['http/1.1'], agent: false }, (response) => read(response, (body) => {
    console.log(`http/${response.httpVersion}`, response.statusCode, body);
  })).on('error', fail);
}
