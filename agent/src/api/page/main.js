// Which view is shown, and that it stays up to date.

import { Refused, answered, ask, empty, h, setToken, state } from "./lib.js";
import * as map from "./map.js";
import * as service from "./service.js";
import * as traces from "./traces.js";
import * as live from "./live.js";
import * as agent from "./agent.js";

const root = document.getElementById("view");
const pulse = document.getElementById("pulse");
let current = null;

function route() {
  const [path, query] = location.hash.replace(/^#\/?/, "").split("?");
  const [first = "", ...rest] = path.split("/").map((part) => { try { return decodeURIComponent(part); } catch { return part; } });
  return { first, rest, query: new URLSearchParams(query ?? "") };
}

function choose({ first, rest, query }, into) {
  switch (first) {
    case "": return { nav: "map", view: map.view(into) };
    case "services": return { nav: "services", view: service.list(into) };
    case "service": return { nav: "services", view: service.view(into, rest.join("/"), query) };
    case "traces": return { nav: "traces", view: traces.list(into, query) };
    case "trace": return { nav: "traces", view: traces.view(into, rest[0], query) };
    case "live": return { nav: "live", view: live.view(into, query) };
    case "agent": return { nav: "agent", view: agent.view(into) };
    default:
      into.append(empty("There is no such page", h("a", { href: "#/" }, "To the map")));
      return { nav: "", view: { title: "?" } };
  }
}

function tell(kind, text) {
  if (pulse.textContent !== text) pulse.textContent = text;
  pulse.className = `pulse ${kind}`;
}

function askForToken(run, message) {
  const input = h("input", { type: "password", autocomplete: "off", "aria-label": "Token", class: "wide" });
  const form = h("form", { class: "filter", onsubmit: (event) => { event.preventDefault(); setToken(input.value.trim()); start(); } }, input, h("button", { type: "submit" }, "Go on"));
  run.root.replaceChildren(h("section", { class: "panel" }, empty("This agent asks for its token", message, form)));
  input.focus();
}

async function refresh(run) {
  clearTimeout(run.timer);
  answered.ms = 0;
  if (run.view.refresh && !document.hidden) {
    try {
      await run.view.refresh(run.abort.signal);
      if (run !== current) return;
      tell("live", "live");
      run.problem?.remove();
      run.failures = 0;
    } catch (error) {
      if (run !== current) return;
      run.failures = (run.failures ?? 0) + 1;
      if (error instanceof Refused && error.status === 401) {
        tell("lost", "token needed");
        return askForToken(run, "It stands in the file that api.token_file names, or in OTEL_EBPF_API_TOKEN.");
      }
      const refused = error instanceof Refused;
      tell(refused ? "live" : "lost", refused ? "live" : "no agent");
      run.problem?.remove();
      run.problem = h("p", { class: "notice", role: "alert" }, refused ? error.message : "The agent does not answer. As soon as it runs again, this page goes on by itself.");
      run.root.prepend(run.problem);
    }
  }
  // What the agent needs long for is asked less often.
  const pause = run.failures ? 1500 : Math.max(run.view.every ?? 0, answered.ms > 1000 ? 10 * answered.ms : 0);
  if (run.view.every && run === current) run.timer = setTimeout(() => refresh(run), Math.min(pause, 60000));
}

function start() {
  if (current) {
    clearTimeout(current.timer);
    current.abort.abort();
    current.view.end?.();
  }
  root.replaceChildren();
  // A view's own element: what comes late for another is not seen.
  const into = h("div", { class: "grid" });
  root.append(into);
  const { nav, view } = choose(route(), into);
  current = { view, root: into, abort: new AbortController() };
  for (const link of document.querySelectorAll("nav a")) {
    if (link.dataset.view === nav) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${view.title} · beyla-rs`;
  refresh(current);
}

const chosen = document.getElementById("window");
chosen.value = String(state.window);
if (!chosen.value) chosen.value = String((state.window = 60));
chosen.addEventListener("change", () => {
  state.window = Number(chosen.value);
  localStorage.setItem("beyla-rs-window", chosen.value);
  if (current) refresh(current);
});

const theme = (name) => { document.documentElement.dataset.theme = name; };
const preferred = matchMedia("(prefers-color-scheme: dark)");
theme(localStorage.getItem("beyla-rs-theme") ?? (preferred.matches ? "dark" : "light"));
preferred.addEventListener("change", () => { if (!localStorage.getItem("beyla-rs-theme")) theme(preferred.matches ? "dark" : "light"); });
document.getElementById("theme").addEventListener("click", () => {
  const next = document.documentElement.dataset.theme === "dark" ? "light" : "dark";
  localStorage.setItem("beyla-rs-theme", next);
  theme(next);
});

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  root.focus();
});
addEventListener("hashchange", () => { start(); root.focus({ preventScroll: true }); scrollTo(0, 0); });
document.addEventListener("visibilitychange", () => { if (!document.hidden && current) refresh(current); });
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest?.("input, select, textarea")) return;
  const to = { m: "#/", s: "#/services", t: "#/traces", l: "#/live", a: "#/agent" }[event.key];
  if (to) location.hash = to;
  if (event.key === "/") {
    document.querySelector("[data-search]")?.focus();
    event.preventDefault();
  }
});

start();
