// Asks the API; the browser's cache answers from an ETag what has not changed.

const ROOT = "/api/v1";
const DEADLINE_MS = 10_000;

let skewS = 0;
export const now = () => Date.now() / 1000 + skewS; // by the agent's clock

export async function ask(path, parameters = {}) {
  const query = new URLSearchParams(Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined));
  const response = await fetch(`${ROOT}${path}${query.size ? `?${query}` : ""}`, { signal: AbortSignal.timeout(DEADLINE_MS), cache: "no-cache" });
  const date = Date.parse(response.headers.get("Date") ?? "");
  // The header has whole seconds.
  if (date && Math.abs(date / 1000 - now()) > 2) skewS = date / 1000 - Date.now() / 1000;
  if (!response.ok) throw new Error((await response.json()).detail);
  return response.json();
}

export async function order(action, body) {
  const response = await fetch(`${ROOT}/${action}`, {
    method: "POST", signal: AbortSignal.timeout(DEADLINE_MS),
    headers: { "Content-Type": "application/json" }, body: JSON.stringify(body),
  });
  const said = await response.json();
  if (!response.ok) throw new Error(said.detail);
  return said;
}

// The runs that are new since the last call; at first as many as a page can draw.
export class RunLog {
  #runs = new Map();
  #whole = new Set();

  async refresh(most = 2000) {
    let cursor = null;
    const before = this.#runs.size;
    let isKnown = false;
    for (let got = 0; got < most && !isKnown;) {
      const page = await ask("/runs", { limit: before ? 100 : 500, cursor });
      isKnown = page.runs.some((run) => this.#runs.has(run.id)) || !page.next_cursor;
      page.runs.forEach((run) => this.#runs.set(run.id, run));
      got += page.runs.length || most;
      cursor = page.next_cursor;
    }
    this.#bound();
  }

  // Everything that a chart of this disk shows: of many disks the last runs of all hold few of each.
  async complete(disk) {
    if (this.#whole.has(disk)) return;
    this.#whole.add(disk);
    const page = await ask("/runs", { disk, limit: 500 });
    page.runs.forEach((run) => this.#runs.set(run.id, run));
  }

  // Oldest first.
  of(disk, probe) {
    return [...this.#runs.values()].filter((run) => run.disk === disk && run.probe === probe).sort((a, b) => a.started_unix - b.started_unix);
  }

  byCell() {
    const cells = new Map();
    for (const run of [...this.#runs.values()].sort((a, b) => a.started_unix - b.started_unix)) {
      const key = `${run.disk}\n${run.probe}`;
      if (!cells.has(key)) cells.set(key, []);
      cells.get(key).push(run);
    }
    return cells;
  }

  #bound(kept = 12_000) {
    const surplus = this.#runs.size - kept;
    if (surplus > 0) [...this.#runs.keys()].sort((a, b) => a - b).slice(0, surplus).forEach((id) => this.#runs.delete(id));
  }
}
