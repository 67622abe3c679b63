// Opens the web page in Chromium and looks at each view as somebody would: drive.mjs MODULES URL EXPECTED [FOLDER]
// MODULES: where its libraries are; EXPECTED: JSON of what was sent; FOLDER: where pictures go.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { createInterface } from "node:readline";
import path from "node:path";

const [modules, url, expectedText, folder] = process.argv.slice(2);
const expected = JSON.parse(expectedText);
const load = createRequire(path.join(modules, "package.json"));
const { chromium } = load("playwright-core");
const { AxeBuilder } = load("@axe-core/playwright");

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const SIZES = { wide: { width: 1280, height: 800 }, narrow: { width: 390, height: 844 } };

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const problems = [];

async function open(size = "wide", theme = "light") {
  const context = await browser.newContext({ viewport: SIZES[size], colorScheme: theme, deviceScaleFactor: folder ? 2 : 1 });
  // Slow machines need more than the minute that is shown otherwise.
  await context.addInitScript(() => localStorage.getItem("beyla-rs-window") ?? localStorage.setItem("beyla-rs-window", "900"));
  const page = await context.newPage();
  page.setDefaultTimeout(20000);
  page.on("pageerror", (error) => problems.push(`page: ${error}`));
  page.on("dialog", (dialog) => { problems.push(`dialog: ${dialog.message()}`); dialog.dismiss(); });
  page.on("console", (message) => {
    if (message.type() === "error" && !/Failed to load resource|ERR_CONNECTION/.test(message.text())) problems.push(`console: ${message.text()}`);
  });
  page.on("request", (request) => { if (!request.url().startsWith(url) && !request.url().startsWith("data:")) problems.push(`asks elsewhere: ${request.url()}`); });
  return page;
}

const say = (text) => console.log(text);
const node = (page, name) => page.locator(".node", { has: page.locator(`bdi:text-is("${name}")`) });
const picture = async (page, name) => { if (folder) await page.screenshot({ path: path.join(folder, `${name}.png`), animations: "disabled" }); };

// Figures on the map are those that were sent.
async function map(page) {
  await page.goto(url);
  await node(page, expected.front).waitFor();
  for (const [service, requests, errors] of [[expected.front, expected.requests, expected.failed], [expected.back, expected.requests, expected.failed]]) {
    await page.waitForFunction(([id, want]) => [...document.querySelectorAll("a.node")].some((it) => it.querySelector("bdi").textContent === id && Number(it.dataset.requests) === want), [service, requests]);
    assert.equal(Number(await node(page, service).getAttribute("data-errors")), errors, `errors of ${service}`);
  }
  const label = page.locator(`.label[data-edge$="${expected.back}"]`).first();
  assert.equal(Number(await label.getAttribute("data-requests")), expected.requests, "what one asked the other");
  assert.equal(await page.locator(".node.users").count(), 1);
}

async function fits(page, what) {
  const over = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
  assert.ok(over <= 0, `${what}: ${over} px too wide`);
}

async function accessible(page, what) {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const serious = violations.filter((one) => ["serious", "critical"].includes(one.impact));
  assert.deepEqual(serious.map((one) => `${what}: ${one.id}: ${one.nodes[0].html} ${one.nodes[0].failureSummary}`), []);
}

// 1. From the map to a service to a trace, by click.
const page = await open();
await map(page);
await picture(page, "page-map");
await node(page, expected.front).click();
await page.locator(".kpis").waitFor();
assert.equal(Number(await page.locator(".kpis").getAttribute("data-requests")), expected.requests);
assert.equal(Number(await page.locator(".kpis").getAttribute("data-errors")), expected.failed);
assert.equal(await page.locator(".chart svg").count(), 3);
await picture(page, "page-service");
// From a route to its failed traces, and to its slowest.
await page.locator('tbody tr a[href*="status=error"]').first().click();
await page.locator("h1", { hasText: "Traces" }).waitFor();
await page.waitForFunction((failed) => document.querySelectorAll("tbody tr").length === failed, expected.failed);
await page.goBack();
await page.locator('tbody tr a[href*="sort=slowest"]').first().waitFor();
assert.ok(await page.locator('header a[href*="sort=slowest"]').count() === 1, "all of the slowest");
await page.locator(".panel", { hasText: "Failing" }).last().locator("tbody tr a").first().click();
await page.locator(".water .row").first().waitFor();
// front answers, asks, back answers: one trace.
await page.waitForFunction(() => document.querySelectorAll(".water .row").length === 3);
assert.ok((await page.locator(".water").textContent()).includes("502"));
assert.equal(await page.locator(".detail").count(), 1, "the span that was clicked is open");
assert.ok((await page.locator(".detail").textContent()).includes("parent known by"));
await picture(page, "page-trace");
say("clicked through");

// 2. Traces: what is asked for is found.
await page.goto(`${url}#/traces?status=error`);
await page.locator("tbody tr").first().waitFor();
assert.equal(await page.locator("tbody tr .tag.bad").count() >= Math.min(expected.failed, 5), true);
await page.locator("input[name=min_duration]").fill("250ms");
await page.locator("select[name=status]").selectOption("ok");
await page.locator("form.filter button").click();
await page.waitForFunction((slow) => document.querySelectorAll("tbody tr").length === slow, expected.slow);
say("found");

// 3. Keyboard alone.
await page.goto(url);
await node(page, expected.front).waitFor();
await page.keyboard.press("/");
await page.keyboard.type(expected.back);
await page.keyboard.press("Enter");
await page.locator("h1", { hasText: expected.back }).waitFor();
await page.keyboard.press("t");
await page.locator("h1", { hasText: "Traces" }).waitFor();
await page.locator("tbody tr", { hasText: expected.front }).locator("a").first().focus();
await page.keyboard.press("Enter");
await page.locator(".detail").first().waitFor();
// The span that was found is open; another opens, and closes.
await page.locator('.water .row[aria-expanded="false"]').first().focus();
await page.keyboard.press("Enter");
await page.waitForFunction(() => document.querySelectorAll(".detail").length === 2);
await page.keyboard.press("Enter");
await page.waitForFunction(() => document.querySelectorAll(".detail").length === 1);
say("by keyboard");

// 4. Live: requests come while it is open, the filter holds, pause holds them back.
await page.goto(`${url}#/live`);
await page.getByText("connected").waitFor();
say("send");
await page.waitForFunction((path) => [...document.querySelectorAll(".live tbody tr")].some((row) => row.textContent.includes(path)), "/ok");
await picture(page, "page-live");
await page.locator("input[type=search]").fill("nothing has this");
await page.waitForFunction(() => document.querySelectorAll(".live tbody tr").length === 0);
await page.locator("input[type=search]").fill("");
await page.getByText("connected").waitFor();
await page.getByRole("button", { name: "Pause" }).click();
const before = await page.locator(".live tbody tr").count();
say("send");
await page.getByRole("button", { name: /Go on \(/ }).waitFor();
assert.equal(await page.locator(".live tbody tr").count(), before, "nothing moves while it is held");
await page.getByRole("button", { name: /Go on/ }).click();
await page.waitForFunction((count) => document.querySelectorAll(".live tbody tr").length > count, before);
// On a telephone too it is seen how long each took.
await page.setViewportSize(SIZES.narrow);
const right = await page.locator(".live tbody tr").first().locator("td").last().evaluate((cell) => cell.getBoundingClientRect().right);
assert.ok(right <= SIZES.narrow.width, `the duration ends at ${right} px`);
await page.setViewportSize(SIZES.wide);
await page.locator(".live tbody tr a").first().click();
await page.locator(".water .row").first().waitFor();
say("live");

// 5. The agent.
await page.goto(`${url}#/agent`);
await page.getByText("Watched processes").waitFor();
await page.waitForFunction((pid) => document.querySelector("main").textContent.includes(String(pid)), expected.pid);
await picture(page, "page-agent");

// Where a layer is broken up, who asks others is next to what it asks.
const rows = await page.evaluate(async () => {
  const { positions } = await import("/ui/layout.js");
  const size = { width: 10, height: 10, gapAcross: 1, gapAlong: 1, vertical: true, most: 2 };
  const { found } = positions([["asks", "b", "c"], ["asked"]], { ...size, asking: new Set(["asks"]) });
  return ["b", "c", "asks", "asked"].map((id) => found.get(id).y / 11);
});
assert.deepEqual(rows, [0, 0, 1, 2]);

// 6. Names that others have chosen are text.
await page.goto(`${url}#/services`);
await page.locator("tbody tr").nth(2).waitFor();
const names = await page.locator("tbody tr bdi").allTextContents();
assert.ok(names.some((name) => name.includes("<script>alert(1)</script>") && name.includes("\\u{202e}") && name.includes("\\u{1b}")), JSON.stringify(names));
assert.equal(await page.evaluate(() => document.querySelectorAll("body script").length), 0);
await page.locator("tbody tr a", { hasText: "<script>" }).click();
await page.locator(".kpis").waitFor();
await page.goto(`${url}#/traces?service=${encodeURIComponent(expected.hostile)}`);
await page.locator("tbody tr").first().waitFor();
await page.locator("tbody tr a").first().click();
await page.locator(".detail, .water .row").first().waitFor();
await fits(page, "a hostile trace");
say("hostile");

// 7. Both sizes, both themes, every view: nothing runs over, axe finds nothing serious.
const trace = expected.trace;
for (const size of Object.keys(SIZES)) {
  for (const theme of ["light", "dark"]) {
    const other = await open(size, theme);
    for (const [view, hash] of [["map", ""], ["services", "#/services"], ["service", `#/service/${expected.front}`], ["traces", "#/traces"], ["trace", `#/trace/${trace}`], ["live", "#/live"], ["agent", "#/agent"]]) {
      await other.goto(`${url}${hash}`);
      await other.locator({ map: "a.node", services: "tbody tr", service: ".kpis", traces: "tbody tr", trace: ".water .row", live: "h1", agent: ".kpi" }[view]).first().waitFor();
      assert.equal(await other.evaluate(() => document.documentElement.dataset.theme), theme);
      await fits(other, `${view} ${size} ${theme}`);
      await accessible(other, `${view} ${size} ${theme}`);
      if (folder && (size === "narrow" || theme === "dark")) await picture(other, `page-${view}-${size}-${theme}`);
    }
    await other.context().close();
  }
}
say("sizes and themes");

// 8. The agent goes away and comes back.
await page.goto(url);
await node(page, expected.front).waitFor();
say("stop");
await page.getByText("The agent does not answer").waitFor();
say("start");
await lines.next();
await page.getByText("The agent does not answer").waitFor({ state: "detached" });
await page.waitForFunction((front) => [...document.querySelectorAll("a.node bdi")].some((it) => it.textContent === front), expected.front);
say("reconnected");

assert.deepEqual(problems, []);
await browser.close();
say("done");
process.exit(0);
