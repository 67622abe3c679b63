// Traces that are asked for, and one of them as a waterfall.

import { ask, ago, clock, colour, duration, empty, h, name, percent, row, short, show, status, traceLink } from "./lib.js";

const FIELDS = [
  { key: "service", label: "Service", placeholder: "any" },
  { key: "name", label: "Name", placeholder: "GET /items/{id}", wide: true },
  { key: "min_duration", label: "Longer than", placeholder: "100ms" },
  { key: "max_duration", label: "Shorter than", placeholder: "2s" },
  { key: "attribute", label: "Attribute", placeholder: "http.response.status_code=503", wide: true },
  { key: "q", label: "Somewhere in it", placeholder: "text, or a trace id", search: true },
];

const swatch = (service) => h("span", { class: "swatch", "aria-hidden": "true", style: { background: colour(service) } });

export function list(root, query) {
  const inputs = FIELDS.map((field) => h("input", { name: field.key, placeholder: field.placeholder, value: query.get(field.key) ?? "", class: field.wide ? "wide" : undefined, "data-search": field.search }));
  const failing = h("select", { name: "status" }, h("option", { value: "" }, "any"), h("option", { value: "error" }, "failed"), h("option", { value: "ok" }, "not failed"));
  failing.value = query.get("status") ?? "";
  const sort = h("select", { name: "sort" }, h("option", { value: "" }, "latest"), h("option", { value: "slowest" }, "slowest"));
  sort.value = query.get("sort") ?? "";
  // What a link has asked for besides stays, and is said.
  const besides = ["namespace", "kind"].filter((key) => query.has(key));
  const hidden = besides.map((key) => h("input", { type: "hidden", name: key, value: query.get(key) }));
  const form = h("form", { class: "filter", role: "search" }, hidden, FIELDS.map((field, index) => h("label", {}, field.label, inputs[index])), h("label", {}, "Status", failing), h("label", {}, "First", sort), h("button", { type: "submit" }, "Find"));
  const go = () => {
    const found = new URLSearchParams([...new FormData(form)].filter(([key, value]) => value || key === "namespace"));
    const text = (found.get("q") ?? "").trim();
    if (/^[0-9a-f]{32}$/i.test(text)) location.hash = traceLink(text.toLowerCase());
    else location.hash = `#/traces${found.size ? `?${found}` : ""}`;
  };
  form.addEventListener("submit", (event) => { event.preventDefault(); go(); });
  [failing, sort].forEach((element) => element.addEventListener("change", go));
  const summary = h("span", { class: "quiet" });
  const body = h("div");
  const cut = h("p", { class: "notice", role: "status", hidden: true });
  root.append(h("div", { class: "head" }, h("h1", {}, "Traces"), besides.map((key) => query.get(key) && h("span", { class: "tag" }, `${key} ${short(query.get(key), 40)}`)), summary), form, cut, h("section", { class: "panel" }, body));
  return {
    every: 5000,
    title: "Traces",
    async refresh(signal) {
      const found = await ask("/api/v1/traces", { ...Object.fromEntries(query), limit: 50 }, { signal });
      const kept = found.kept_share < 1 ? `; ${percent(found.kept_share)} of all traces are kept at this rate` : "";
      summary.textContent = found.since_unix_ms ? `spans since ${ago(found.since_unix_ms)}${kept}` : "";
      cut.hidden = !found.searched_since_unix_ms;
      if (found.searched_since_unix_ms) cut.textContent = `Looking further back takes too long: of what began before ${clock(found.searched_since_unix_ms)} (${ago(found.searched_since_unix_ms)}) not all was looked at. A service, failed requests only, or a longer duration lead there sooner.`;
      if (!found.traces.length) return show(body, empty(found.searched_since_unix_ms ? "No such trace was found" : "No such trace is kept", query.size ? "Ask for less, or wait for more requests." : "As soon as a watched service answers a request, its trace is here.", query.size ? h("a", { href: "#/traces" }, "All traces") : null));
      show(body, h("div", { class: "scroll" }, h("table", {},
        h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Request"), h("th", { scope: "col", class: "hide-small" }, "Services"), h("th", { scope: "col" }, "Status"), h("th", { scope: "col", class: "num hide-small" }, "Spans"), h("th", { scope: "col", class: "num" }, "Duration"), h("th", { scope: "col", class: "num hide-small" }, "Start"))),
        h("tbody", {}, found.traces.map((trace) => {
          const { root: first } = trace;
          const href = traceLink(trace.trace_id, trace.found.span_id);
          return row(href,
            h("td", { class: "path" }, h("a", { href, "data-key": trace.trace_id }, name(first.path ? `${first.name} ${first.path}` : first.name)), h("span", { class: "quiet" }, short(first.service, 60))),
            h("td", { class: "hide-small" }, h("span", { class: "tags" }, trace.services.slice(0, 5).map((service) => h("span", { class: "tag" }, swatch(service), " ", short(service, 24))))),
            h("td", {}, status(trace.found)),
            h("td", { class: "num hide-small" }, trace.spans, trace.errors ? h("span", { class: "bad" }, ` (${trace.errors} failed)`) : null),
            h("td", { class: "num" }, duration(trace.duration_ms)), h("td", { class: "num quiet hide-small" }, clock(trace.start_unix_ms)));
        })))));
    },
  };
}

// Spans below their parents, by their start; those whose parent is not here come first.
function tree(spans) {
  const ids = new Set(spans.map((span) => span.span_id));
  const below = new Map();
  for (const span of spans) {
    const parent = span.parent_span_id && ids.has(span.parent_span_id) && span.parent_span_id !== span.span_id ? span.parent_span_id : "";
    if (!below.has(parent)) below.set(parent, []);
    below.get(parent).push(span);
  }
  const rows = [];
  const seen = new Set();
  const stack = (below.get("") ?? []).map((span) => [span, 0]).reverse();
  while (stack.length) {
    const [span, depth] = stack.pop();
    if (seen.has(span)) continue;
    seen.add(span);
    rows.push([span, depth]);
    for (const child of [...(below.get(span.span_id) ?? [])].reverse()) stack.push([child, depth + 1]);
  }
  // Those of a circle are nobody's.
  for (const span of spans) if (!seen.has(span)) rows.push([span, 0]);
  return rows;
}

const EVIDENCE = {
  header: "the request's own header", sdk: "an SDK's span", connection: "the other end of its connection", task: "the task that made it",
  thread: "the thread that made it", sole_request: "the only request that was open then", none: "nothing: it begins the trace",
};

// Parts of a span whose length is known, as far as they are within it.
function parts(span) {
  const ms = (key) => Number(span.attributes[key] ?? 0) * 1000;
  const found = [];
  const first = ms("beyla.time_to_first_byte");
  if (first > 0) found.push({ kind: "first", label: "to the first byte of the answer", ms: first });
  const queue = ms("beyla.queue.duration");
  if (queue > 0) found.push({ kind: "queue", label: "waited in the socket before", ms: queue });
  const connect = ms("beyla.connect.duration");
  if (connect > 0) found.push({ kind: "connect", label: "to connect", ms: connect });
  const tls = ms("beyla.tls.handshake.duration");
  if (tls > 0) found.push({ kind: "tls", label: "to shake hands (TLS)", ms: tls });
  return found;
}

function detail(span) {
  const pairs = (all) => h("dl", {}, Object.entries(all).map(([key, value]) => [h("dt", {}, short(key, 100)), h("dd", {}, short(value, 2000))]));
  const known = span.evidence ? EVIDENCE[span.evidence] ?? span.evidence : "–";
  const own = {
    "parent known by": known, start: clock(span.start_unix_ms), duration: duration(span.duration_ms), kind: span.kind, process: span.pid,
    ...(span.local ? { "own end": span.local } : {}), "span id": span.span_id, ...(span.parent_span_id ? { "parent's id": span.parent_span_id } : {}),
    ...Object.fromEntries(parts(span).map((part) => [part.label, duration(part.ms)])),
    ...Object.fromEntries(span.links.map((link, index) => [`link ${index + 1}`, `${link.trace_id} ${link.span_id}`])),
  };
  return h("div", { class: "detail" }, h("div", {}, h("h3", {}, "Span"), pairs(own), h("h3", {}, "Service"), pairs(span.resource)), h("div", {}, h("h3", {}, "Attributes"), pairs(span.attributes)));
}

export function view(root, id, query) {
  const title = h("h1", {}, "Trace");
  const tags = h("span", { class: "tags" });
  const body = h("div", { class: "water" });
  root.append(h("div", { class: "head" }, title, tags), h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Waterfall"), h("span", { class: "quiet mono" }, short(id ?? "", 40)), h("span", { class: "end quiet hide-small" }, "a row opens what is known of its span")), body));
  let open = query.get("span");
  let counted = -1;
  let settled = 0;
  const it = {
    every: 2000,
    title: "Trace",
    async refresh(signal) {
      const trace = await ask(`/api/v1/traces/${encodeURIComponent(id)}`, {}, { signal });
      // It may still grow; then it stays as it is.
      settled = trace.spans.length === counted ? settled + 1 : 0;
      if (settled > 4) it.every = 0;
      if (trace.spans.length === counted) return;
      counted = trace.spans.length;
      const rows = tree(trace.spans);
      const [first] = rows[0];
      const services = [...new Set(rows.map(([span]) => span.service))];
      const errors = trace.spans.filter((span) => span.is_error).length;
      show(title, name(first.path ? `${first.name} ${first.path}` : first.name));
      show(tags, status(first), h("span", { class: "tag" }, duration(trace.duration_ms)), h("span", { class: "tag" }, `${trace.spans.length} span${trace.spans.length === 1 ? "" : "s"}`), errors ? h("span", { class: "tag bad" }, `${errors} failed`) : null, services.map((service) => h("span", { class: "tag" }, swatch(service), " ", short(service, 30))));
      const whole = Math.max(trace.duration_ms, 0.001);
      const scale = h("div", { class: "scale" }, h("div", {}), h("div", {}, [0, 0.25, 0.5, 0.75, 1].map((share) => h("span", { style: { left: `${share * 100}%` } }, duration(whole * share)))));
      const missing = trace.missing ? [h("p", { class: "quiet missing" }, `Not whole: ${trace.missing}`)] : [];
      body.replaceChildren(...missing, scale, ...rows.flatMap(([span, depth]) => {
        const [left, width] = [(span.offset_ms / whole) * 100, (span.duration_ms / whole) * 100];
        const paint = span.is_error ? "var(--bad)" : colour(span.service);
        const inside = parts(span).filter((part) => part.kind === "first").map((part) => h("i", { style: { left: `${Math.min(100, (part.ms / Math.max(span.duration_ms, 0.001)) * 100)}%`, right: "0" }, title: `first byte after ${duration(part.ms)}` }));
        const late = left + width > (innerWidth < 720 ? 45 : 72);
        const place = !late ? "" : left < (innerWidth < 720 ? 45 : 20) ? "inside" : "before";
        const toggle = () => {
          const isOpen = line.getAttribute("aria-expanded") === "true";
          line.setAttribute("aria-expanded", String(!isOpen));
          if (isOpen) line.nextSibling.remove();
          else line.after(detail(span));
        };
        const line = h("button", { class: "row", type: "button", "aria-expanded": "false", "data-span": span.span_id, onclick: toggle },
          h("span", { class: "who", style: { "padding-left": `${16 + Math.min(depth, 12) * 14}px` } }, swatch(span.service), h("bdi", { class: "service" }, short(span.service, 40)), h("span", { class: "tag kind" }, span.kind === "SERVER" ? "answers" : span.kind === "CLIENT" ? "asks" : span.kind.toLowerCase()), name(span.path ? `${span.name} ${span.path}` : span.name, 90)),
          h("span", { class: "lane" }, h("span", { class: "block", style: { left: `${left}%`, width: `${width}%`, background: paint } }, inside),
            h("span", { class: `time ${place}`, style: { left: `${place === "before" ? left : left + width}%` } }, duration(span.duration_ms), span.is_error ? h("span", { class: "bad" }, ` ${short(span.status ?? "failed", 20)}`) : null)));
        const lines = [line];
        if (open === span.span_id) {
          line.setAttribute("aria-expanded", "true");
          lines.push(detail(span));
        }
        return lines;
      }));
      open = null;
    },
  };
  return it;
}
