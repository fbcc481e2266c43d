// Every disk by every probe, and what of it needs attention: as the server writes them (agent/web/page.py), kept new.

import { glyph, html, replace } from "./elements.js";
import { spark } from "./chart.js";
import { ago, ahead, latency } from "./words.js";

export const STATES = ["stuck", "failed", "absent", "skipped", "paused", "running", "waiting", "new", "ok"];
const QUIET = new Set(["ok", "new", "running", "waiting"]);
const SPARKED = 40;

export const span = (unix, now) => html("span", { "data-ago": unix }, ago(unix, now));
export const wait = (unix, now) => html("span", { "data-ahead": unix }, ahead(unix, now));
export const link = (disk, probe) => `#${new URLSearchParams(probe ? { disk, probe } : { disk })}`;

export function figures(run, operation) {
  const all = Object.entries(run.latency_s).filter(([name]) => !operation || name === operation).map(([, quantiles]) => quantiles);
  const worst = (quantile) => Math.max(...all.map((quantiles) => quantiles[quantile] ?? 0), 0) || null;
  return { unix: run.started_unix, p50: worst("0.5"), p99: worst("0.99"), failure: run.failure };
}

export function drawTally(element, agent) {
  replace(element, STATES.filter((state) => agent.states[state]).map((state) =>
    html("li", { class: `chip s-${state}` }, glyph(state), html("b", {}, agent.states[state]), ` ${state}`)));
}

const every = (name, what) => (name === "*" ? `every ${what}` : name);

function note(state, what, text, when, href) {
  return html("li", { class: `note s-${state}` }, glyph(state), html("b", { class: "word" }, state), " ",
    href ? html("a", { class: "what", href }, what) : html("span", { class: "what" }, what), " ",
    html("span", { class: "text" }, text), when ? html("span", { class: "when" }, when) : null);
}

export function drawNotes(element, { agent, disks, pauses }, now) {
  const notes = [];
  if (!agent.last_reload_successful) {
    notes.push([-1, note("failed", "configuration", "The last configuration was refused; the one before is in force. iovigil check-config says why.")]);
  }
  for (const pause of pauses) {
    const until = pause.until_unix ? html("span", {}, "ends ", wait(pause.until_unix, now)) : "until it is resumed";
    notes.push([STATES.indexOf("paused"), note("paused", `${every(pause.disk, "disk")} · ${every(pause.probe, "probe")}`, pause.reason || "paused", until)]);
  }
  for (const disk of disks) {
    const alike = new Map();
    for (const probe of disk.probes) {
      if (!QUIET.has(probe.state) && !(probe.state === "paused" && pauses.length)) {
        const key = `${probe.state}\n${probe.reason}`;
        alike.set(key, [...(alike.get(key) ?? []), probe]);
      }
      const isTold = probe.state === "failed" && probe.last_run?.failure === "verify";
      if (probe.last_mismatch_unix && !isTold) {
        notes.push([STATES.indexOf("failed"), note("failed", `${disk.name} · ${probe.probe}`, "data corruption was found",
          span(probe.last_mismatch_unix, now), link(disk.name, probe.probe))]);
      }
    }
    for (const [probe, ...more] of alike.values()) {
      const all = [probe, ...more].map((each) => each.probe);
      const names = all.length === disk.probes.length && more.length ? "every probe" : all.join(", ");
      const when = probe.state === "skipped" && probe.last_skip_unix ? span(probe.last_skip_unix, now)
        : probe.state === "failed" && probe.last_run ? span(probe.last_run.ended_unix, now)
        : probe.oldest_inflight_s > 0 ? `oldest I/O ${latency(probe.oldest_inflight_s)}` : null;
      notes.push([STATES.indexOf(probe.state), note(probe.state, `${disk.name} · ${names}`, probe.reason, when,
        more.length ? link(disk.name) : link(disk.name, probe.probe))]);
    }
  }
  replace(element, notes.sort(([a], [b]) => a - b).map(([, each]) => each));
}

export function drawRows(heads, rows, disks, cells, selected, now) {
  const probes = [...new Set(disks.flatMap((disk) => disk.probes.map((probe) => probe.probe)))];
  replace(heads, html("th", { scope: "col", role: "columnheader" }, "disk"),
    probes.map((probe) => html("th", { scope: "col", role: "columnheader" }, probe)));
  const known = new Map([...rows.querySelectorAll("tr[data-disk]")].map((row) => [row.dataset.disk, row]));
  const wanted = disks.map((disk) => {
    const row = known.get(disk.name) ?? html("tr", { role: "row", "data-disk": disk.name });
    row.className = `s-${disk.state}`;
    row.toggleAttribute("aria-current", false);
    if (disk.name === selected) row.setAttribute("aria-current", "true");
    drawRow(row, disk, probes, cells, now);
    return row;
  });
  // Rows that stay where they are are not touched.
  if (wanted.length !== rows.children.length || wanted.some((row, index) => rows.children[index] !== row)) rows.replaceChildren(...wanted);
}

function drawRow(row, disk, probes, cells, now) {
  const byName = new Map(disk.probes.map((probe) => [probe.probe, probe]));
  const identity = ["model", "transport", "device"].map((key) => disk.identity[key]).filter(Boolean).join(" · ") || disk.path;
  replace(row,
    html("th", { scope: "row", role: "rowheader" }, html("a", { class: "disk", href: link(disk.name) }, disk.name),
      html("span", { class: "identity", title: identity }, identity)),
    probes.map((name) => cell(disk, byName.get(name), name, cells.get(`${disk.name}\n${name}`) ?? [], now)));
}

function cell(disk, probe, name, runs, now) {
  if (!probe) {
    return html("td", { role: "cell", class: "cell none" },
      html("span", { "aria-hidden": "true" }, "–"), html("span", { class: "unseen" }, "not on this disk"));
  }
  const quantiles = probe.last_run ? Object.values(probe.last_run.latency_s).map((each) => each["0.99"] ?? 0) : [];
  const p99 = Math.max(...quantiles, 0);
  const times = [];
  if (probe.last_run) times.push(span(probe.last_run.ended_unix, now));
  if (probe.next_unix) times.push(html("span", {}, html("span", { class: "unseen" }, "next "), wait(probe.next_unix, now)));
  return html("td", { role: "cell", class: `cell s-${probe.state}`, "data-probe": name }, html("div", { class: "in", "data-label": name },
    html("a", { class: "state", href: link(disk.name, name) }, glyph(probe.state), html("span", {}, probe.phase ?? probe.state)),
    p99 ? html("span", { class: "figure" }, latency(p99)) : null,
    !["ok", "running"].includes(probe.state) && probe.reason ? html("span", { class: "why", title: probe.reason }, probe.reason) : null,
    probe.last_mismatch_unix ? html("span", { class: "why bad" }, "corruption ", span(probe.last_mismatch_unix, now)) : null,
    times.length ? html("span", { class: "when" }, times.flatMap((each, index) => (index ? [" · ", each] : [each]))) : null,
    spark(runs.slice(-SPARKED).map((run) => figures(run)))));
}

// Arrow keys go from cell to cell, as in a sheet; Tab goes through the links as ever.
export function walkable(table) {
  table.addEventListener("keydown", (event) => {
    const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    const here = event.target.closest("th, td");
    if (!step || !here || event.altKey || event.ctrlKey || event.metaKey) return;
    const grid = [...table.querySelectorAll("tbody tr")].filter((row) => !row.hidden).map((row) => [...row.children]);
    let line = grid.findIndex((row) => row.includes(here));
    let place = grid[line]?.indexOf(here) ?? -1;
    for (;;) {
      line += step[0];
      place += step[1];
      const target = grid[line]?.[place];
      if (!target) return;
      const next = target.querySelector("a");
      if (next) {
        event.preventDefault();
        next.focus();
        return;
      }
    }
  });
}
