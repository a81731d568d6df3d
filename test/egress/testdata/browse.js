// Opens pages through a proxy and prints what a person would see; on the first one, a WebSocket is opened.
// node browse.js PROFILE CHROMIUM PROXY SOCKET URL...
const { chromium } = require('playwright-core');
(async () => {
  const [profile, executablePath, proxy, socket, ...urls] = process.argv.slice(2);
  const context = await chromium.launchPersistentContext(profile, {
    executablePath, headless: true, chromiumSandbox: false, timeout: 60000,
    args: ['--proxy-server=' + proxy, '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
  const seen = [];
  for (const url of urls) {
    const page = await context.newPage();
    try {
      const answer = await page.goto(url, { timeout: 30000 });
      const one = { url, status: answer.status(), title: await page.title(), text: await page.innerText('body') };
      if (seen.length === 0) {
        one.echo = await page.evaluate((address) => new Promise((done) => {
          const s = new WebSocket(address);
          s.onopen = () => s.send('hello');
          s.onmessage = (m) => done(m.data);
          s.onclose = (e) => done('closed ' + e.code);
        }), socket);
      }
      seen.push(one);
    } catch (e) {
      seen.push({ url, error: String(e) });
    }
    await page.close();
  }
  await context.close();
  console.log(JSON.stringify(seen));
})().catch((e) => { console.error(e); process.exit(1); });
