// Runs http-cache-tests against the cache at a base URL and prints, for each test, its kind and whether it passed
// with all that it depends on.
import { createRequire } from 'node:module'
import path from 'node:path'
import { pathToFileURL } from 'node:url'

const require = createRequire(process.env.NODE_PATH + '/x.js')
const root = path.dirname(require.resolve('http-cache-tests/package.json'))
const load = async name => import(pathToFileURL(path.join(root, name)))
const suites = (await load('tests/index.mjs')).default
suites.push((await load('tests/surrogate-control.mjs')).default)
const { runTests, getResults } = await load('client/runner.mjs')

await runTests(suites, require('node-fetch'), false, process.argv[2])
const results = getResults()
const tests = new Map()
for (const suite of suites) for (const test of suite.tests) if (!test.browser_only) tests.set(test.id, test)
const passed = id => results[id] === true && (tests.get(id)?.depends_on ?? []).every(passed)
const out = {}
for (const [id, test] of tests) out[id] = { kind: test.kind ?? 'required', passed: passed(id), why: results[id] === true ? '' : String(results[id]) }
console.log(JSON.stringify(out))
process.exit(0)
