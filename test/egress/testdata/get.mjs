// Gets a URL and prints the page. Node 20 takes no proxy from the environment: with HTTPS_PROXY, the tunnel is made as
// the agents that programs use for it make it.
import http from 'node:http';
import https from 'node:https';

const url = new URL(process.argv[2]);
const fail = (e) => { console.error(e); process.exit(1); };
if (!process.env.HTTPS_PROXY) {
  fetch(url).then((r) => r.text()).then(console.log, fail);
} else {
  const proxy = new URL(process.env.HTTPS_PROXY);
  const target = `${url.hostname}:443`;
  http.request({ host: proxy.hostname, port: proxy.port, method: 'CONNECT', path: target, headers: { host: target } })
    .on('connect', (answer, socket) => {
      if (answer.statusCode !== 200) fail(answer.statusCode);
      https.get(url, { socket, agent: false, servername: url.hostname }, (r) => { r.setEncoding('utf8'); r.on('data', (d) => process.stdout.write(d)); }).on('error', fail);
    }).on('error', fail).end();
}
