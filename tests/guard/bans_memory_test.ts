/** What a flood of offending networks may cost in memory: one attacker's IPv6 /48 has 65,536 of them. */

import { assert, assertEquals } from "@std/assert";
import v8 from "node:v8";
import vm from "node:vm";
import { BanBook } from "../../src/guard/bans.ts";
import { createLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";

const NETWORKS = 12_000;
const THRESHOLD = 5;
const MB = 2 ** 20;

/** Stores nothing: what the database holds is no memory of ours. */
const store = {
  listBans: () => Promise.resolve([]),
  putBan: () => Promise.resolve(),
  removeBan: () => Promise.resolve(true),
  forgetBans: () => Promise.resolve(0),
};

/** How many MB of the heap the book holds after each network has offended so often, and how many bans there are. */
async function heldAfter(times: number): Promise<{ heldMb: number; bans: number }> {
  v8.setFlagsFromString("--expose-gc");
  const gc = vm.runInNewContext("gc") as () => void;
  const clock = new FakeClock();
  const book = new BanBook({
    config: () => ({
      ban_threshold: THRESHOLD,
      ban_window: 600_000,
      ban_duration: 3_600_000,
      connection_allowlist: [],
      trusted_proxies: [],
    }),
    store,
    clock,
    log: createLogger({ level: "error", format: "json", clock, write: () => {} }),
    metrics: createMetrics(),
  });
  await book.load();
  gc();
  const beforeBytes = Deno.memoryUsage().heapUsed;
  for (let i = 0; i < NETWORKS; i++) {
    for (let j = 0; j < times; j++) {
      // As it comes from a line of SMTP: a piece of a long text that was decoded for it alone.
      const line = new TextDecoder().decode(
        new TextEncoder().encode(`RCPT TO:<${"x".repeat(900)}${i}.${j}>`),
      );
      const address = `2001:db8:1:${i.toString(16)}::1`;
      book.violation({ address, door: "smtp", kind: "relay_denied", detail: line.slice(9, -1) });
    }
    if (i % 1000 === 0) await settle();
  }
  await settle();
  gc();
  const heldMb = (Deno.memoryUsage().heapUsed - beforeBytes) / MB;
  const bans = book.size;
  await book.stop();
  return { heldMb, bans };
}

test("evidence of a crowd that is not banned yet is bounded, and keeps nothing of the lines it is from", async () => {
  const { heldMb, bans } = await heldAfter(THRESHOLD - 1);
  assertEquals(bans, 0);
  assert(heldMb < 30, `${heldMb} MB`);
});

test("a crowd of bans is small: beyond some thousands each has its newest evidence alone", async () => {
  const { heldMb, bans } = await heldAfter(THRESHOLD);
  assertEquals(bans, NETWORKS);
  assert(heldMb < 25, `${heldMb} MB`);
});
