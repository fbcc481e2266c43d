// Latency over time as inline SVG: p50 and p99 of each run on a logarithmic scale, failures below, peers behind.

import { html, svg } from "./elements.js";
import { clock, latency } from "./words.js";

const HEIGHT = 152;
const INSET = { left: 50, right: 8, top: 8, bottom: 20 };

const path = (points) => points.map(([x, y], place) => `${place ? "L" : "M"}${x.toFixed(1)} ${y.toFixed(1)}`).join("");

// Lines break where a run has no such figure: a gap is not a value.
function stretches(points) {
  const found = [[]];
  for (const point of points) {
    if (point === null) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((stretch) => stretch.length);
}

function steps(low, high, count) {
  const widths = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];
  const width = widths.find((each) => (high - low) / each <= count) ?? 2592000;
  const found = [];
  for (let at = Math.ceil(low / width) * width; at <= high; at += width) found.push(at);
  return found;
}

// runs: oldest first, [{ unix, p50, p99, failure }]; peers: lists of [unix, p99].
export function chart({ title, runs, peers, width }) {
  const figures = [...runs.flatMap((run) => [run.p50, run.p99]), ...peers.flat().map(([, p99]) => p99)].filter((each) => each > 0);
  if (!runs.length || !figures.length) return html("p", { class: "calm" }, "No latency measured yet.");
  let low = Math.floor(Math.log10(Math.min(...figures)) * 3) / 3;
  let high = Math.ceil(Math.log10(Math.max(...figures)) * 3) / 3;
  if (high - low < 1) [low, high] = [low - (1 - high + low) / 2, high + (1 - high + low) / 2];
  const first = runs[0].unix;
  const last = Math.max(runs.at(-1).unix, first + 1);
  const right = width - INSET.right;
  const bottom = HEIGHT - INSET.bottom;
  const x = (unix) => (runs.length === 1 ? right : INSET.left + ((unix - first) / (last - first)) * (right - INSET.left));
  const y = (seconds) => bottom - ((Math.log10(seconds) - low) / (high - low)) * (bottom - INSET.top);
  const line = (name) => stretches(runs.map((run) => (run[name] > 0 ? [x(run.unix), y(run[name])] : null)));
  const both = stretches(runs.map((run) => (run.p50 > 0 && run.p99 > 0 ? [x(run.unix), y(run.p99), y(run.p50)] : null)));
  const measured = runs.filter((run) => run.p99 > 0);
  const newest = measured.at(-1);
  const failures = runs.filter((run) => run.failure);

  const drawing = svg("svg", {
    class: "chart", viewBox: `0 0 ${width} ${HEIGHT}`, tabindex: 0, role: "img",
    "aria-label": `${title}: ${runs.length} runs from ${clock(first)} to ${clock(last)}; ` +
      (newest ? `last p50 ${latency(newest.p50)}, p99 ${latency(newest.p99)}; highest p99 ${latency(Math.max(...measured.map((run) => run.p99)))}; ` : "") +
      `failed: ${failures.length}. Arrow keys go from run to run.`,
  });
  for (let power = Math.floor(low); power <= high; power += 1) {
    for (const digit of high - low < 2 ? [1, 2, 5] : [1]) {
      const seconds = digit * 10 ** power;
      if (Math.log10(seconds) < low || Math.log10(seconds) > high) continue;
      const at = y(seconds);
      drawing.append(svg("line", { class: "grid", x1: INSET.left, x2: right, y1: at, y2: at }),
        svg("text", { x: INSET.left - 6, y: at + 4, "text-anchor": "end" }, latency(seconds * (1 + 1e-9))));
    }
  }
  for (const at of steps(first, last, Math.max(2, Math.floor(width / 110)))) {
    const text = last - first > 172800 ? new Date(at * 1000).toLocaleDateString([], { month: "short", day: "numeric" })
      : new Date(at * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", ...(last - first < 120 ? { second: "2-digit" } : {}) });
    const anchor = x(at) > right - 20 ? "end" : x(at) < INSET.left + 20 ? "start" : "middle";
    drawing.append(svg("text", { x: x(at), y: HEIGHT - 4, "text-anchor": anchor }, text));
  }
  for (const peer of peers) {
    const points = peer.filter(([unix, p99]) => unix >= first && unix <= last && p99 > 0).map(([unix, p99]) => [x(unix), y(p99)]);
    if (points.length > 1) drawing.append(svg("path", { class: "peer", d: path(points) }));
  }
  for (const stretch of both) {
    drawing.append(svg("path", { class: "band",
      d: `${path(stretch)}${path(stretch.map(([at, , below]) => [at, below]).reverse()).replace("M", "L")}Z` }));
  }
  for (const name of ["p50", "p99"]) {
    for (const stretch of line(name)) {
      drawing.append(stretch.length > 1 ? svg("path", { class: name, d: path(stretch) })
        : svg("circle", { class: "dot", cx: stretch[0][0], cy: stretch[0][1], r: 2.5 }));
    }
  }
  for (const run of failures) {
    drawing.append(svg("path", { class: "miss", d: `M${x(run.unix) - 3} ${bottom - 6}l6 6m0 -6l-6 6` }));
  }
  const cursor = svg("line", { class: "cursor", y1: INSET.top, y2: bottom, visibility: "hidden" });
  drawing.append(cursor);

  let place = -1;
  function show(next, tell) {
    place = Math.min(Math.max(next, 0), runs.length - 1);
    const run = runs[place];
    cursor.setAttribute("x1", x(run.unix));
    cursor.setAttribute("x2", x(run.unix));
    cursor.setAttribute("visibility", "visible");
    tell(run);
  }
  drawing.readout = (tell) => {
    drawing.addEventListener("pointermove", (event) => {
      const at = ((event.clientX - drawing.getBoundingClientRect().left) * width) / drawing.getBoundingClientRect().width;
      let best = 0;
      runs.forEach((run, index) => { if (Math.abs(x(run.unix) - at) < Math.abs(x(runs[best].unix) - at)) best = index; });
      show(best, tell);
    });
    const leave = () => { cursor.setAttribute("visibility", "hidden"); place = -1; tell(null); };
    drawing.addEventListener("pointerleave", leave);
    drawing.addEventListener("blur", leave);
    drawing.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!step) return;
      event.preventDefault();
      show(place < 0 ? runs.length - 1 : place + step, tell);
    });
  };
  return drawing;
}

// The p99 of the last runs in the size of a word; a failed one is a tick.
export function spark(runs) {
  const width = 88;
  const height = 20;
  const logs = runs.map((run) => (run.p99 > 0 ? Math.log10(run.p99) : null));
  const known = logs.filter((each) => each !== null);
  if (runs.length < 2 || !known.length) return null;
  const middle = (Math.max(...known) + Math.min(...known)) / 2;
  const span = Math.max(Math.max(...known) - Math.min(...known), 0.6);
  const x = (index) => (index / (runs.length - 1)) * width;
  const points = logs.map((each, index) => (each === null ? null : [x(index), height / 2 - ((each - middle) / span) * (height - 4)]));
  return svg("svg", { class: "spark", viewBox: `0 0 ${width} ${height}`, preserveAspectRatio: "none", "aria-hidden": "true" },
    ...stretches(points).filter((stretch) => stretch.length > 1).map((stretch) => svg("path", { d: path(stretch) })),
    ...runs.map((run, index) => (run.failure ? svg("path", { class: "miss", d: `M${x(index).toFixed(1)} ${height - 5}v5` }) : null)));
}
