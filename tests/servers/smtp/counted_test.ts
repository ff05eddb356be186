/** What the doors refuse is counted, and told in one line, whatever it was. */

import { assertEquals } from "@std/assert";
import { refuse } from "../../../src/base/errors.ts";
import { test } from "../../support/test.ts";
import { metricValue, withDoor } from "./harness.ts";

test("commands that can't be obeyed are counted, and written down once for each session", () =>
  withDoor({}, async ({ connect, metrics, log }) => {
    const client = await connect();
    await client.expect(/^220 /);
    await client.command("EHLO client.example", /^250/);
    await client.command("MAIL FROM:nobody", /^501 /);
    await client.command("WIZ \x1b[31m", /^501 /);
    await client.command("DATA", /^503 /);
    assertEquals(await metricValue(metrics, 'gomail_errors_total{type="smtp_bad_command"}'), 3);
    assertEquals(log().split("\n").filter((line) => line.includes("bad_command")).length, 1);
  }));

test("mail turned away at MAIL or RCPT is counted like mail turned away after its data", () =>
  withDoor({ config: { max_recipients: 1 } }, async ({ connect, metrics, flow, log }) => {
    const client = await connect();
    await client.expect(/^220 /);
    await client.command("EHLO client.example", /^250/);
    await client.command("MAIL FROM:<a@sender.example> SIZE=99999999", /^552 5\.3\.4 /);
    await client.command("MAIL FROM:<a@sender.example>", /^250 /);
    await client.command("RCPT TO:<b@example.com>", /^250 /);
    await client.command("RCPT TO:<c@example.com>", /^452 4\.5\.3 /);
    await client.command("RSET", /^250 /);
    flow.storage = refuse("storage_full");
    await client.command("MAIL FROM:<a@sender.example>", /^452 4\.3\.1 /);
    const value = (series: string) => metricValue(metrics, `gomail_${series}`);
    assertEquals([
      await value('emails_rejected_total{reason="message_too_large"}'),
      await value('emails_rejected_total{reason="storage_full"}'),
      await value('emails_processed_total{status="rejected"}'),
      await value('emails_processed_total{status="error"}'),
      await value('errors_total{type="smtp_too_many_recipients"}'),
    ], [1, 1, 1, 1, 1]);
    assertEquals(log().split("\n").filter((line) => line.includes("refused")).length, 3);
  }));
