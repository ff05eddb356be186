/**
 * The thread in which one target runs. It writes down in shared memory which input it is at, so that the main
 * thread can tell what it hangs at when it can no longer say so itself.
 */

import v8 from "node:v8";
import vm from "node:vm";
import type { FuzzProperty } from "./property.ts";
import { type Job, lowMs, type Report, SLOT } from "./job.ts";
import { Runner, type Watch } from "./runner.ts";
import { openTarget } from "./targets.ts";

declare const self: {
  onmessage: (event: MessageEvent<Job>) => void;
  postMessage: (report: Report) => void;
  addEventListener: (type: "unhandledrejection", listener: (event: PromiseRejectionEvent) => void) => void;
};

function watchIn(slots: Int32Array, indexes: number[]): Watch {
  return {
    begun(property, seed, run) {
      Atomics.store(slots, SLOT.PROPERTY, indexes[property]!);
      Atomics.store(slots, SLOT.SEED, seed);
      Atomics.store(slots, SLOT.RUN, run);
      Atomics.store(slots, SLOT.BEGUN_MS, lowMs());
    },
    ended: () => void Atomics.store(slots, SLOT.BEGUN_MS, 0),
  };
}

/** Garbage that nobody has collected yet is no leak. */
function collectGarbage(): void {
  v8.setFlagsFromString("--expose-gc");
  (vm.runInNewContext("gc") as () => void)();
}

async function run(job: Job): Promise<Report> {
  const slots = new Int32Array(job.shared);
  self.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    const { reason } = event;
    const error = String(reason instanceof Error ? reason.stack : reason);
    self.postMessage({ kind: "stray", error, slots: slots.slice() });
  });
  const target = await openTarget(job.target);
  const chosen = target.properties.map((property, index) => [property, index] as [FuzzProperty, number])
    .filter(([property]) => job.property === undefined || property.name === job.property);
  if (chosen.length === 0) throw new Error(`Cannot fuzz ${job.target}/${job.property}: no such property`);
  const watch = watchIn(slots, chosen.map(([, index]) => index));
  const runner = new Runner(chosen.map(([property]) => property), watch);
  collectGarbage();
  self.postMessage({ kind: "ready" });
  const failure = job.path === undefined
    ? await runner.runFor(job.durationMs, job.seed)
    : await runner.batch(0, job.seed, undefined, job.path);
  await target.close?.();
  collectGarbage();
  const { tally } = runner;
  return failure ? { kind: "failed", failure, tally } : { kind: "passed", tally };
}

self.onmessage = (event) => void run(event.data).then((report) => self.postMessage(report));
