// The status page: asks the API every few seconds and draws what has changed.

import { RunLog, ask, now } from "./client.js";
import { drawDetail, drawFailures, drawMismatches } from "./detail.js";
import { drawNotes, drawRows, drawTally, walkable } from "./matrix.js";
import { ago, ahead } from "./words.js";

const INTERVAL_MS = 5000;
const STALE_S = 20;
const SHOWN = 20;

const at = (id) => document.getElementById(id);
const log = new RunLog();
let view = null;
let refreshedS = null;
let drawn = "";

const chosen = () => new URLSearchParams(location.hash.slice(1));
const say = (text) => { at("spoken").textContent = text; };

function selectedDisk() {
  const named = view.disks.find((disk) => disk.name === chosen().get("disk"));
  const worst = (states) => view.disks.find((disk) => states.includes(disk.state));
  return named ?? worst(["stuck"]) ?? worst(["failed"]) ?? worst(["skipped", "absent"]) ?? view.disks[0];
}

async function refresh() {
  try {
    const [agent, { disks }, { pauses }, failures, { mismatches }] = await Promise.all([
      ask("/agent"), ask("/disks"), ask("/schedule"), ask("/runs", { failed: true, limit: SHOWN }).catch(failed),
      ask("/mismatches", { limit: SHOWN }).catch(failed), log.refresh().catch(failed)]);
    view = { agent, disks, pauses };
    refreshedS = performance.now() / 1000;
    draw();
    if (failures.runs) drawFailures(at("failure-list"), failures.runs);
    if (mismatches) drawMismatches(at("mismatch-list"), mismatches);
    await drawSelected();
  } catch {
    // Said by the mark of freshness, which goes red: nothing that was drawn is taken away.
  }
  tick();
}

// Without its history the agent still says how the disks stand.
const failed = () => ({});

function draw() {
  const bad = view.agent.states.stuck + view.agent.states.failed;
  document.title = `${bad ? `(${bad}) ` : ""}${view.agent.host} – iovigil`;
  drawTally(at("tally"), view.agent);
  drawNotes(at("notes"), view, now());
  drawRows(at("heads"), at("rows"), view.disks, log.byCell(), selectedDisk()?.name, now());
  filter();
}

async function drawSelected() {
  const disk = selectedDisk();
  if (!disk) return;
  await log.complete(disk.name).catch(() => {});
  const probe = chosen().get("probe");
  const body = at("detail-body");
  const runs = disk.probes.map((each) => log.of(disk.name, each.probe).at(-1)?.id);
  const mark = JSON.stringify([disk.name, probe, runs, disk.probes.map((each) => [each.state, each.reason]), body.clientWidth, view.agent.is_control_enabled]);
  // A chart that is being read, with its cursor on a run, stays as it is.
  const isRead = body.querySelector('.cursor[visibility="visible"]') && JSON.parse(drawn)[0] === disk.name;
  if (mark === drawn || isRead) return;
  drawn = mark;
  const stops = () => [...body.querySelectorAll(".chart[tabindex], button")];
  const kept = stops().indexOf(document.activeElement);
  at("detail-title").textContent = `Latency of ${disk.name}`;
  drawDetail(body, { disk, probe, disks: view.disks, log, agent: view.agent, say, refresh });
  if (kept >= 0) stops()[kept]?.focus({ preventScroll: true });
}

function filter() {
  const text = at("filter").value.trim().toLowerCase();
  const isTrouble = at("trouble").checked;
  const states = new Map(view.disks.map((disk) => [disk.name, disk]));
  let shown = 0;
  for (const row of at("rows").querySelectorAll("tr[data-disk]")) {
    const disk = states.get(row.dataset.disk);
    const words = [disk.name, disk.path, ...Object.values(disk.identity)].join(" ").toLowerCase();
    const isBad = !["ok", "new", "running", "waiting"].includes(disk.state) || disk.probes.some((probe) => probe.last_mismatch_unix);
    row.hidden = !words.includes(text) || (isTrouble && !isBad);
    shown += !row.hidden;
  }
  return shown;
}

function tick() {
  const moment = now();
  for (const each of document.querySelectorAll("[data-ago]")) {
    const text = ago(Number(each.dataset.ago), moment);
    if (each.textContent !== text) each.textContent = text;
  }
  for (const each of document.querySelectorAll("[data-ahead]")) {
    const text = ahead(Number(each.dataset.ahead), moment);
    if (each.textContent !== text) each.textContent = text;
  }
  const ageS = refreshedS === null ? null : performance.now() / 1000 - refreshedS;
  const isStale = ageS === null || ageS > STALE_S;
  const fresh = at("fresh");
  const text = ageS === null ? "no answer yet" : isStale ? `no answer for ${ago(moment - ageS, moment).replace(" ago", "")}` : "live";
  if (fresh.textContent !== text) fresh.textContent = text;
  if (fresh.classList.contains("stale") !== isStale) {
    fresh.classList.toggle("stale", isStale);
    if (refreshedS !== null) say(isStale ? "The agent does not answer" : "The agent answers again");
  }
}

function theme() {
  const button = at("theme");
  const root = document.documentElement;
  const next = { system: "light", light: "dark", dark: "system" };
  const label = () => { button.textContent = `Theme: ${root.dataset.theme ?? "system"}`; };
  button.addEventListener("click", () => {
    const chosenTheme = next[root.dataset.theme ?? "system"];
    if (chosenTheme === "system") delete root.dataset.theme;
    else root.dataset.theme = chosenTheme;
    try {
      localStorage.setItem("iovigil-theme", chosenTheme);
    } catch {
      // Then it is for this page alone.
    }
    label();
  });
  label();
}

async function live() {
  if (!document.hidden) await refresh();
  setTimeout(live, INTERVAL_MS);
}

theme();
walkable(document.querySelector(".matrix"));
at("filter").addEventListener("input", () => view && say(`disks shown: ${filter()}`));
at("trouble").addEventListener("change", () => view && say(`disks shown: ${filter()}`));
addEventListener("hashchange", async () => {
  if (!view || !chosen().get("disk")) return;
  draw();
  await drawSelected();
  const section = at("detail");
  section.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
  say(`${at("detail-title").textContent} is shown`);
});
addEventListener("resize", () => view && drawSelected());
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
setInterval(tick, 1000);
live();
