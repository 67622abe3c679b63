// The agent itself: what it watches, what it cannot see, what it lost, what it costs.

import { ask, ago, bytes, empty, figure, h, name, percent, short, show, span } from "./lib.js";

const kpi = (value, label, isBad) => h("div", { class: "kpi" }, h("b", { class: isBad ? "bad" : undefined }, value), h("span", {}, label));

export function view(root) {
  const tags = h("span", { class: "tags" });
  const figures = h("section", { class: "panel kpis" });
  const losses = h("section", { class: "panel" });
  const processes = h("section", { class: "panel" });
  const metrics = h("section", { class: "panel" });
  root.append(h("div", { class: "head" }, h("h1", {}, "Agent"), tags), figures, losses, processes, metrics);
  let before = null;
  let isOpen = false;
  return {
    every: 2500,
    title: "Agent",
    async refresh(signal) {
      const [it, watched] = await Promise.all([ask("/api/v1/agent", {}, { signal }), ask("/api/v1/processes", {}, { signal })]);
      const at = performance.now() / 1000;
      const cpu = before && before.pid === it.pid && it.cpu_s >= before.cpu ? (it.cpu_s - before.cpu) / (at - before.at) : it.cpu_s / Math.max(it.uptime_s, 1);
      before = { pid: it.pid, cpu: it.cpu_s, at };
      const { store } = it;
      show(tags, h("span", { class: "tag" }, `version ${it.version}`), h("span", { class: "tag" }, `backend ${it.backend}`), h("span", { class: "tag" }, `process ${it.pid}`), h("span", { class: `tag ${it.losses.length ? "warn" : "ok"}` }, it.losses.length ? "something was lost" : "nothing lost"));
      show(figures, kpi(percent(cpu), "of a processor"), kpi(bytes(it.memory_bytes), "memory"), kpi(span(it.uptime_s), "running"), kpi(figure(store.offered), "spans seen"),
        kpi(`${bytes(store.bytes)}`, `of ${bytes(store.max_bytes)} for what it remembers`), kpi(store.kept_share < 1 ? percent(store.kept_share) : "all", store.since_unix_ms ? `of the traces kept, since ${ago(store.since_unix_ms)}` : "traces kept"),
        store.disk && kpi(bytes(store.disk.bytes), `of ${bytes(store.disk.max_bytes)} on disk`, store.disk.dropped > 0));
      show(losses, h("header", {}, h("h2", {}, "Lost, or unseen"), h("span", { class: "quiet" }, "each is counted; nothing is guessed")),
        it.losses.length ? h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, it.losses.map((loss) => h("tr", {}, h("td", {}, loss.what), h("td", { class: "num bad" }, figure(loss.count)), h("td", { class: "quiet" }, loss.advice)))))) : h("div", { class: "body ok" }, "Nothing was lost."));
      const rows = watched.processes;
      show(processes, h("header", {}, h("h2", {}, "Watched processes"), h("span", { class: "quiet" }, `${rows.length}, as the configuration chooses them`)),
        rows.length ? h("div", { class: "scroll" }, h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Service"), h("th", { scope: "col", class: "num" }, "Pid"), h("th", { scope: "col", class: "hide-small" }, "Language"), h("th", { scope: "col" }, "Ports"), h("th", { scope: "col", class: "hide-small" }, "TLS"), h("th", { scope: "col" }, "Seen"))),
          h("tbody", {}, rows.slice(0, 500).map((one) => h("tr", {},
            h("td", {}, name(one.service, 60), h("span", { class: "quiet mono hide-small" }, short(one.executable, 60))), h("td", { class: "num mono" }, one.pid), h("td", { class: "hide-small" }, one.language ?? "–"), h("td", { class: "mono" }, one.ports.slice(0, 6).join(", ") || "–"),
            h("td", { class: "hide-small" }, one.tls.join(", ") || "–", one.unseen.map((why) => h("div", { class: "bad" }, `not seen: ${short(why, 120)}`))),
            h("td", {}, one.unseen.length ? h("span", { class: "tag warn" }, "in part") : one.has_spans ? h("span", { class: "tag ok" }, "yes") : h("span", { class: "tag" }, "no request yet"))))))) : empty("No process is watched", "Start one, or choose others with --pid, --port or --exe.", "beyla-rs survey lists what would be watched, beyla-rs check what this kernel offers."));
      const all = it.metrics.filter((point) => point.value !== 0);
      const box = h("details", { ontoggle: (event) => { isOpen = event.target.open; } }, h("summary", { class: "body" }, `All that it says of itself (${all.length} that are not 0)`),
        h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, all.map((point) => h("tr", {}, h("td", { class: "mono" }, point.name), h("td", { class: "quiet mono" }, Object.entries(point.attributes).map(([key, value]) => `${key}=${short(value, 60)}`).join(" ")), h("td", { class: "num mono" }, figure(point.value, 6))))))));
      box.open = isOpen;
      show(metrics, box);
    },
  };
}
