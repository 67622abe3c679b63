// Charts of a few series over time, and the small lines in tables.

import { h, s } from "./lib.js";

const W = 480;
const H = 148;
const LEFT = 44;
const BOTTOM = 20;
const TOP = 8;

// Round steps for an axis that ends above `most`.
function ticks(most) {
  if (!(most > 0)) return [0, 1];
  const raw = most / 3;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].find((factor) => factor * power >= raw) * power;
  const marks = [];
  for (let at = 0; at < most + step * 0.999; at += step) marks.push(at);
  return marks;
}

// Points as pieces of a line: where there is nothing, there is none.
function pieces(values, x, y) {
  const all = [];
  let piece = null;
  values.forEach((value, index) => {
    if (value === null || value === undefined) {
      piece = null;
    } else {
      if (!piece) all.push((piece = []));
      piece.push([x(index), y(value)]);
    }
  });
  return all;
}

const line = (points) => points.map(([px, py], index) => `${index ? "L" : "M"}${px.toFixed(1)} ${py.toFixed(1)}`).join("");

export function chart({ start, step, series, format, label }) {
  const length = Math.max(...series.map((one) => one.values.length), 1);
  const most = Math.max(...series.flatMap((one) => one.values.map((value) => value ?? 0)), 0);
  const marks = ticks(most);
  const top = marks.at(-1);
  const x = (index) => LEFT + ((W - LEFT - 6) * (index + 0.5)) / length;
  const y = (value) => H - BOTTOM - ((H - BOTTOM - TOP) * value) / top;
  const drawing = s("svg", { viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img", "aria-label": label });
  const texts = [];
  for (const mark of marks) {
    drawing.append(s("line", { class: "gridline", x1: LEFT, x2: W, y1: y(mark), y2: y(mark) }));
    texts.push(s("text", { class: "axis", x: LEFT - 6, y: y(mark) + 4, "text-anchor": "end" }, format(mark)));
  }
  for (const share of [0.1, 0.5, 0.9]) {
    const index = Math.min(length - 1, Math.floor(length * share));
    const at = new Date((start + index * step) * 1000);
    const long = step * length > 86000;
    const text = at.toLocaleTimeString([], { hour12: false, hour: "2-digit", minute: "2-digit", second: long ? undefined : step < 60 ? "2-digit" : undefined });
    texts.push(s("text", { class: "axis", x: x(index), y: H - 4, "text-anchor": "middle" }, text));
  }
  for (const one of series) {
    for (const points of pieces(one.values, x, y)) {
      if (one.filled && points.length > 1) {
        const base = y(0).toFixed(1);
        drawing.append(s("path", { class: `fill ${one.class}`, d: `${line(points)}L${points.at(-1)[0].toFixed(1)} ${base}L${points[0][0].toFixed(1)} ${base}Z` }));
      }
      if (points.length > 1) drawing.append(s("path", { class: `series ${one.class}`, d: line(points) }));
      else drawing.append(s("circle", { class: one.class, cx: points[0][0], cy: points[0][1], r: 2.6 }));
    }
  }
  drawing.append(...texts);
  drawing.removeAttribute("preserveAspectRatio");
  const cross = s("line", { class: "cross", y1: TOP, y2: H - BOTTOM, visibility: "hidden" });
  drawing.append(cross);
  const tip = h("div", { class: "tip", hidden: true });
  const box = h("div", { class: "chart" }, drawing, tip);
  drawing.addEventListener("pointermove", (event) => {
    const at = drawing.createSVGPoint();
    [at.x, at.y] = [event.clientX, event.clientY];
    const inside = at.matrixTransform(drawing.getScreenCTM().inverse());
    const index = Math.max(0, Math.min(length - 1, Math.floor(((inside.x - LEFT) / (W - LEFT - 6)) * length)));
    cross.setAttribute("x1", x(index));
    cross.setAttribute("x2", x(index));
    cross.setAttribute("visibility", "visible");
    const time = new Date((start + index * step) * 1000).toLocaleTimeString([], { hour12: false });
    const values = series.map((one) => `${one.name} ${one.values[index] === null || one.values[index] === undefined ? "–" : format(one.values[index])}`);
    tip.textContent = `${time} · ${values.join(" · ")}`;
    tip.hidden = false;
    const bounds = box.getBoundingClientRect();
    const left = event.clientX - bounds.left;
    tip.style.left = `${Math.min(left + 12, bounds.width - tip.offsetWidth)}px`;
    tip.style.top = "-6px";
  });
  drawing.addEventListener("pointerleave", () => {
    cross.setAttribute("visibility", "hidden");
    tip.hidden = true;
  });
  return box;
}

export function spark(values, label) {
  const [width, height] = [110, 26];
  const most = Math.max(...values, 0.001);
  const points = values.map((value, index) => [(width * index) / Math.max(values.length - 1, 1), height - 2 - (height - 4) * (value / most)]);
  const path = line(points);
  return s("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", role: "img", "aria-label": label },
    points.length > 1 && s("path", { class: "fill", d: `${path}L${width} ${height}L0 ${height}Z` }),
    points.length > 1 && s("path", { class: "stroke", d: path }));
}
