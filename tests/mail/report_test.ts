/** Reading reports beyond the golden ones: limits, files, replies as they are quoted, addresses as they are written. */

import { assert, assertEquals } from "@std/assert";
import { type DeliveryStatus, isComplaint, readReport } from "../../src/mail/report.ts";
import { hostName, isSameAddress, oneLine, quotedReply } from "../../src/mail/report_fields.ts";
import { findVerps, readVerp, verpAddress } from "../../src/mail/verp.ts";
import { rawOf } from "../support/memory_store.ts";
import { test, withTempDir } from "../support/test.ts";

const KEY = "5e".repeat(32);

function dsn(status: string, before = ""): string {
  return "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n" +
    `${before}--b\n\nFailed.\n--b\nContent-Type: message/delivery-status\n\n${status}\n--b--\n`;
}

async function recipientsOf(mail: string): Promise<DeliveryStatus[]> {
  const finding = await readReport(rawOf(mail));
  return finding?.kind === "delivery" ? finding.recipients : [];
}

const ONE = "Final-Recipient: rfc822; a@b.example\nAction: failed\nStatus: 5.1.1\n";

test("A report is read from where its body lies in a file", async () => {
  await withTempDir(async (dir) => {
    const path = `${dir}/body`;
    const mail = dsn(ONE);
    const split = mail.indexOf("\n\n") + 2;
    await Deno.writeTextFile(path, "junk" + mail.slice(split));
    const finding = await readReport({
      head: new TextEncoder().encode(mail.slice(0, split)),
      body: { kind: "file", path, offset: 4, length: mail.length - split },
    });
    assertEquals(finding?.kind, "delivery");
  });
});

test("What stands after the first megabyte is not seen", async () => {
  const filler = (bytes: number) =>
    "--b\nContent-Type: application/octet-stream\n\n" + "x".repeat(bytes) + "\n";
  assertEquals((await recipientsOf(dsn(ONE, filler(900_000)))).length, 1);
  assertEquals(await recipientsOf(dsn(ONE, filler(1_100_000))), []);
});

test("The report is looked for in the first parts only", async () => {
  const parts = (count: number) => "--b\nContent-Type: image/png\n\nx\n".repeat(count);
  assertEquals((await recipientsOf(dsn(ONE, parts(9)))).length, 1);
  assertEquals(await recipientsOf(dsn(ONE, parts(10))), []);
});

test("A report about thousands of recipients is cut, and soon read", async () => {
  for (const status of [(ONE + "\n").repeat(10_000), ONE.repeat(10_000), "Status: 5.1.1\n".repeat(50_000)]) {
    const began = performance.now();
    assertEquals((await recipientsOf(dsn(status))).length, 200);
    assert(performance.now() - began < 2_000);
  }
});

test("A message in a message in a message is not followed", async () => {
  const inner = "Content-Type: message/rfc822\n\n".repeat(1_000) + dsn(ONE);
  assertEquals(
    await readReport(rawOf(`Content-Type: multipart/mixed; boundary=m\n\n--m\n${inner}\n--m--`)),
    null,
  );
});

test("A generic status gives way to what the reply says", async () => {
  const statusOf = async (status: string, diagnostic: string) => {
    const [found] = await recipientsOf(
      dsn(`Action: failed\nStatus: ${status}\nDiagnostic-Code: ${diagnostic}`),
    );
    return [found?.status, found?.code];
  };
  assertEquals(await statusOf("5.0.0", "smtp; 550 5.1.1 unknown"), ["5.1.1", 550]);
  assertEquals(await statusOf("5.7.1", "smtp; 550 5.1.1 unknown"), ["5.7.1", 550]);
  assertEquals(await statusOf("5.0.0", "smtp; 550 unknown"), [null, 550]);
  assertEquals(await statusOf("5.0.0", "smtp; 550 5.0.0 blocked"), ["5.0.0", 550]);
  assertEquals(await statusOf("5.0.0", "X-Unix; 67"), ["5.0.0", null]);
  assertEquals(await statusOf("nonsense", "X-Unix; 67"), [null, null]);
});

test("Actions are known in any case, with more behind them, or by their status", async () => {
  const cases: [string, string | undefined][] = [
    ["Action: FAILED (address unknown)", "failed"],
    ["Action: failure", "failed"],
    ["Action: delayed", "delayed"],
    ["Action: expanded", "expanded"],
    ["Action: relayed", "relayed"],
    ["Status: 4.4.7", "delayed"],
    ["Status: 2.0.0", "delivered"],
    ["Action: exploded\nStatus: 5.1.1", undefined],
    ["Status: 3.1.1", undefined],
  ];
  for (const [fields, action] of cases) {
    assertEquals([fields, (await recipientsOf(dsn(fields)))[0]?.action], [fields, action]);
  }
});

test("SMTP replies are found where reporters quote them", () => {
  const cases: [string, [number, string | null, string] | null][] = [
    ["550 5.1.1 unknown", [550, "5.1.1", "unknown"]],
    ["550-5.1.1 one 550-5.1.1 two 550 5.1.1 three", [550, "5.1.1", "one two three"]],
    ["550-one 550-two", [550, null, "one two"]],
    ["550 #5.1.0 Address rejected", [550, "5.1.0", "Address rejected"]],
    ["554: 5.1.1 odd", [554, null, "5.1.1 odd"]],
    ["host mx.example[192.0.2.1] said: 452 4.2.2 full", [452, "4.2.2", "full"]],
    ["421", [421, null, ""]],
    ["550 5.1.1234 x", [550, null, "5.1.1234 x"]],
    ["5501 x", null],
    ["350 go on", null],
    ["user unknown", null],
    ["", null],
  ];
  for (const [text, expected] of cases) {
    const reply = quotedReply(text);
    assertEquals([text, reply && [reply.code, reply.enhanced, reply.text]], [text, expected]);
  }
});

test("A reported address is ours in any case, in A-labels, and in xtext", () => {
  const same: [string, string][] = [
    ["Kim@There.Example", "kim@there.example"],
    ["kim@xn--bcher-kva.example", "kim@b\u00fccher.example"],
    ["kim+2Bnews@there.example", "kim+news@there.example"],
    ["kim+2B@there.example", "kim+2b@there.example"],
  ];
  for (const [reported, ours] of same) assert(isSameAddress(reported, ours), reported);
  assert(!isSameAddress("kim@there.example", "kim@elsewhere.example"));
  assert(!isSameAddress("kim+news@there.example", "kim@there.example"));
});

test("Texts become one safe line, names one safe word", () => {
  assertEquals(oneLine(" a\r\n\tb\u0000\u202ec\u2028 "), "a b c");
  assertEquals(oneLine("\u{1f600}".repeat(10), 3), "\u{1f600}");
  assertEquals(hostName("mx.example. (192.0.2.1)"), "mx.example");
  assertEquals(hostName("[IPv6:2001:db8::1]:25 x"), "[IPv6:2001:db8::1]:25");
  assertEquals(hostName("<script>"), null);
});

test("A complaint is known by its header", () => {
  const report = (type: string) => `Multipart/Report; Report-Type="${type}"; boundary=x`;
  assert(isComplaint(report("Feedback-Report"), null));
  assert(isComplaint("text/plain", "JMRP <Staff@hotmail.com>"));
  for (
    const [type, from] of [
      [report("delivery-status"), null],
      ["text/plain", "mystaff@hotmail.com"],
      [
        null,
        "staff@hotmail.com.evil.example",
      ],
      ["multipart/mixed; report-type=feedback-report", null],
      [null, null],
    ] as const
  ) {
    assert(!isComplaint(type, from), `${type} ${from}`);
  }
});

test("Signed envelope senders are found in any text", () => {
  const one = verpAddress(KEY, { messageId: "01JD0000000000000000000001", index: 40 }, "us.test");
  assertEquals(findVerps(`from <${one.toUpperCase()}>, "${one}"; xbounces+1@us.test`), [one, one]);
  assertEquals(readVerp(KEY, one), { messageId: "01JD0000000000000000000001", index: 40 });
  assertEquals(readVerp("00".repeat(32), one), null);
});
