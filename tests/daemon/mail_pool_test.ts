/** The mail pool with its real workers: the verification library, payloads and attachments behind a thread. */

import { assert, assertEquals } from "@std/assert";
import { systemClock } from "../../src/base/clock.ts";
import { silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { createMailPool } from "../../src/daemon/mail_pool.ts";
import { mailText, makeKey, senderZone, signed, split } from "../support/signed_mail.ts";
import { test, withTempDir } from "../support/test.ts";
import { inputFor } from "../support/verify.ts";

const key = makeKey("good.test");

for (const size of [0, 2]) {
  test(`Mail is verified and taken apart with ${size} workers`, async () => {
    const zone = await startZoneServer({ records: senderZone(key, "192.0.2.1", "v=DMARC1; p=reject") });
    const config = { dns_servers: [zone.address], dns_timeout: 5000 };
    const pool = createMailPool({
      config,
      clock: systemClock,
      log: silentLogger,
      metrics: createMetrics(),
      size,
    });
    try {
      const headers = {
        From: "a@good.test",
        "MIME-Version": "1.0",
        "Content-Type": 'text/plain; name="note.txt"',
        "Content-Disposition": "attachment",
      };
      const mail = await signed(mailText(headers, "A note.\r\n"), key);
      const { authentication } = await pool.authenticate(inputFor(mail));
      assertEquals([authentication.dkim.result, authentication.dmarc.result], ["pass", "pass"]);
      const { header, body } = split(mail);
      const raw = { head: header, body: { kind: "memory" as const, bytes: body } };
      const attachment = await pool.extractAttachment({ raw, index: 0 });
      assertEquals(new TextDecoder().decode(attachment!.content!), "A note.\r\n");
      assertEquals(await pool.extractAttachment({ raw, index: 5 }), null);
      assertEquals(await pool.readReport(raw), null);
      const answer = split(mailText({ From: "a@good.test", "Auto-Submitted": "auto-replied" }));
      assertEquals(
        await pool.readReport({ head: answer.header, body: { kind: "memory", bytes: answer.body } }),
        { kind: "auto_reply" },
      );
    } finally {
      await pool.close();
      await zone.close();
    }
  });
}

test("Bodies made to be slow don't stop a worker, let alone for seconds", async () => {
  const zone = await startZoneServer({ records: senderZone(key, "192.0.2.1", null) });
  const config = { dns_servers: [zone.address], dns_timeout: 5000 };
  const pool = createMailPool({
    config,
    clock: systemClock,
    log: silentLogger,
    metrics: createMetrics(),
    size: 1,
  });
  try {
    await withTempDir(async (dir) => {
      const lines = { spaces: " ", newlines: "\r\n", "one line": "a", tabs: "\t\r\n", mixed: " a\r\n \r\n" };
      const path = `${dir}/body`;
      for (const [what, piece] of Object.entries(lines)) {
        const body = piece.repeat(1_000_000 / piece.length);
        const mail = await signed(mailText({ From: "a@good.test" }, body), key);
        const { header } = split(mail);
        await Deno.writeTextFile(path, body);
        const file = { kind: "file" as const, path, offset: 0, length: body.length };
        const { authentication } = await pool.authenticate(inputFor(mail, { header, body: file }));
        assert(authentication.dkim.result === "pass", what);
      }
    });
  } finally {
    await pool.close();
    await zone.close();
  }
});
