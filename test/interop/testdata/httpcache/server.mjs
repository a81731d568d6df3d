// The origin of http-cache-tests, on a free port of loopback, which it prints. The suite's own program listens on
// every address.
import http from 'node:http'
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const root = path.dirname(createRequire(process.env.NODE_PATH + '/x.js').resolve('http-cache-tests/package.json'))
const load = async name => (await import(pathToFileURL(path.join(root, 'server', name)))).default
const handlers = { config: await load('handle-config.mjs'), test: await load('handle-test.mjs'), state: await load('handle-state.mjs') }

const server = http.createServer((request, response) => {
  const [, first, ...rest] = new URL(request.url, 'http://localhost/').pathname.split('/')
  const handle = handlers[first]
  if (handle) return handle(rest, request, response)
  response.statusCode = 404
  response.end('no such page\n')
})
server.listen(0, '127.0.0.1', () => console.log(`port ${server.address().port}`))
