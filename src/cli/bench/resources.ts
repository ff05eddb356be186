/**
 * The daemon's memory over a run, from its own metrics, for a daemon on this host that serves them on loopback. Growth
 * is between the medians of two fifths: the second, when caches and the heap have found their size, and the last;
 * single values swing with the garbage collector. File descriptors are not among the metrics.
 */

import { type Clock, every } from "../../base/clock.ts";
import type { Config } from "../../config/schema.ts";
import { inRanges } from "../../base/address.ts";
import type { Resources } from "./result.ts";

type MetricsConfig = Pick<
  Config,
  "metrics_enabled" | "metrics_port" | "metrics_path" | "metrics_listen_address"
>;

const LOOK_MS = 1000;
const ANSWER_MS_MAX = 2000;
/** A day of looks at one a second would be more than a median needs. */
const LOOKS_MAX = 7200;
const RSS = /^process_resident_memory_bytes(?:\{[^}]*\})? (\S+)$/m;

function median(values: readonly number[]): number | undefined {
  return [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)];
}

/** From the median of the second fifth to that of the last; null when there are too few. */
export function growth(values: readonly number[]): number | null {
  const fifth = Math.floor(values.length / 5);
  if (fifth === 0) return null;
  const [before, after] = [median(values.slice(fifth, 2 * fifth)), median(values.slice(-fifth))];
  return before === undefined || after === undefined ? null : after - before;
}

/** Looks until it is ended, or null where there is nothing to look at. */
export function watchMetrics(config: MetricsConfig, clock: Clock): { end(): Resources | null } {
  const { metrics_enabled, metrics_port, metrics_path, metrics_listen_address: host } = config;
  if (!metrics_enabled || metrics_port === 0 || !inRanges(host, ["loopback"])) return { end: () => null };
  const url = `http://${host.includes(":") ? `[${host}]` : host}:${metrics_port}${metrics_path}`;
  const looks: number[] = [];
  const timer = every(clock, LOOK_MS, async () => {
    try {
      const response = await fetch(url, { signal: AbortSignal.timeout(ANSWER_MS_MAX), redirect: "error" });
      const bytes = Number(RSS.exec(await response.text())?.[1]);
      if (Number.isFinite(bytes) && looks.length < LOOKS_MAX) looks.push(bytes);
    } catch {
      // Not reachable just now, or at all: then there is nothing to say about memory.
    }
  });
  return {
    end() {
      timer.cancel();
      if (looks.length === 0) return null;
      return { rssGrowthBytes: growth(looks), rssPeakBytes: Math.max(...looks), fdGrowth: null };
    },
  };
}
