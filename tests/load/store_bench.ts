/**
 * How fast the store takes mail, run by hand: `deno run -A tests/load/store_bench.ts [messages]`. It prints the
 * rate of addMessage() through the worker at several concurrencies (4 KB, one webhook job, synced before it
 * counts), then fills the store with a million messages and compares the rate with an empty store's, turn by
 * turn, because a shared machine is never twice the same; and last the time that a single mail takes in each, with
 * pauses between, as most of a day is.
 */

import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { openStore, type Vault } from "../../src/store/mod.ts";
import { memorySpooled, newJob, newMessage } from "../store/support.ts";
import { fillStore } from "./fill_store.ts";

const MESSAGES = Number(Deno.args[0] ?? 1_000_000);
const ROUND_MS = 3_000;
const ROUNDS = 5;
const PACED_MAILS = 600;
const PACE_MS = 30;
const BODY = new Uint8Array(4096).fill(97);

const dirs = await Promise.all([0, 1].map(() => Deno.makeTempDir({ prefix: "gomail-bench-" })));

function open(dataDir: string): Promise<Vault> {
  return openStore({ dataDir, clock: systemClock, log: silentLogger });
}

async function addOne(store: Vault): Promise<number> {
  const start = performance.now();
  const now = Date.now();
  await store.addMessage(newMessage({
    receivedAt: now,
    mailFrom: `${crypto.randomUUID()}@example.com`,
    spooled: memorySpooled(BODY),
    jobs: [newJob({ dueAt: now, expiresAt: now + 1e8 })],
  }));
  return performance.now() - start;
}

/** Of a sorted list. */
const at = (sorted: readonly number[], part: number) =>
  (sorted[Math.floor(sorted.length * part)] ?? 0).toFixed(2);

/** Adds mails with `concurrency` callers for `ms`; mails per second and the latencies in ms. */
async function measure(store: Vault, concurrency: number, ms: number) {
  const end = performance.now() + ms;
  const latencies: number[] = [];
  const caller = async () => {
    while (performance.now() < end) latencies.push(await addOne(store));
  };
  await Promise.all(Array.from({ length: concurrency }, caller));
  latencies.sort((a, b) => a - b);
  return {
    rate: Math.round(latencies.length / (ms / 1000)),
    p50: at(latencies, 0.5),
    p99: at(latencies, 0.99),
  };
}

/** One mail at a time, by turns into each. */
async function paced(stores: readonly Vault[]): Promise<number[][]> {
  const taken: number[][] = stores.map(() => []);
  for (let i = 0; i < PACED_MAILS * stores.length; i++) {
    taken[i % stores.length]!.push(await addOne(stores[i % stores.length]!));
    await new Promise((resolve) => setTimeout(resolve, PACE_MS));
  }
  return taken.map((list) => list.sort((a, b) => a - b));
}

try {
  const [small = "", large = ""] = dirs;
  let store = await open(small);
  await measure(store, 8, 500);
  for (const concurrency of [1, 8, 64]) {
    const { rate, p50, p99 } = await measure(store, concurrency, ROUND_MS);
    console.log(`concurrency ${concurrency}: ${rate}/s, p50 ${p50} ms, p99 ${p99} ms`);
  }
  await store.close();
  if (MESSAGES > 0) {
    const start = performance.now();
    await fillStore(large, MESSAGES);
    console.log(`filled ${MESSAGES} messages in ${Math.round((performance.now() - start) / 1000)} s`);
    await Deno.remove(small, { recursive: true });
    await Deno.mkdir(small);
    store = await open(small);
    const opening = performance.now();
    const full = await open(large);
    console.log(`opened in ${Math.round(performance.now() - opening)} ms`);
    const rates = { empty: [] as number[], full: [] as number[] };
    await measure(store, 8, 500);
    await measure(full, 8, 500);
    for (let round = 0; round < ROUNDS; round++) {
      rates.empty.push((await measure(store, 8, ROUND_MS)).rate);
      rates.full.push((await measure(full, 8, ROUND_MS)).rate);
    }
    const median = (list: number[]) => list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)] ?? 0;
    const change = (median(rates.full) / median(rates.empty) - 1) * 100;
    console.log(`empty ${rates.empty.join(" ")}; full ${rates.full.join(" ")}: ${change.toFixed(1)} %`);
    for (const [i, times] of (await paced([store, full])).entries()) {
      console.log(
        `by itself, ${i === 0 ? "empty" : "full"}: p50 ${at(times, 0.5)} ms, p99 ${at(times, 0.99)} ms`,
      );
    }
    for (const filter of [{}, { sender: "nobody@example.com" }]) {
      const begin = performance.now();
      let cursor: string | null | undefined;
      let pages = 0;
      do {
        cursor = (await full.listMessages(filter, { limit: 100, cursor: cursor ?? undefined })).nextCursor;
        pages++;
      } while (cursor && pages < 20);
      const ms = Math.round(performance.now() - begin);
      console.log(`list ${JSON.stringify(filter)}: ${pages} pages in ${ms} ms`);
    }
    await full.close();
    await store.close();
  }
} finally {
  for (const dir of dirs) await Deno.remove(dir, { recursive: true });
}
