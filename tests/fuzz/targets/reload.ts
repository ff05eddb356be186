/**
 * Reloading a running daemon: whatever a config has become when SIGHUP comes, all of it counts or none, no secret is
 * told on the way, and nothing that it said can keep the next one from being as good as the first.
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { systemClock } from "../../../src/base/clock.ts";
import { createLogger } from "../../../src/base/log.ts";
import { withChecks } from "../../../src/config/check.ts";
import type { LoadResult } from "../../../src/config/load.ts";
import { reload, RESTART_KEYS } from "../../../src/daemon/lifecycle.ts";
import { readFrom } from "../../config/support.ts";
import { TEST_TOKEN } from "../../support/daemon_process.ts";
import { type TestDaemon, withDaemon } from "../../support/harness.ts";
import { type FuzzTarget, largeProperty } from "../property.ts";
import {
  entry,
  fitting,
  loaded,
  MARK,
  openEntry,
  openNames,
  secretEntry,
  type Sources,
  sourcesOf,
  yamlOf,
} from "./config.ts";

/** As `server` loads it; the token is what no server starts without. */
function checked(sources: Sources): LoadResult {
  const flags = { bearer_token: TEST_TOKEN, ...sources.flags };
  return withChecks(loaded({ ...sources, flags }), {
    readFile: readFrom({}),
    fileMode: () => 0o640,
    now: () => systemClock.now(),
  });
}

const plainValue = fc.constantFrom<unknown>(
  ...[
    true,
    false,
    0,
    1,
    2,
    65_535,
    "0s",
    "1s",
    "1d",
    "1MB",
    "off",
    "1.3",
    "soft",
    "strict",
    "relaxed",
    "none",
  ],
  ...[
    [],
    ["loopback"],
    ["10.0.0.0/8"],
    ["example.org"],
    "direct",
    "error",
    "text",
    "https://a.example/",
    "/none",
  ],
);

/** A few keys, of values that may well be right: of any values hardly a config in thirty is one. */
const likely: fc.Arbitrary<Sources> = fc.uniqueArray(
  fc.constantFrom(...openNames).chain((name) =>
    fc.tuple(fc.constant<string>(name), fc.oneof({ weight: 2, arbitrary: fitting(name) }, plainValue))
  ),
  { selector: ([name]) => name, minLength: 1, maxLength: 3 },
).map((entries) => ({ yaml: yamlOf(entries), env: {}, flags: {} }));

/** Mail and API are as they were at the start. */
async function checkServes(d: TestDaemon): Promise<void> {
  const c = await d.smtp();
  try {
    await c.command("MAIL FROM:<alice@sender.example>", /^250 /);
    await c.command("RCPT TO:<bob@example.com>", /^250 /);
    await c.command("RCPT TO:<bob@elsewhere.example>", /^55\d /);
  } finally {
    await c.close();
  }
  assertEquals([(await d.fetch("/health/live")).status, (await d.api("/v1/queue?limit=1")).status], [
    200,
    200,
  ]);
}

const allOrNothing = (d: TestDaemon) =>
  largeProperty(
    "a-reload-is-all-or-nothing-and-no-trap",
    fc.array(
      fc.oneof(
        { weight: 6, arbitrary: likely },
        { weight: 1, arbitrary: sourcesOf(entry) },
        { weight: 1, arbitrary: sourcesOf(fc.oneof(secretEntry, openEntry)) },
      ),
      { minLength: 1, maxLength: 3 },
    ),
    async (all) => {
      let lines = "";
      const log = createLogger({
        level: "debug",
        format: "json",
        clock: systemClock,
        write: (text) => lines += text,
      });
      for (const sources of all) {
        const before = d.daemon.config();
        const result = checked(sources);
        await reload(d.daemon, { reload: () => result }, log);
        log.setLevel("debug");
        log.flush();
        const after = d.daemon.config();
        if (result.ok) {
          const kept = Object.fromEntries(RESTART_KEYS.map((key) => [key, before[key]]));
          assertEquals(after, { ...result.config, ...kept });
        } else assertEquals(after, before, "half of a broken config counts");
      }
      for (const text of [lines, ...d.rawLines]) assert(!text.includes(MARK), `tells ${text}`);
      await d.reload({});
      await checkServes(d);
      d.rawLines.length = 0;
    },
  );

export async function open(): Promise<FuzzTarget> {
  const opened = Promise.withResolvers<TestDaemon>();
  const closing = Promise.withResolvers<void>();
  const closed = withDaemon({}, async (d) => {
    opened.resolve(d);
    await closing.promise;
  });
  closed.catch(opened.reject);
  const d = await opened.promise;
  return {
    properties: [allOrNothing(d)],
    async close() {
      closing.resolve();
      await closed;
    },
  };
}
