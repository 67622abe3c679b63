// What all views share: elements, questions to the agent, how figures are written.

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [key, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, one] of Object.entries(value)) element.style.setProperty(name, one);
    else element.setAttribute(key, value === true ? "" : String(value));
  }
  // Text becomes text: what others have chosen is never read as markup.
  for (const child of children.flat(Infinity)) if (child !== null && child !== undefined && child !== false) element.append(child);
  return element;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

// Control characters, and marks that reorder or hide what stands around them.
const HARMFUL = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;

export const visible = (text) => String(text).replace(HARMFUL, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);

// Long names are cut in the middle: their ends tell them apart.
export function short(text, most = 120) {
  const clean = visible(String(text).length > 4000 ? String(text).slice(0, 2000) + "…" + String(text).slice(-1000) : text);
  const letters = Array.from(clean);
  if (letters.length <= most) return clean;
  const half = Math.floor((most - 1) / 2);
  return letters.slice(0, half).join("") + "…" + letters.slice(-half).join("");
}

// A name from outside.
export function name(text, most = 120) {
  const shown = short(text, most);
  return h("bdi", { class: "name", title: shown === text ? text : short(text, 1000) }, shown || "(no name)");
}

const TOKEN = "beyla-rs-token";
const given = new URLSearchParams(location.hash.replace(/^#/, "")).get("token");
if (given) {
  sessionStorage.setItem(TOKEN, given);
  history.replaceState(null, "", location.pathname + "#/");
}
export const setToken = (token) => sessionStorage.setItem(TOKEN, token);

export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// How long the last answer has taken.
export const answered = { ms: 0 };

export async function ask(path, parameters = {}, options = {}) {
  const began = performance.now();
  const url = new URL(path, location.origin);
  for (const [key, value] of Object.entries(parameters)) {
    for (const one of Array.isArray(value) ? value : [value]) {
      if (one !== undefined && one !== null && one !== "") url.searchParams.append(key, one);
    }
  }
  const token = sessionStorage.getItem(TOKEN);
  const headers = token ? { Authorization: `Bearer ${token}` } : {};
  const response = await fetch(url, { headers, cache: "no-store", signal: options.signal ?? AbortSignal.timeout(10000) });
  if (options.raw && response.ok) return response;
  const answer = await response.json().catch(() => ({}));
  answered.ms = performance.now() - began;
  if (!response.ok) throw new Refused(response.status, answer.error ?? `the agent answered ${response.status}`);
  return answer;
}

export const state = { window: Number(localStorage.getItem("beyla-rs-window")) || 60 };

export const figure = (value, digits = 3) => {
  if (value === 0) return "0";
  if (value >= 1e6) return `${(value / 1e6).toPrecision(digits)}M`;
  if (value >= 1e4) return `${(value / 1e3).toPrecision(digits)}k`;
  if (value >= 100) return String(Math.round(value));
  return String(Number(value.toPrecision(digits)));
};
export const rate = (value) => (value > 0 && value < 0.1 ? figure(value, 2) : value < 10 ? String(Math.round(value * 10) / 10) : figure(value));
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 10) return `${ms.toFixed(2)} ms`;
  if (ms < 100) return `${ms.toFixed(1)} ms`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60000) return `${(ms / 1000).toFixed(2)} s`;
  return `${(ms / 60000).toFixed(1)} min`;
}
export const percent = (share) => (share === 0 ? "0 %" : share < 0.001 ? "<0.1 %" : share < 0.1 ? `${(share * 100).toFixed(1)} %` : `${Math.round(share * 100)} %`);
export const bytes = (value) => (value >= 1 << 20 ? `${(value / (1 << 20)).toFixed(1)} MiB` : value >= 1024 ? `${(value / 1024).toFixed(1)} KiB` : `${value} B`);
export const clock = (unixMs) => {
  const at = new Date(unixMs);
  return at.toLocaleTimeString([], { hour12: false }) + "." + String(at.getMilliseconds()).padStart(3, "0");
};
export const ago = (unixMs) => {
  const seconds = Math.max(0, (Date.now() - unixMs) / 1000);
  return seconds < 60 ? `${Math.round(seconds)} s ago` : seconds < 3600 ? `${Math.round(seconds / 60)} min ago` : `${(seconds / 3600).toFixed(1)} h ago`;
};
export const span = (seconds) => (seconds < 120 ? `${Math.round(seconds)} s` : seconds < 7200 ? `${Math.round(seconds / 60)} min` : `${(seconds / 3600).toFixed(1)} h`);

export const serviceLink = (service, namespace) => `#/service/${encodeURIComponent(service)}?namespace=${encodeURIComponent(namespace ?? "")}`;
export const traceLink = (id, spanId) => `#/trace/${id}${spanId ? `?span=${spanId}` : ""}`;

// The same colour for the same name.
export function hue(text) {
  let hash = 2166136261;
  for (const c of String(text).slice(0, 200)) hash = Math.imul(hash ^ c.codePointAt(0), 16777619);
  // None that looks like an error's.
  return 40 + (((hash >>> 0) * 137.508) % 360) * 0.78;
}
export const colour = (text) => `hsl(${hue(text).toFixed(0)} 62% 52%)`;

export function status(spanSummary) {
  const text = spanSummary.status ?? (spanSummary.is_error ? "error" : "–");
  return h("span", { class: `tag ${spanSummary.is_error ? "bad" : /^[45]/.test(text) ? "warn" : text === "–" ? "" : "ok"}` }, short(text, 24));
}

// A row that leads somewhere: by click, and by the link that is in it.
export function row(href, ...cells) {
  return h("tr", { class: "link", onclick: (event) => { if (!event.target.closest("a") && !getSelection().toString()) location.hash = href; } }, cells);
}

export const empty = (title, ...lines) => h("div", { class: "empty" }, h("h2", {}, title), lines.map((line) => h("p", {}, line)));

// The children of an element, replaced only where something else is to be seen: focus and selection stay.
export function show(element, ...children) {
  const flat = children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false);
  const same = flat.length === element.childNodes.length && flat.every((child, index) => child instanceof Node && child.isEqualNode(element.childNodes[index]));
  if (same) return;
  const focused = document.activeElement?.closest?.("[data-key]")?.dataset.key;
  element.replaceChildren(...flat);
  if (focused) element.querySelector(`[data-key="${CSS.escape(focused)}"]`)?.focus();
}
