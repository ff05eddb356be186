/** Composing and signing behind the worker pool: what goes in and out survives the way to another thread. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { Buffer } from "node:buffer";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { createMailPool } from "../../src/daemon/mail_pool.ts";
import { test } from "../support/test.ts";
import { dkimResults, KEYS, queued, withWorld } from "./support.ts";

for (const size of [0, 1]) {
  test(`Mail is composed and signed with ${size} workers`, async () => {
    const config = { dns_servers: [], dns_timeout: 5000 };
    const pool = createMailPool({
      config,
      clock: systemClock,
      log: silentLogger,
      metrics: createMetrics(),
      size,
    });
    try {
      await withWorld(async ({ send, sendRaw, bytes }) => {
        const attachments = [{
          filename: "a",
          contentType: "a/b",
          content: new Uint8Array(9),
          contentId: null,
        }];
        for (
          const result of [
            await send({ attachments }),
            await sendRaw("From: ann@ours.test\nTo: b@there.test\n\nHi\n"),
          ]
        ) {
          assertEquals(await dkimResults(await bytes(queued(result).id)), ["pass", "pass"]);
        }
      }, { compose: pool.compose, sign: pool.sign });
      const [key] = KEYS;
      const header = Buffer.from("From: ann@ours.test\r\n\r\n");
      const input = { header, body: { kind: "memory" as const, bytes: header }, signedAt: 0 };
      await assertRejects(() => pool.sign({ ...input, keys: [{ ...key!, privateKeyPem: "no key" }] }));
      assert((await pool.sign({ ...input, keys: [] })).kind === "made");
    } finally {
      await pool.close();
    }
  });
}
