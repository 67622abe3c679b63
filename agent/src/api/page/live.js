// Requests as they come.

import { ask, clock, duration, empty, h, name, row, short, status, traceLink } from "./lib.js";

const SHOWN = 200;

export function view(root, query) {
  const text = h("input", { type: "search", placeholder: "Filter: path, service, status …", "aria-label": "Filter", class: "wide", "data-search": true, value: query.get("q") ?? "" });
  const service = h("input", { placeholder: "any", value: query.get("service") ?? "", "aria-label": "Service" });
  const failing = h("select", { "aria-label": "Status" }, h("option", { value: "" }, "all"), h("option", { value: "error" }, "failed"));
  const kind = h("select", { "aria-label": "Which end" }, h("option", { value: "" }, "both ends"), h("option", { value: "server" }, "answered"), h("option", { value: "client" }, "made"));
  const pause = h("button", { type: "button", "aria-pressed": "false" }, "Pause");
  const summary = h("span", { class: "quiet" });
  const body = h("tbody");
  const hint = h("div", {}, empty("Waiting for requests", "Each request of a watched service shows here as soon as it is over."));
  const table = h("table", { class: "live", hidden: true },
    h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Time"), h("th", { scope: "col", class: "hide-small" }, "Service"), h("th", { scope: "col" }, "Request"), h("th", { scope: "col" }, "Status"), h("th", { scope: "col", class: "num" }, "Duration"))), body);
  root.append(h("div", { class: "head" }, h("h1", {}, "Live"), summary, h("span", { class: "grow" }), pause),
    h("form", { class: "filter", onsubmit: (event) => event.preventDefault() }, h("label", {}, "Filter", text), h("label", {}, "Service", service), h("label", {}, "Status", failing), h("label", {}, "End", kind)),
    h("section", { class: "panel" }, h("div", { class: "scroll" }, table), hint));
  let stream = null;
  let next = null;
  let isPaused = false;
  let held = [];
  let count = 0;
  let leftOut = 0;
  let thinnedBefore = null;
  let ended = false;
  // Why there is no stream.
  let failure = null;

  function line(span) {
    const href = traceLink(span.trace_id, span.span_id);
    const made = row(href,
      h("td", { class: "mono quiet" }, clock(span.start_unix_ms)), h("td", { class: "hide-small" }, name(span.service, 40)),
      h("td", { class: "path" }, h("a", { href }, name(`${span.kind === "CLIENT" ? "→ " : ""}${span.path ? `${span.name} ${span.path}` : span.name}`))),
      h("td", {}, status(span)), h("td", { class: "num" }, duration(span.duration_ms)));
    made.classList.add("fresh");
    return made;
  }

  function add(spans) {
    if (!spans.length) return;
    count += spans.length;
    if (isPaused) {
      held = [...held, ...spans].slice(-SHOWN);
      pause.textContent = `Go on (${held.length})`;
      return;
    }
    table.hidden = false;
    hint.hidden = true;
    body.prepend(...spans.slice(-SHOWN).reverse().map(line));
    while (body.childElementCount > SHOWN) body.lastElementChild.remove();
  }

  const parameters = () => ({ q: text.value.trim(), service: service.value.trim(), status: failing.value, kind: kind.value });

  async function follow() {
    stream?.abort();
    const own = (stream = new AbortController());
    while (!ended && own === stream) {
      try {
        const response = await ask("/api/v1/live", { ...parameters(), after: next }, { raw: true, signal: own.signal });
        const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
        failure = null;
        summary.textContent = "connected";
        let rest = "";
        for (;;) {
          const { value, done } = await reader.read();
          if (done) break;
          rest += value;
          const events = rest.split("\n\n");
          rest = events.pop();
          for (const event of events) {
            const data = event.split("\n").find((one) => one.startsWith("data: "));
            if (!data || own !== stream) continue;
            const answer = JSON.parse(data.slice(6));
            next = answer.next;
            add(answer.spans);
            leftOut += answer.left_out;
            thinnedBefore ??= answer.thinned;
            const notShown = [
              leftOut ? `${leftOut} more are not shown: more come than can be read` : "",
              answer.thinned > thinnedBefore ? `${answer.thinned - thinnedBefore} of all services were not kept, rates are of all` : "",
            ].filter(Boolean);
            summary.textContent = [count ? `connected, ${count} so far` : "connected", ...notShown].join("; ");
          }
        }
      } catch (error) {
        if (own !== stream || ended) return;
        failure = error;
        summary.textContent = error.status ? short(error.message, 100) : "the agent does not answer; trying again";
        // Another agent counts from the beginning.
        next = null;
        thinnedBefore = null;
        await new Promise((done) => setTimeout(done, 1000));
      }
    }
  }

  let typing;
  const again = () => {
    clearTimeout(typing);
    summary.textContent = "connecting";
    typing = setTimeout(() => {
      body.replaceChildren();
      next = null;
      follow();
    }, 200);
  };
  [text, service].forEach((input) => input.addEventListener("input", again));
  [failing, kind].forEach((select) => select.addEventListener("change", again));
  const toggle = () => {
    isPaused = !isPaused;
    pause.setAttribute("aria-pressed", String(isPaused));
    pause.textContent = isPaused ? "Go on" : "Pause";
    if (!isPaused) {
      const spans = held;
      held = [];
      count -= spans.length;
      add(spans);
    }
  };
  pause.addEventListener("click", toggle);
  const key = (event) => {
    if (event.key === "p" && !event.target.closest?.("input, select")) toggle();
  };
  addEventListener("keydown", key);
  follow();
  return {
    title: "Live",
    every: 1000,
    // The stream knows whether the agent is there, and what it asks for.
    refresh: async () => { if (failure) throw failure; },
    end() {
      ended = true;
      stream?.abort();
      removeEventListener("keydown", key);
    },
  };
}
