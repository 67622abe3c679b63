// The map: who asks whom, how often, how fast, how often in vain.

import { ask, duration, empty, figure, h, name, percent, rate, s, serviceLink, short, show, span, state } from "./lib.js";
import { layers, positions } from "./layout.js";

const NODE = { width: 212, height: 92 };
const GLYPHS = {
  service: ["M4 6h16M4 12h16M4 18h16", "M8 6v0M8 12v0M8 18v0"],
  users: ["M12 12a4 4 0 1 0 0-8 4 4 0 0 0 0 8z", "M4 21c0-4 4-6 8-6s8 2 8 6"],
  database: ["M4 6c0-4 16-4 16 0v12c0 4-16 4-16 0z", "M4 6c0 4 16 4 16 0M4 12c0 4 16 4 16 0"],
  messaging: ["M3 6h18v12H3z", "M3 7l9 7 9-7"],
  outside: ["M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18z", "M3 12h18M12 3c5 5 5 13 0 18M12 3c-5 5-5 13 0 18"],
};
const WORDS = { users: "callers that are not watched", outside: "not watched", database: "database, not watched", messaging: "broker, not watched" };

const glyph = (kind) => h("span", { class: "glyph" }, s("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, GLYPHS[kind].map((d) => s("path", { d }))));

export function view(root) {
  const search = h("input", { type: "search", placeholder: "Find a service  ( / )", "aria-label": "Find a service", class: "wide", "data-search": true });
  const namespace = h("select", { "aria-label": "Namespace" }, h("option", { value: "*" }, "All namespaces"));
  const summary = h("span", { class: "quiet" });
  const plane = h("div", { class: "plane" });
  const drawing = s("svg", { width: 10, height: 10, "aria-hidden": "true" });
  plane.append(drawing);
  const nodes = new Map();
  const edges = new Map();
  const zoomButtons = h("div", { class: "zoom" },
    h("button", { type: "button", class: "icon", "aria-label": "Larger", onclick: () => zoomBy(1.25) }, "+"),
    h("button", { type: "button", class: "icon", "aria-label": "Smaller", onclick: () => zoomBy(0.8) }, "−"),
    h("button", { type: "button", onclick: () => { touched = false; fit(); } }, "Fit"));
  const legend = h("div", { class: "legend" }, "on each line: requests a second, failed, p50 / p95");
  const box = h("section", { class: "panel map", "aria-label": "Map of services" }, plane, zoomButtons, legend);
  const none = h("div", { class: "panel", hidden: true });
  root.append(h("div", { class: "head" }, h("h1", {}, "What talks to what"), summary, h("span", { class: "grow" }), search, namespace), box, none);

  let place = new Map();
  let layout = null;
  let shape = "";
  let touched = false;
  let at = { x: 0, y: 0, scale: 1 };
  let answer = null;

  const apply = () => { plane.style.transform = `translate(${at.x}px, ${at.y}px) scale(${at.scale})`; };
  function fit() {
    if (!layout || touched) return;
    const margin = box.clientWidth < 600 ? 12 : 36;
    const scale = Math.min((box.clientWidth - 2 * margin) / layout.width, (box.clientHeight - 2 * margin - 20) / layout.height, 1.15);
    at = { scale, x: (box.clientWidth - layout.width * scale) / 2, y: Math.max(margin, (box.clientHeight - 20 - layout.height * scale) / 2) };
    apply();
  }
  function zoomBy(factor, x = box.clientWidth / 2, y = box.clientHeight / 2) {
    touched = true;
    const scale = Math.max(0.1, Math.min(3, at.scale * factor));
    at = { scale, x: x - ((x - at.x) * scale) / at.scale, y: y - ((y - at.y) * scale) / at.scale };
    apply();
  }
  box.addEventListener("wheel", (event) => {
    event.preventDefault();
    const bounds = box.getBoundingClientRect();
    zoomBy(Math.exp(-event.deltaY * 0.0015), event.clientX - bounds.left, event.clientY - bounds.top);
  }, { passive: false });
  box.addEventListener("pointerdown", (event) => {
    if (event.target.closest("a, button") || event.pointerType === "touch") return;
    const [fromX, fromY, start] = [event.clientX, event.clientY, { ...at }];
    box.setPointerCapture(event.pointerId);
    box.classList.add("dragging");
    const move = (moved) => {
      touched = true;
      at = { ...start, x: start.x + moved.clientX - fromX, y: start.y + moved.clientY - fromY };
      apply();
    };
    const up = () => {
      box.classList.remove("dragging");
      box.removeEventListener("pointermove", move);
      box.removeEventListener("pointerup", up);
    };
    box.addEventListener("pointermove", move);
    box.addEventListener("pointerup", up);
  });

  const hasErrors = (rates) => rates.requests > 0 && rates.error_share >= 0.005;

  function card(node) {
    const isService = node.kind === "service";
    const tag = isService ? "a" : "div";
    const element = h(tag, { class: `node ${node.kind}`, "data-node": node.id, "data-key": node.id, href: isService ? serviceLink(node.name, node.namespace) : undefined });
    return element;
  }

  function figures(node) {
    const { rates } = node;
    const top = h("div", { class: "top" }, glyph(node.kind), name(node.kind === "users" ? "users" : node.name, 60));
    if (node.kind !== "service") return [top, h("div", { class: "quiet" }, WORDS[node.kind])];
    const one = (value, label, isBad) => h("div", { class: isBad ? "bad" : undefined }, value, h("span", {}, label));
    return [top,
      h("div", { class: "figures" },
        one(rate(rates.rate), "req/s"), one(percent(rates.error_share), "failed", hasErrors(rates)), one(duration(rates.p95_ms), "p95")),
      h("div", { class: "meter", "aria-hidden": "true" }, h("i", { style: { width: `${Math.min(100, rates.error_share * 100)}%` } }))];
  }

  function place_all(graph) {
    const ids = graph.nodes.map((node) => node.id);
    const vertical = box.clientWidth < 640;
    const now = `${vertical} ${ids.join("\n")} ${graph.edges.map((edge) => `${edge.from}>${edge.to}`).sort().join("\n")}`;
    if (now === shape) return;
    shape = now;
    const all = layers(ids, graph.edges, place);
    place = new Map(all.flatMap((layer) => layer.map((id, index) => [id, index])));
    const many = ids.length > 40;
    layout = positions(all, { ...NODE, vertical, asking: new Set(graph.edges.map((edge) => edge.from)), gapAcross: vertical ? 22 : 34, gapAlong: vertical ? 78 : many ? 150 : 170, most: vertical ? 2 : many ? 20 : 9 });
    fit();
  }

  function curve(from, to) {
    const vertical = box.clientWidth < 640;
    const [w, t] = [NODE.width, NODE.height];
    if (vertical) {
      const back = to.y <= from.y;
      const [x1, y1, x2, y2] = [from.x + w / 2, back ? from.y : from.y + t, to.x + w / 2, back ? to.y + t : to.y];
      const bend = back ? -60 : Math.max(30, (y2 - y1) / 2);
      return { d: `M${x1} ${y1}C${x1} ${y1 + bend} ${x2} ${y2 - bend} ${x2} ${y2}`, x: x2, y: y2 + (back ? 30 : -30) };
    }
    const back = to.x <= from.x;
    const [x1, y1, x2, y2] = [back ? from.x : from.x + w, from.y + t / 2, back ? to.x + w : to.x, to.y + t / 2];
    const bend = back ? -110 : Math.max(40, (x2 - x1) / 2);
    return { d: `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 - bend} ${y2} ${x2} ${y2}`, x: (x1 + x2) / 2, y: (y1 + y2) / 2 + (back ? 46 : 0) };
  }

  function draw(graph) {
    place_all(graph);
    const words = search.value.trim().toLowerCase();
    const shown = (node) => (!words || node.name.toLowerCase().includes(words)) && (namespace.value === "*" || node.kind !== "service" || node.namespace === namespace.value);
    const visibleIds = new Set(graph.nodes.filter(shown).map((node) => node.id));
    const still = new Set();
    for (const node of graph.nodes) {
      still.add(node.id);
      let element = nodes.get(node.id);
      if (!element) {
        element = card(node);
        nodes.set(node.id, element);
        plane.append(element);
      }
      const where = layout.found.get(node.id);
      element.style.left = `${where.x}px`;
      element.style.top = `${where.y}px`;
      element.classList.toggle("dim", !visibleIds.has(node.id));
      element.classList.toggle("failing", node.kind === "service" && node.rates.error_share >= 0.05);
      if (node.kind === "service") {
        element.setAttribute("aria-label", `${short(node.name, 80)}: ${rate(node.rates.rate)} requests a second, ${percent(node.rates.error_share)} failed, p95 ${duration(node.rates.p95_ms)}`);
        Object.assign(element.dataset, { rate: node.rates.rate, requests: node.rates.requests, errors: node.rates.errors });
      }
      show(element, figures(node));
    }
    for (const [id, element] of nodes) if (!still.has(id)) { element.remove(); nodes.delete(id); }
    const most = Math.max(...graph.edges.map((edge) => edge.rates.rate), 0.001);
    const present = new Set();
    for (const edge of graph.edges) {
      const key = `${edge.from}\n${edge.to}`;
      const [from, to] = [layout.found.get(edge.from), layout.found.get(edge.to)];
      if (!from || !to) continue;
      present.add(key);
      let parts = edges.get(key);
      if (!parts) {
        const motion = s("animateMotion", { repeatCount: "indefinite", rotate: "0" });
        parts = { path: s("path", { class: "edge" }), dot: s("circle", { class: "dot", r: 3.4 }, motion), motion, label: h("div", { class: "label" }) };
        edges.set(key, parts);
        drawing.append(parts.path, parts.dot);
        plane.append(parts.label);
      }
      const { rates } = edge;
      const { d, x, y } = curve(from, to);
      if (parts.path.getAttribute("d") !== d) {
        parts.path.setAttribute("d", d);
        parts.motion.setAttribute("path", d);
      }
      const isMoving = rates.rate > 0;
      const seconds = (6 - 4.4 * Math.sqrt(rates.rate / most)).toFixed(1);
      if (parts.seconds !== seconds) parts.motion.setAttribute("dur", `${(parts.seconds = seconds)}s`);
      parts.dot.setAttribute("visibility", isMoving ? "visible" : "hidden");
      parts.path.setAttribute("stroke-width", (1.4 + 2.2 * Math.sqrt(rates.rate / most)).toFixed(2));
      for (const part of [parts.path, parts.dot]) part.classList.toggle("failing", rates.error_share >= 0.05);
      const dim = !(visibleIds.has(edge.from) || visibleIds.has(edge.to)) || (Boolean(words) && !(visibleIds.has(edge.from) || visibleIds.has(edge.to)));
      for (const part of [parts.path, parts.dot, parts.label]) part.classList.toggle("dim", dim);
      parts.label.style.left = `${x}px`;
      parts.label.style.top = `${y}px`;
      parts.label.hidden = graph.edges.length > 60;
      Object.assign(parts.label.dataset, { edge: key, requests: rates.requests });
      show(parts.label, h("b", {}, `${rate(rates.rate)}/s`), hasErrors(rates) ? [" ", h("span", { class: "bad" }, percent(rates.error_share))] : null, h("br"), `${duration(rates.p50_ms)} / ${duration(rates.p95_ms)}`);
    }
    for (const [key, parts] of edges) {
      if (!present.has(key)) {
        [parts.path, parts.dot, parts.label].forEach((part) => part.remove());
        edges.delete(key);
      }
    }
  }

  function names(graph) {
    const all = [...new Set(graph.nodes.filter((node) => node.kind === "service").map((node) => node.namespace))].sort();
    namespace.hidden = all.length < 2;
    const options = [h("option", { value: "*" }, "All namespaces"), all.map((one) => h("option", { value: one }, one ? short(one, 40) : "(none)"))];
    const chosen = namespace.value;
    show(namespace, options);
    namespace.value = all.includes(chosen) ? chosen : "*";
  }

  search.addEventListener("input", () => answer && draw(answer));
  search.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !answer) return;
    const words = search.value.trim().toLowerCase();
    const first = answer.nodes.find((node) => node.kind === "service" && node.name.toLowerCase().includes(words));
    if (words && first) location.hash = serviceLink(first.name, first.namespace);
  });
  namespace.addEventListener("change", () => answer && draw(answer));
  const resized = new ResizeObserver(() => {
    if (!answer) return;
    draw(answer);
    fit();
  });
  resized.observe(box);

  return {
    every: 2000,
    title: "Map",
    async refresh(signal) {
      answer = await ask("/api/v1/graph", { window: state.window }, { signal });
      const services = answer.nodes.filter((node) => node.kind === "service");
      box.hidden = services.length === 0;
      none.hidden = services.length > 0;
      if (!services.length) {
        show(none, empty("Nothing was seen yet",
          "As soon as a watched service answers or makes a request, it is here.",
          h("span", {}, "What is watched stands on the page ", h("a", { href: "#/agent" }, "Agent"), ". To see something at once: ", h("code", {}, "curl"), " one of your services."),
          h("span", {}, "Connections that were open before the agent began may take a moment; what is encrypted by a library that is not read stays unseen.")));
        summary.textContent = "";
        return;
      }
      names(answer);
      draw(answer);
      const asked = services.reduce((sum, node) => sum + node.rates.rate, 0);
      summary.textContent = `${services.length} service${services.length > 1 ? "s" : ""}, ${figure(asked)} requests a second in the last ${span(answer.window_s)}`;
    },
    end: () => resized.disconnect(),
  };
}
