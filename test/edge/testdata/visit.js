// Opens pages one after the other in one Chromium and prints what a person would see.
// node visit.js PROFILE CHROMIUM RULES URL...
const { chromium } = require('playwright-core');
(async () => {
  const [profile, executablePath, rules, ...urls] = process.argv.slice(2);
  const context = await chromium.launchPersistentContext(profile, {
    executablePath, headless: true, chromiumSandbox: false, timeout: 40000,
    args: ['--host-resolver-rules=' + rules, '--disable-gpu', '--disable-background-networking', '--no-first-run'],
  });
  const seen = [];
  for (const url of urls) {
    const page = await context.newPage();
    try {
      const answer = await page.goto(url, { timeout: 20000 });
      seen.push({ url, status: answer.status(), protocol: await page.evaluate(() => performance.getEntriesByType('navigation')[0].nextHopProtocol),
        title: await page.title(), text: await page.innerText('body') });
    } catch (e) {
      seen.push({ url, error: String(e) });
    }
    await page.close();
  }
  await context.close();
  console.log(JSON.stringify(seen));
})().catch((e) => { console.error(e); process.exit(1); });
