// Draws a map of 200 services in Chromium and says how long that takes: map.mjs MODULES URL
// What the agent would answer is made up here.

import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";

const [modules, url] = process.argv.slice(2);
const load = createRequire(path.join(modules, "package.json"));
const { chromium } = load("playwright-core");

const NODES = 200;
const EDGES = 400;

function graph(round) {
  const rates = (requests) => ({ requests, errors: Math.floor(requests / 50), rate: requests / 60, error_share: 0.02, p50_ms: 3.2 + round, p95_ms: 12.5, p99_ms: 31.0 });
  const id = (number) => `service:shop-${number % 8}/service-${number}`;
  const nodes = Array.from({ length: NODES }, (_, number) => ({ id: id(number), kind: "service", name: `service-${number}`, namespace: `shop-${number % 8}`, rates: rates(1000 + number + round) }));
  // Each is asked by one before it, and some by a second.
  const edges = new Map();
  for (let number = 1; number < NODES; number += 1) edges.set(`${Math.floor((number - 1) / 3)} ${number}`, [Math.floor((number - 1) / 3), number]);
  for (let step = 1; edges.size < EDGES; step += 1) {
    // Each round of steps another pair: 200 steps alone come to the same pairs again.
    const [from, to] = [(step * 37) % NODES, (step * 101 + 5 + Math.floor(step / NODES)) % NODES];
    edges.set(`${from} ${to}`, [from, to]);
  }
  return { window_s: 60, nodes, edges: [...edges.values()].map(([from, to]) => ({ from: id(from), to: id(to), rates: rates(500 + round) })) };
}

const browser = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"] });
const page = await browser.newPage({ viewport: { width: 1280, height: 800 } });
const problems = [];
page.on("pageerror", (error) => problems.push(String(error)));
let round = 0;
await page.route("**/api/v1/graph*", (route) => route.fulfill({ json: graph(round++) }));
const began = performance.now();
await page.goto(url);
await page.waitForFunction((count) => document.querySelectorAll(".node").length >= count, NODES, { polling: "raf" });
const drawn = performance.now() - began;
const places = () => page.evaluate(() => [...document.querySelectorAll(".node")].map((it) => { const box = it.getBoundingClientRect(); return [it.dataset.node, Math.round(box.x), Math.round(box.y)]; }));
const before = await places();
// Frames while it is drawn anew, which is every two seconds.
const frames = await page.evaluate(() => new Promise((done) => {
  const times = [];
  let last = performance.now();
  const began = last;
  const step = (now) => { times.push(now - last); last = now; if (now - began < 6500) requestAnimationFrame(step); else done(times.sort((a, b) => a - b)); };
  requestAnimationFrame(step);
}));
const after = await places();
await browser.close();
assert.deepEqual(problems, []);
assert.ok(round >= 3, `it was drawn ${round} times`);
const moved = before.filter(([id, x, y]) => { const it = after.find(([other]) => other === id); return !it || it[1] !== x || it[2] !== y; }).length;
const at = (share) => frames[Math.min(frames.length - 1, Math.floor(frames.length * share))].toFixed(1);
console.log(`${NODES} services, ${EDGES} edges: drawn ${drawn.toFixed(0)} ms after the address was entered; drawn anew ${round - 1} times in 6.5 s: frame p50 ${at(0.5)} ms, p99 ${at(0.99)} ms, longest ${at(1)} ms; ${moved} nodes moved`);
assert.equal(moved, 0, "its places stay");
