// One disk: what it is, a chart for each operation of each probe, and, where that is enabled, what can be done.

import { ask, order } from "./client.js";
import { chart } from "./chart.js";
import { glyph, html, svg } from "./elements.js";
import { figures } from "./matrix.js";
import { bytes, clock, duration, latency, moment } from "./words.js";

const LABELS = { model: "Model", serial: "Serial", wwn: "WWN", firmware: "Firmware", transport: "Transport", device: "Device" };
const PEERS = 60;

export function drawDetail(body, { disk, probe, disks, log, agent, say, refresh }) {
  const facts = Object.entries(LABELS).filter(([key]) => disk.identity[key]).map(([key, label]) => [label, disk.identity[key]]);
  facts.push([disk.target === "device" ? "Path" : "Probe file", disk.path || "–"]);
  const width = Math.max(240, Math.min(900, (body.clientWidth || 480) - 32));
  const columns = Math.max(1, Math.floor((body.clientWidth + 13) / (416 + 13)));
  const single = columns > 1 ? Math.floor((body.clientWidth - 13 * (columns - 1)) / columns) - 32 : width;
  const cards = disk.probes.flatMap((each) => {
    const runs = log.of(disk.name, each.probe);
    const operations = [...new Set(runs.flatMap((run) => Object.keys(run.latency_s)))];
    return (operations.length ? operations : [null]).map((operation, index) =>
      card({ disk, each, operation, runs, width: single, isChosen: each.probe === probe, isFirst: index === 0, disks, log, agent, say, refresh }));
  });
  body.replaceChildren(
    html("dl", { class: "facts" }, facts.map(([label, value]) => html("div", {}, html("dt", {}, label), html("dd", {}, value)))),
    html("div", { class: "charts" }, cards),
    html("p", { class: "key", "aria-hidden": "true" },
      key("p99", "p99"), key("p50", "p50"), peersOf(disk, disks).length ? key("peer", "p99 of disks like it") : null,
      html("span", {}, svg("svg", { class: "chart", viewBox: "0 0 12 12" }, svg("path", { class: "miss", d: "M3 3l6 6m0 -6l-6 6" })), "failed run")));
}

// A disk is compared with its like: of the same model, or at least on the same kind of bus.
function peersOf(disk, disks) {
  const others = disks.filter((other) => other.name !== disk.name);
  const alike = (key) => others.filter((other) => disk.identity[key] && other.identity[key] === disk.identity[key]);
  return (alike("model").length ? alike("model") : alike("transport")).slice(0, PEERS);
}

const key = (name, text) =>
  html("span", {}, svg("svg", { class: "chart", viewBox: "0 0 26 10", preserveAspectRatio: "none" }, svg("path", { class: name, d: "M0 5h26" })), text);

function card({ disk, each, operation, runs, width, isChosen, isFirst, disks, log, agent, say, refresh }) {
  const title = operation ? `${each.probe} · ${operation}` : each.probe;
  const points = runs.map((run) => figures(run, operation));
  const peers = peersOf(disk, disks)
    .map((other) => log.of(other.name, each.probe).map((run) => figures(run, operation)).map((run) => [run.unix, run.p99]));
  const newest = points.findLast((run) => run.p99);
  const rest = newest ? `p50 ${latency(newest.p50)} · p99 ${latency(newest.p99)}` : "";
  const readout = html("span", { class: "readout", "aria-live": "polite" }, rest);
  const drawing = chart({ title: `${disk.name}, ${title}`, runs: points, peers, width });
  drawing.readout?.((run) => {
    readout.textContent = !run ? rest : run.p99 ? `${clock(run.unix)} · p50 ${latency(run.p50)} · p99 ${latency(run.p99)}` : `${clock(run.unix)} · ${run.failure ?? "no I/O"}`;
  });
  return html("article", { class: `card s-${each.state}`, "aria-current": isChosen ? "true" : null },
    html("header", {}, html("h3", {}, title), isFirst ? html("span", { class: "state" }, glyph(each.state), each.state) : null, readout),
    isFirst ? html("p", { class: "reason calm" }, `${each.rw} · every ${duration(each.interval_s)} · ${each.engine}`) : null,
    isFirst && each.reason && each.state !== "running" ? html("p", { class: "reason" }, each.reason) : null,
    drawing,
    isFirst && agent.is_control_enabled ? actions(disk, each, say, refresh) : null);
}

function actions(disk, each, say, refresh) {
  const names = { disk: disk.name, probe: each.probe };
  const button = (text, action, body, done) => html("button", {
    type: "button", "aria-label": `${text}: ${each.probe} on ${disk.name}`,
    onclick: async () => {
      try {
        await order(action, body);
        say(`${each.probe} on ${disk.name}: ${done}`);
      } catch (error) {
        say(error.message);
      }
      await refresh();
    },
  }, text);
  return html("div", { class: "actions" },
    button("Run now", "run", names, "started"),
    each.state === "paused" ? button("Resume", "resume", names, "resumed")
      : button("Pause", "pause", { ...names, reason: "paused on the status page" }, "paused"));
}

export function drawFailures(element, runs) {
  if (!runs.length) {
    if (!element.querySelector(".calm")) element.replaceChildren(html("p", { class: "calm" }, "No run has failed."));
    return;
  }
  const known = new Map([...element.querySelectorAll("details")].map((each) => [each.dataset.run, each]));
  const wanted = runs.map((run) => known.get(String(run.id)) ?? failure(run));
  const list = element.querySelector(".list") ?? html("div", { class: "list" });
  if (list.parentElement !== element) element.replaceChildren(list);
  if (wanted.length !== list.children.length || wanted.some((each, index) => list.children[index] !== each)) list.replaceChildren(...wanted);
}

function failure(run) {
  const log = html("div", { class: "log" }, html("p", { class: "calm" }, "…"));
  const details = html("details", { class: "s-failed", "data-run": run.id },
    html("summary", {}, glyph("failed"), html("span", { class: "what" }, `${run.disk} · ${run.probe}`),
      html("span", { class: "text" }, `${run.failure}: ${run.message}`),
      html("span", { class: "when", "data-ago": run.started_unix + run.duration_s })), log);
  details.addEventListener("toggle", async () => {
    if (!details.open || details.dataset.loaded) return;
    details.dataset.loaded = "true";
    try {
      const whole = await ask(`/runs/${run.id}`);
      log.replaceChildren(...logOf(whole));
    } catch (error) {
      delete details.dataset.loaded;
      log.replaceChildren(html("p", { class: "bad" }, error.message));
    }
  });
  return details;
}

function logOf(run) {
  const told = (label, value) => (value === null || value === "" ? [] : [html("dt", {}, label), html("dd", {}, value)]);
  const each = (counts, spell) => Object.entries(counts).filter(([, value]) => value).map(([name, value]) => `${name} ${spell(value)}`).join(", ");
  return [
    html("pre", { tabindex: 0, "aria-label": "What the run said" }, run.messages.length ? run.messages.join("\n") : run.message || "It said nothing."),
    html("dl", {},
      told("Started", `${moment(run.started_unix)}, for ${duration(run.duration_s)}`),
      told("Engine", run.engine),
      told("Ended", run.signal ? `signal ${run.signal}` : run.exit_status === null ? null : `exit status ${run.exit_status}`),
      told("Moved", each(run.bytes, bytes)),
      told("I/Os", each(run.ios, String)),
      told("Errors", each(run.errnos, String)),
      told("Mismatches", each(run.mismatches, String)),
      told("Options", Object.entries(run.options).map(([name, value]) => `${name}=${Array.isArray(value) ? value.join(",") : value}`).join(" "))),
  ];
}

export function drawMismatches(element, mismatches) {
  if (!mismatches.length) {
    if (!element.querySelector(".calm")) element.replaceChildren(html("p", { class: "calm" }, "No mismatch is on record."));
    return;
  }
  const keyOf = (each) => `${each.run}/${each.number}`;
  if (element.dataset.newest === keyOf(mismatches[0]) && element.dataset.count === String(mismatches.length)) return;
  element.dataset.newest = keyOf(mismatches[0]);
  element.dataset.count = mismatches.length;
  element.replaceChildren(html("ul", { class: "list" }, mismatches.map((each) =>
    html("li", { class: "s-failed" }, glyph("failed"), html("span", { class: "what" }, `${each.disk} · ${each.kind}`),
      html("span", { class: "text" }, each.text.replace(/^data corruption: /, "")),
      html("span", { class: "when", "data-ago": each.found_unix })))));
}
