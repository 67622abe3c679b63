// Where nodes lie: in layers by who asks whom, in each layer near those that they have to do with. It is our own, in a hundred lines, so
// that the page needs no build and nothing from elsewhere; what libraries for it bring besides (routing of edges around
// nodes, clusters) is not needed at this size. The same graph always has the same layout, and a node that is there keeps its
// place in its layer when others come.

const SWEEPS = 12;

// Edges without those that close a circle, found from the nodes that nobody asks.
function acyclic(ids, edges) {
  const next = new Map(ids.map((id) => [id, []]));
  const asked = new Set();
  for (const edge of edges) {
    if (edge.from === edge.to || !next.has(edge.from) || !next.has(edge.to)) continue;
    next.get(edge.from).push(edge.to);
    asked.add(edge.to);
  }
  const state = new Map();
  const kept = [];
  const roots = [...ids.filter((id) => !asked.has(id)), ...ids];
  for (const root of roots) {
    if (state.has(root)) continue;
    const stack = [[root, 0]];
    state.set(root, "open");
    while (stack.length) {
      const top = stack[stack.length - 1];
      const [id, index] = top;
      const to = next.get(id)[index];
      if (to === undefined) {
        state.set(id, "done");
        stack.pop();
        continue;
      }
      top[1] += 1;
      if (state.get(to) === "open") continue;
      kept.push([id, to]);
      if (!state.has(to)) {
        state.set(to, "open");
        stack.push([to, 0]);
      }
    }
  }
  return kept;
}

// `nodes`: ids in order; `before`: the last layout. Gives layers of ids.
export function layers(nodes, edges, before = new Map()) {
  const ids = [...nodes].sort();
  const links = acyclic(ids, edges);
  const into = new Map(ids.map((id) => [id, []]));
  const out = new Map(ids.map((id) => [id, []]));
  for (const [from, to] of links) {
    out.get(from).push(to);
    into.get(to).push(from);
  }
  // The longest way to each.
  const rank = new Map();
  const waiting = new Map(ids.map((id) => [id, into.get(id).length]));
  const queue = ids.filter((id) => waiting.get(id) === 0);
  queue.forEach((id) => rank.set(id, 0));
  for (let at = 0; at < queue.length; at += 1) {
    for (const to of out.get(queue[at])) {
      rank.set(to, Math.max(rank.get(to) ?? 0, rank.get(queue[at]) + 1));
      waiting.set(to, waiting.get(to) - 1);
      if (waiting.get(to) === 0) queue.push(to);
    }
  }
  const all = [];
  for (const id of ids) (all[rank.get(id) ?? 0] ??= []).push(id);
  const place = new Map();
  const number = (layer) => layer.forEach((id, index) => place.set(id, index - (layer.length - 1) / 2));
  for (const layer of all) {
    layer.sort((a, b) => (before.get(a) ?? Infinity) - (before.get(b) ?? Infinity) || (a < b ? -1 : 1));
    number(layer);
  }
  const isKnown = ids.every((id) => before.has(id));
  for (let sweep = 0; !isKnown && sweep < SWEEPS; sweep += 1) {
    const down = sweep % 2 === 0;
    for (const layer of down ? all : [...all].reverse()) {
      const beside = down ? into : out;
      const wish = new Map(layer.map((id) => {
        const near = beside.get(id);
        return [id, near.length ? near.reduce((sum, it) => sum + place.get(it), 0) / near.length : place.get(id)];
      }));
      layer.sort((a, b) => wish.get(a) - wish.get(b) || place.get(a) - place.get(b));
      number(layer);
    }
  }
  return all;
}

// Coordinates: layers from left to right, or from top to bottom where there is little width. Long layers are broken up, so that those who
// ask others (`asking`) are next to what they ask: a line behind another node would seem to be that one's.
export function positions(all, { width, height, gapAcross, gapAlong, vertical, most, asking = new Set() }) {
  const found = new Map();
  const rows = all.flatMap((layer) => {
    const parts = [];
    const ordered = layer.length > most ? [...layer.filter((id) => !asking.has(id)), ...layer.filter((id) => asking.has(id))] : layer;
    for (let at = 0; at < ordered.length; at += most) parts.push(ordered.slice(at, at + most));
    return parts;
  });
  const [across, along] = vertical ? [width + gapAcross, height + gapAlong] : [height + gapAcross, width + gapAlong];
  const longest = Math.max(...rows.map((row) => row.length), 1);
  rows.forEach((row, rank) => {
    const offset = ((longest - row.length) * across) / 2;
    row.forEach((id, index) => {
      const [a, b] = [offset + index * across, rank * along];
      found.set(id, vertical ? { x: a, y: b } : { x: b, y: a });
    });
  });
  const size = { across: longest * across - gapAcross, along: rows.length * along - gapAlong };
  return { found, width: vertical ? size.across : size.along, height: vertical ? size.along : size.across };
}
