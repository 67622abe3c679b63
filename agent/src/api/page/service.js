// Services as a list, and one of them: how it does over time, what it is asked, what it asks.

import { ask, clock, duration, empty, figure, h, name, percent, rate, row, serviceLink, short, show, span, state, status, traceLink } from "./lib.js";
import { chart, spark } from "./charts.js";

function failed(rates, href) {
  const share = percent(rates.error_share);
  return h("td", { class: `num ${rates.error_share >= 0.005 ? "bad" : ""}` }, href ? h("a", { href, title: "Its failed traces", "data-key": href }, share) : share);
}

export function list(root) {
  const summary = h("span", { class: "quiet" });
  const body = h("div");
  root.append(h("div", { class: "head" }, h("h1", {}, "Services"), summary), h("section", { class: "panel" }, body));
  return {
    every: 3000,
    title: "Services",
    async refresh(signal) {
      const { services, window_s } = await ask("/api/v1/services", { window: state.window }, { signal });
      summary.textContent = services.length ? `${services.length} in the last ${span(window_s)}` : "";
      if (!services.length) return show(body, empty("No service was seen yet", "As soon as one answers or makes a request, it is here."));
      const head = ["Service", "Requests", "Failed", "p50", "p95", "p99", "Last 5 min"];
      show(body, h("div", { class: "scroll" }, h("table", {},
        h("thead", {}, h("tr", {}, head.map((text, index) => h("th", { class: index > 0 && index < 6 ? `num ${index === 3 || index === 5 ? "hide-small" : ""}` : "", scope: "col" }, text)))),
        h("tbody", {}, services.map((service) => {
          const rates = service.served.requests ? service.served : service.made;
          const href = serviceLink(service.name, service.namespace);
          return row(href,
            h("td", {}, h("a", { href, "data-key": href }, name(service.name, 80)), service.namespace ? h("span", { class: "quiet" }, short(service.namespace, 40)) : null),
            h("td", { class: "num" }, `${rate(rates.rate)}/s`, service.served.requests ? null : h("span", { class: "quiet" }, " made")),
            failed(rates),
            h("td", { class: "num hide-small" }, duration(rates.p50_ms)), h("td", { class: "num" }, duration(rates.p95_ms)), h("td", { class: "num hide-small" }, duration(rates.p99_ms)),
            h("td", {}, spark(service.sparkline, "Requests a second in the last five minutes")));
        })))));
    },
  };
}

const kpi = (value, unit, label, isBad) => h("div", { class: "kpi" }, h("b", { class: isBad ? "bad" : undefined }, value, unit ? h("small", {}, unit) : null), h("span", {}, label));

function spans(title, note, found, none, all) {
  return h("section", { class: "panel" }, h("header", {}, h("h2", {}, title), h("span", { class: "quiet" }, note), found.length ? h("a", { class: "end", href: all, "data-key": all }, "All traces of them") : null),
    found.length ? h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, found.map((one) => {
      const href = traceLink(one.trace_id, one.span_id);
      return row(href, h("td", { class: "path" }, h("a", { href, "data-key": `${title}${one.number}` }, name(one.path ? `${one.name} ${one.path}` : one.name))),
        h("td", {}, status(one)), h("td", { class: "num" }, duration(one.duration_ms)), h("td", { class: "num quiet hide-small" }, clock(one.start_unix_ms)));
    })))) : h("div", { class: "body quiet" }, none));
}

function peers(title, all, none) {
  return h("section", { class: "panel" }, h("header", {}, h("h2", {}, title)),
    all.length ? h("div", { class: "scroll" }, h("table", {}, h("tbody", {}, all.map((peer) => {
      const href = peer.kind === "service" ? serviceLink(peer.name, peer.namespace) : null;
      const label = name(peer.name, 80);
      const cells = [h("td", {}, href ? h("a", { href, "data-key": `${title}${href}` }, label) : label), h("td", { class: "num" }, `${rate(peer.rates.rate)}/s`), failed(peer.rates), h("td", { class: "num" }, duration(peer.rates.p95_ms), h("span", { class: "quiet" }, " p95"))];
      return href ? row(href, cells) : h("tr", {}, cells);
    })))) : h("div", { class: "body quiet" }, none));
}

const INSTANCE = ["service.instance.id", "process.pid", "process.executable.name", "telemetry.sdk.language", "container.id", "k8s.namespace.name", "k8s.pod.name", "k8s.deployment.name", "k8s.node.name", "host.name"];

function instances(all) {
  return h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Instances"), h("span", { class: "quiet" }, "that spans are kept of")),
    all.length ? h("div", { class: "body grid two" }, all.slice(0, 20).map((one) => h("dl", {}, INSTANCE.filter((key) => one[key]).map((key) => [h("dt", {}, key), h("dd", {}, short(one[key], 160))])))) : h("div", { class: "body quiet" }, "No spans of it are kept."));
}

export function view(root, service, query) {
  const namespace = query.has("namespace") ? query.get("namespace") : undefined;
  // What of its traces: of a route, those that failed, the slowest first.
  const traces = (more = {}) => `#/traces?${new URLSearchParams({ service, ...(namespace === undefined ? {} : { namespace }), ...more })}`;
  const tags = h("span", { class: "tags" });
  const body = h("div", { class: "grid" });
  root.append(h("div", { class: "head" }, h("h1", {}, name(service, 100)), tags, h("span", { class: "grow" }),
    h("a", { class: "button", href: traces() }, "Traces"), h("a", { class: "button", href: `#/live?service=${encodeURIComponent(service)}` }, "Live")), body);
  return {
    every: 4000,
    title: short(service, 60),
    async refresh(signal) {
      // An empty namespace is one, too.
      const path = `/api/v1/services/${encodeURIComponent(service)}${namespace === undefined ? "" : `?namespace=${encodeURIComponent(namespace)}`}`;
      const it = await ask(path, { window: state.window }, { signal });
      const rates = it.is_client ? it.made : it.served;
      const { over_time: time } = it;
      show(tags, it.namespace && h("span", { class: "tag" }, short(it.namespace, 40)), it.language && h("span", { class: "tag" }, it.language), it.is_client && h("span", { class: "tag warn" }, "it makes requests and answers none"));
      const common = { start: time.start_unix_s, step: time.step_s };
      const key = (kind) => [h("i", { class: kind }), kind];
      const charts = h("div", { class: "grid three" },
        h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Requests"), h("span", { class: "quiet" }, "a second")), h("div", { class: "body" }, chart({ ...common, label: "Requests a second", format: (value) => figure(value), series: [{ name: "requests", class: "rate", values: time.rate, filled: true }] }))),
        h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Failed"), h("span", { class: "quiet" }, "a second")), h("div", { class: "body" }, chart({ ...common, label: "Failed requests a second", format: (value) => figure(value), series: [{ name: "failed", class: "errors", values: time.errors, filled: true }] }))),
        h("section", { class: "panel" }, h("header", {}, h("h2", {}, "Duration"), h("span", { class: "keys end" }, ["p50", "p95", "p99"].map((kind) => h("span", {}, key(kind))))), h("div", { class: "body" }, chart({ ...common, label: "Durations", format: duration, series: ["p99", "p95", "p50"].map((kind) => ({ name: kind, class: kind, values: time[`${kind}_ms`] })) }))));
      const routes = h("section", { class: "panel" }, h("header", {}, h("h2", {}, it.is_client ? "What it asks" : "Routes"), h("span", { class: "quiet" }, `${it.routes.length} in the last ${span(it.window_s)}`)),
        h("div", { class: "scroll" }, h("table", {},
          h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Route"), ["Requests", "Failed", "p50", "p95", "p99"].map((text, index) => h("th", { scope: "col", class: `num ${index === 2 || index === 4 ? "hide-small" : ""}` }, text)), h("th", { scope: "col" }, "Last 5 min"))),
          h("tbody", {}, it.routes.slice(0, 200).map((route) => {
            const its = { name: route.name, kind: it.is_client ? "client" : "server" };
            const href = traces(its);
            const [failing, slowest] = [traces({ ...its, status: "error" }), traces({ ...its, sort: "slowest" })];
            return row(href, h("td", {}, h("a", { href, "data-key": href }, name(route.name))), h("td", { class: "num", title: `${route.requests} requests` }, `${rate(route.rate)}/s`), failed(route, route.errors ? failing : null),
              h("td", { class: "num hide-small" }, duration(route.p50_ms)), h("td", { class: "num" }, duration(route.p95_ms)), h("td", { class: "num hide-small" }, h("a", { href: slowest, title: "Its slowest traces", "data-key": slowest }, duration(route.p99_ms))), h("td", {}, spark(route.sparkline, "Requests a second in the last five minutes")));
          })))));
      show(body,
        h("section", { class: "panel kpis", "data-requests": rates.requests, "data-errors": rates.errors },
          kpi(rate(rates.rate), "/s", it.is_client ? "requests made" : "requests"), kpi(percent(rates.error_share), "", "failed", rates.error_share >= 0.005),
          kpi(duration(rates.p50_ms), "", "p50"), kpi(duration(rates.p95_ms), "", "p95"), kpi(duration(rates.p99_ms), "", "p99"), kpi(figure(rates.requests), "", `in the last ${span(it.window_s)}`)),
        charts, routes,
        h("div", { class: "grid two" }, peers("Who asks it", it.callers, it.is_client ? "Nobody: it answers nothing." : "Nobody in this time."), peers("Whom it asks", it.calls, "Nobody in this time.")),
        h("div", { class: "grid two" }, spans("Slowest", "of those that are kept", it.slowest, "Nothing is kept of it.", traces({ kind: it.is_client ? "client" : "server", sort: "slowest" })), spans("Failing", "the latest first", it.failing, "Nothing failed, of what is kept.", traces({ kind: it.is_client ? "client" : "server", status: "error" }))),
        instances(it.instances));
    },
  };
}
