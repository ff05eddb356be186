/**
 * A daemon's memory and file descriptors over a run, by /proc, which shows what the metrics don't.
 */

import { growth } from "../../src/cli/bench/resources.ts";
import type { Resources } from "../../src/cli/bench/result.ts";

const LOOKS_MAX = 1000;
const LOOK_MS_MIN = 500;

interface Look {
  rssBytes: number;
  fds: number;
}

function lookAt(pid: number): Look {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  const kb = Number(/^VmRSS:\s*(\d+)/m.exec(status)?.[1] ?? 0);
  return { rssBytes: kb * 1024, fds: [...Deno.readDirSync(`/proc/${pid}/fd`)].length };
}

export function watchResources(pid: number, seconds: number): { end(): Resources } {
  const looks: Look[] = [];
  const periodMs = Math.max(LOOK_MS_MIN, seconds * 1000 / LOOKS_MAX);
  const startedAt = performance.now();
  const timer = setInterval(() => {
    // What comes after the load is another matter: a process at rest gives memory back.
    if (performance.now() - startedAt < Math.max(seconds, 1) * 1000 + periodMs) looks.push(lookAt(pid));
  }, periodMs);
  return {
    end() {
      clearInterval(timer);
      const peakKb = Number(/^VmHWM:\s*(\d+)/m.exec(Deno.readTextFileSync(`/proc/${pid}/status`))?.[1] ?? 0);
      return {
        rssGrowthBytes: growth(looks.map((look) => look.rssBytes)),
        rssPeakBytes: peakKb * 1024,
        fdGrowth: growth(looks.map((look) => look.fds)),
      };
    },
  };
}
