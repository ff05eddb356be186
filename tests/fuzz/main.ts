/**
 * `deno task fuzz`: throws random and mutated input at everything that strangers can reach, and checks
 * properties that must hold for all of it. Each target runs in a worker for its share of the time; this thread
 * watches, so that an input that blocks the worker's loop is found as well.
 *
 *   deno task fuzz [TARGET | TARGET/PROPERTY ...] [--seconds 60] [--seed N] [--path P]
 *
 * Fails with the seed, the path and the smallest input found: on a failed check, on an input of more than 5 s,
 * and on memory that grows by more than 200 MB in one target.
 */

import { parseArgs } from "@std/cli/parse-args";
import fc from "fast-check";
import { type Job, lowMs, type Report, SLOT } from "./job.ts";
import { type Failure, shown, type Tally } from "./runner.ts";
import { openTarget, TARGETS } from "./targets.ts";

const INPUT_MS_MAX = 5_000;
const RSS_GROWTH_BYTES_MAX = 200 * 2 ** 20;
const LOOK_MS = 100;

type Outcome = { failure: Failure | null; tally: Tally | null; grownBytes: number };

/** What the worker was at: made once more here, where it is only generated and not checked. */
async function blame(job: Job, slots: Int32Array, error: string): Promise<Failure> {
  const [index, seed, run] = [SLOT.PROPERTY, SLOT.SEED, SLOT.RUN].map((slot) => Atomics.load(slots, slot));
  const target = await openTarget(job.target);
  try {
    const { name, inputs } = target.properties[index!]!;
    // A repeated path names the input itself; the run's number is one within a batch.
    const path = job.path ?? String(run);
    const [input] = fc.sample(fc.asyncProperty(inputs, async () => {}), { seed: seed!, path, numRuns: 1 });
    return { property: name, seed: seed!, path, input: shown((input as unknown[])[0]), error };
  } finally {
    await target.close?.();
  }
}

/** Nobody can say by which input. */
function failureOf(job: Job, error: string): Failure {
  return { property: null, seed: job.seed, path: null, input: "not known", error };
}

/** Runs one target in a worker of its own, watched. */
async function runTarget(job: Job): Promise<Outcome> {
  const slots = new Int32Array(job.shared);
  const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
  let startBytes: number | null = null;
  const grown = () => startBytes === null ? 0 : Deno.memoryUsage().rss - startBytes;
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const fail = (failure: Failure) => resolve({ failure, tally: null, grownBytes: 0 });
  let blaming = false;
  const failAtInput = (error: string, at: Int32Array = slots) => {
    if (blaming) return;
    blaming = true;
    worker.terminate();
    if (startBytes === null) return fail(failureOf(job, error));
    blame(job, at, error).then(
      fail,
      (cause) => fail(failureOf(job, `${error}; its input is lost: ${cause}`)),
    );
  };
  const watch = setInterval(() => {
    const begunMs = Atomics.load(slots, SLOT.BEGUN_MS);
    if (begunMs === 0 || ((lowMs() - begunMs) | 0) < INPUT_MS_MAX) return;
    failAtInput(
      `took more than ${INPUT_MS_MAX} ms (the input as it was generated; it may have been shrunk since)`,
    );
  }, LOOK_MS);
  worker.onmessage = ({ data }: MessageEvent<Report>) => {
    if (data.kind === "ready") return void (startBytes = Deno.memoryUsage().rss);
    if (data.kind === "stray") return failAtInput(data.error, data.slots);
    const grownBytes = grown();
    const tooMuch = grownBytes > RSS_GROWTH_BYTES_MAX
      ? failureOf(job, "memory grew by more than 200 MB")
      : null;
    resolve({ failure: data.kind === "failed" ? data.failure : tooMuch, tally: data.tally, grownBytes });
  };
  worker.onerror = (event) => {
    event.preventDefault();
    failAtInput(event.message);
  };
  worker.postMessage(job);
  try {
    return await promise;
  } finally {
    clearInterval(watch);
    worker.terminate();
  }
}

function tellFailure(target: string, { property, seed, path, input, error }: Failure): void {
  const name = property === null ? target : `${target.split("/")[0]}/${property}`;
  const again = `--seed ${seed}${path === null ? "" : ` --path ${path}`}`;
  console.error(`\n${name} failed\n  seed: ${seed}\n  path: ${path ?? "-"}\n  input: ${input}\n  ${error}\n`);
  console.error(`Repeat it with: deno task fuzz ${name} ${again}`);
}

function tellSuccess(target: string, { tally, grownBytes }: Outcome): void {
  const { runs, slowestMs, slowestProperty } = tally!;
  const slowest = `slowest ${slowestMs.toFixed(1).padStart(7)} ms (${slowestProperty})`;
  const memory = `memory ${(grownBytes / 2 ** 20).toFixed(0).padStart(4)} MB`;
  console.log(`${target.padEnd(14)} ${String(runs).padStart(9)} runs   ${memory}   ${slowest}`);
}

async function main(args: readonly string[]): Promise<number> {
  const flags = parseArgs(args, { string: ["seconds", "seed", "path"], default: { seconds: "60" } });
  const wanted = flags._.length > 0 ? flags._.map(String) : [...TARGETS.keys()];
  const unknown = wanted.find((name) => !TARGETS.has(name.split("/")[0]!));
  const seconds = Number(flags["seconds"]);
  const seed = flags["seed"] === undefined ? Math.floor(Math.random() * 2 ** 31) : Number(flags["seed"]);
  const path = flags["path"] as string | undefined;
  if (unknown !== undefined || !(seconds > 0) || !Number.isInteger(seed) || (path && wanted.length > 1)) {
    console.error(`Usage: deno task fuzz [TARGET | TARGET/PROPERTY ...] [--seconds N] [--seed N] [--path P]`);
    console.error(`Targets: ${[...TARGETS.keys()].join(", ")}; --path goes with one TARGET/PROPERTY`);
    return 2;
  }
  console.log(`seed ${seed}`);
  for (const name of wanted) {
    const [target, property] = name.split("/") as [string, string?];
    const durationMs = seconds * 1000 / wanted.length;
    const shared = new SharedArrayBuffer(4 * SLOT.COUNT);
    const outcome = await runTarget({ target, property, durationMs, seed, path, shared });
    if (outcome.failure) {
      tellFailure(name, outcome.failure);
      return 1;
    }
    tellSuccess(name, outcome);
  }
  return 0;
}

if (import.meta.main) Deno.exit(await main(Deno.args));
