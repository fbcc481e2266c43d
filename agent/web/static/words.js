// How figures and times are said: the same as the server says them (agent/web/words.py).

const SPANS = [[86400 * 2, 86400, "d"], [3600 * 2, 3600, "h"], [120, 60, "min"]];

export function duration(seconds) {
  for (const [least, length, unit] of SPANS) {
    if (seconds >= least) return `${Math.round(seconds / length)} ${unit}`;
  }
  return `${Math.round(Math.max(seconds, 0))} s`;
}

export const ago = (unix, now) => `${duration(now - unix)} ago`;
export const ahead = (unix, now) => (unix > now ? `in ${duration(unix - now)}` : "now");

export function latency(seconds) {
  for (const [length, unit] of [[1, "s"], [1e-3, "ms"], [1e-6, "µs"]]) {
    if (seconds >= length) {
      const value = seconds / length;
      return `${value >= 100 ? value.toFixed(0) : Number(value.toPrecision(3))} ${unit}`;
    }
  }
  return `${(seconds * 1e9).toFixed(0)} ns`;
}

export function bytes(count) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let place = 0;
  while (count >= 1024 && place < units.length - 1) {
    count /= 1024;
    place += 1;
  }
  return `${Number(count.toPrecision(3))} ${units[place]}`;
}

export const clock = (unix) => new Date(unix * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" });
export const moment = (unix) => new Date(unix * 1000).toLocaleString();
