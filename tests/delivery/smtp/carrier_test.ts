/** The SMTP carrier against whole conversations on loopback: what goes out, and what each answer becomes. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { readVerp } from "../../../src/mail/verp.ts";
import { startFakeMx, startFarm } from "../../support/fake_mx.ts";
import { test, withTempDir } from "../../support/test.ts";
import { live, mailJob, MESSAGE, MESSAGE_ID, VERP_KEY, withWorld } from "./harness.ts";

const crlf = (text: string) => text.replace(/\r?\n/g, "\r\n");

test("attempt() delivers the exact bytes, dot-stuffed on the way, under a signed envelope sender", async () => {
  const [mx] = await startFarm({});
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    const outcome = await send();
    assertEquals(outcome.kind, "delivered");
    assertEquals(outcome.code, 250);
    assertEquals(mx!.mails.length, 1);
    const mail = mx!.mails[0]!;
    assertEquals(mail.data, crlf(MESSAGE));
    assertEquals(mail.to, ["bob@r.example"]);
    assertEquals(readVerp(VERP_KEY, mail.from), { messageId: MESSAGE_ID, index: 1 });
    assert(mail.from.endsWith("@ours.example"));
    assertEquals(mx!.faults, []);
    assertEquals(outcome.report?.response, { code: 250, enhanced: "2.0.0", text: "Queued" });
    assertEquals(outcome.report?.remote, `mx1.r.example[127.0.0.11]:${mx!.port}`);
    const transcript = outcome.report!.transcript;
    assertStringIncludes(transcript, "> EHLO mail.ours.example");
    assertStringIncludes(transcript, `> [${crlf(MESSAGE).length} bytes]`);
    assert(!transcript.includes("Hi Bob"));
  });
});

test("A big message is streamed from its file, whole", () =>
  withTempDir(async (dir) => {
    const [mx] = await startFarm({ keywords: ["PIPELINING", "8BITMIME", "SIZE 0"] });
    await withWorld({ servers: [mx!] }, async ({ send }) => {
      const body = ".0123456789 abcdefghijklmnopqrstuvwxyz é\r\n".repeat(60_000);
      const bytes = new TextEncoder().encode(body);
      await Deno.writeFile(`${dir}/blob`, bytes);
      const head = new TextEncoder().encode("Subject: big\r\n\r\n");
      const raw = {
        head,
        body: { kind: "file" as const, path: `${dir}/blob`, offset: 0, length: bytes.length },
      };
      assertEquals((await send({ raw })).kind, "delivered");
      const data = Uint8Array.from(mx!.mails[0]!.data, (char) => char.charCodeAt(0));
      assertEquals(new TextDecoder().decode(data) === "Subject: big\r\n\r\n" + body, true);
      assertMatch(mx!.lines[1]!, / SIZE=2\d{6} BODY=8BITMIME$/);
    });
  }));

test("A file that can't be read is our fault: nothing is said to be delivered, and nothing was", async () => {
  const [mx] = await startFarm({});
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    const head = new TextEncoder().encode("Subject: gone\r\n\r\n");
    const raw = { head, body: { kind: "file" as const, path: "/nonexistent/blob", offset: 0, length: 10 } };
    const error = await send({ raw }).catch((error: unknown) => error);
    assert(error instanceof Deno.errors.NotFound);
    assertEquals(mx!.mails, []);
  });
});

/** What a server says to one command, and what becomes of the mail. */
const ANSWERS: [command: RegExp, reply: string, kind: string, rest: Record<string, unknown>][] = [
  [/^RCPT/, "550 5.1.1 No such user", "failed", { code: 550 }],
  [/^RCPT/, "550 4.7.1 Final, whatever the second code says", "failed", { code: 550 }],
  [/^RCPT/, "451 5.1.1 Not now, whatever the second code says", "deferred", { code: 451, alive: true }],
  [/^RCPT/, "450 4.2.0 Greylisted", "deferred", { code: 450, alive: true }],
  [/^RCPT/, "421 4.7.0 Too busy", "deferred", { code: 421, quietMs: 30_000 }],
  [/^MAIL/, "550 5.7.1 Not you", "failed", { code: 550 }],
  [/^MAIL/, "451 4.3.0 Not now", "deferred", { code: 451 }],
  [/^MAIL/, "421 4.3.2 Going down", "deferred", { code: 421, quietMs: 30_000 }],
  [/^DATA/, "554 5.7.1 No", "failed", { code: 554 }],
  [/^DATA/, "451 4.3.0 Not now", "deferred", { code: 451, alive: true }],
  [/^DATA/, "250 What?", "deferred", { code: null }],
  [/^\.$/, "554 5.7.1 Spam", "failed", { code: 554 }],
  [/^\.$/, "451 4.7.0 Try later", "deferred", { code: 451, alive: true }],
  [/^\.$/, "452 4.3.1 Disk full", "deferred", { code: 452 }],
  [/^\.$/, "421 4.3.2 Going down", "deferred", { code: 421, quietMs: 30_000 }],
  [/^\.$/, "354 Again", "deferred", { code: null }],
  [/^(EHLO|HELO)/, "550 Go away", "deferred", { code: 550 }],
  [/^EHLO/, "450 Not now", "deferred", { code: 450 }],
];

for (const keywords of [["PIPELINING", "8BITMIME"], ["8BITMIME"]]) {
  test(`The basic code decides what becomes of a mail (${keywords.join(" ")})`, async () => {
    for (const [command, reply, kind, rest] of ANSWERS) {
      const [mx] = await startFarm({ keywords, on: (line) => command.test(line) ? reply : undefined });
      await withWorld({ servers: [mx!] }, async ({ send }) => {
        const { report, error: _error, ...outcome } = await send() as Record<string, unknown>;
        assertEquals(outcome, { kind, ...rest }, `${command} ${reply}`);
        assertEquals(mx!.mails, []);
        assertEquals(mx!.faults, []);
        const heard = rest.code === null ? null : reply.slice(0, 3);
        const { response } = report as { response: { code: number } | null };
        assertEquals(response === null ? null : String(response.code), heard);
      });
    }
  });
}

test("A greeting that is no 220 is about us, not about the mail: deferred", async () => {
  for (
    const [greeting, code] of [["554 5.7.1 Blocked", 554], ["450 Busy", 450], ["521 Never", 521]] as const
  ) {
    const [mx] = await startFarm({ greeting });
    await withWorld({ servers: [mx!] }, async ({ send }) => {
      const outcome = await send();
      assertEquals([outcome.kind, outcome.code], ["deferred", code]);
      assertStringIncludes("error" in outcome ? outcome.error : "", greeting);
    });
  }
});

test("A refused recipient behind a pipelined DATA that is answered 354 gets an empty end, and no mail", async () => {
  const [mx] = await startFarm({
    on: (line) =>
      line.startsWith("RCPT")
        ? "550 5.1.1 No"
        : line === "DATA"
        ? "354 Go"
        : line === "."
        ? "554 No one"
        : undefined,
  });
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    assertEquals((await send()).kind, "failed");
    // The connection is in step, and is used again.
    assertEquals((await send()).kind, "failed");
    assertEquals(mx!.connections, 1);
    assertEquals(mx!.mails, []);
  });
});

test("A server without ESMTP is greeted with HELO", async () => {
  const [mx] = await startFarm({ on: (line) => line.startsWith("EHLO") ? "502 What?" : undefined });
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    assertEquals((await send()).kind, "delivered");
    assertEquals(mx!.lines.slice(0, 3).map((line) => line.slice(0, 4)), ["EHLO", "HELO", "MAIL"]);
    assert(!mx!.lines[2]!.includes("SIZE"));
  });
});

test("What a server can't take is final before anything is sent", async () => {
  const utf8 = new TextEncoder().encode("Subject: Grüße\r\n\r\nHi\r\n");
  const eightBit = new TextEncoder().encode("Subject: x\r\n\r\nGrüße\r\n");
  const cases: [string[], Uint8Array | null, string, string][] = [
    [["SIZE 20"], null, "bob@r.example", "5.3.4"],
    [["8BITMIME"], utf8, "bob@r.example", "5.6.7"],
    [["8BITMIME"], null, "böb@r.example", "5.6.7"],
    [["SIZE 0"], eightBit, "bob@r.example", "5.6.3"],
  ];
  for (const [keywords, bytes, recipient, enhanced] of cases) {
    const [mx] = await startFarm({ keywords });
    await withWorld({ servers: [mx!] }, async ({ carrier }) => {
      const job = mailJob({ recipients: [recipient] }, bytes ?? MESSAGE);
      const outcome = await carrier.attempt(job, live);
      assertEquals(outcome.kind, "failed");
      assertEquals(outcome.report?.response?.enhanced, enhanced);
      assertEquals(mx!.lines.filter((line) => line.startsWith("MAIL")), []);
    });
  }
});

test("SMTPUTF8 and 8BITMIME are asked for where they are needed, and only there", async () => {
  const [mx] = await startFarm({ keywords: ["SMTPUTF8", "8BITMIME"] });
  await withWorld({ servers: [mx!] }, async ({ carrier }) => {
    const deliver = async (recipient: string, text: string) => {
      const job = mailJob(
        { id: recipient + text, recipients: [recipient], messageId: `01J${text.length}` },
        text,
      );
      assertEquals((await carrier.attempt(job, live)).kind, "delivered");
      return mx!.lines.filter((line) => line.startsWith("MAIL")).at(-1)!.replace(/^.*?> ?/, "");
    };
    assertEquals(await deliver("bob@r.example", "A: b\n\nx\n"), "");
    assertEquals(await deliver("bob@r.example", "A: b\n\nxä\n"), "BODY=8BITMIME");
    assertEquals(await deliver("bob@r.example", "A: bäää\n\nx\n"), "BODY=8BITMIME SMTPUTF8");
    assertEquals(await deliver("böb@r.example", "A: b\n\nxxxxxxx\n"), "SMTPUTF8");
  });
});

test("A message that no SMTP may carry never goes out", async () => {
  const [mx] = await startFarm({});
  await withWorld({ servers: [mx!] }, async ({ carrier }) => {
    for (const text of ["A: b\r\n\r\nx\n.\r\nMAIL FROM:<evil@x>\r\n", "A: b\r\n\r\nx\r.\r\n"]) {
      const job = mailJob({ messageId: `m${text.length}` }, new TextEncoder().encode(text));
      const outcome = await carrier.attempt(job, live);
      assertEquals([outcome.kind, outcome.code], ["failed", 554]);
    }
    for (const recipient of ["bob@r.example>\r\nRCPT TO:<eve@x.example", "no address", "a b@r.example"]) {
      const outcome = await carrier.attempt(mailJob({ recipients: [recipient] }), live);
      assertEquals([outcome.kind, outcome.code], ["failed", 553]);
    }
    assertEquals(mx!.connections, 0);
  });
});

test("A suppressed recipient is dropped without asking anybody", async () => {
  const [mx] = await startFarm({});
  await withWorld({ servers: [mx!] }, async ({ send }) => {
    const outcome = await send({ suppressed: "bounce" });
    assertEquals(outcome, { kind: "dropped", code: null, error: "Recipient is suppressed (bounce)" });
    assertEquals(mx!.connections, 0);
  });
});

test("Replies may come in pieces of any size", async () => {
  for (const pieceBytes of [1, 2, 3, 7]) {
    const [mx] = await startFarm({ pieceBytes });
    await withWorld({ servers: [mx!] }, async ({ send }) => {
      assertEquals((await send()).kind, "delivered");
      assertEquals((await send()).kind, "delivered");
      assertEquals([mx!.mails.length, mx!.connections], [2, 1]);
    });
  }
});

test("The smarthost takes all mail, and what it says to the connection is never final", async () => {
  const smarthost = await startFakeMx();
  const config = {
    outbound_transport: "postfix" as const,
    outbound_smarthost: `127.0.0.1:${smarthost.port}`,
  };
  await withWorld({ servers: [smarthost], config }, async ({ carrier, config: now, send }) => {
    assertEquals(carrier.endpointOf("any.example", ""), `smarthost 127.0.0.1:${smarthost.port}`);
    assertEquals(carrier.concurrencyMax(carrier.endpointOf("any.example", "")), 20);
    assertEquals(carrier.concurrencyMax("any.example"), 5);
    for (const recipient of ["bob@r.example", "eve@other.example"]) {
      assertEquals((await send({ recipients: [recipient] })).kind, "delivered");
    }
    assertEquals(smarthost.connections, 1);
    now.outbound_smarthost = `localhost:${smarthost.port}`;
    assertEquals((await send()).kind, "delivered");
    now.outbound_smarthost = "nowhere.invalid:25";
    const outcome = await send();
    assertEquals([outcome.kind, outcome.code], ["deferred", null]);
    now.outbound_transport = "direct";
    assertEquals(carrier.endpointOf("any.example", ""), "any.example");
  });
});

test("A bounce goes out from nobody, and nobody hears what became of it", async () => {
  const [mx] = await startFarm({
    on: (line) => line.startsWith("RCPT") ? "550 5.1.1 No such user" : undefined,
  });
  await withWorld({ servers: [mx!] }, async ({ carrier, send }) => {
    const job = mailJob();
    const bounce = { ...job, message: { ...job.message, mailFrom: "" } };
    const outcome = await send(bounce);
    assertEquals([outcome.kind, mx!.lines[1]], ["failed", `MAIL FROM:<> SIZE=${crlf(MESSAGE).length}`]);
    const dead = { kind: "dead" as const, at: 0, code: 550, error: "no" };
    assertEquals(carrier.effectsOf!(bounce, dead, outcome), { events: [], suppressions: [] });
    assertEquals(carrier.effectsOf!(job, dead, outcome).events.length, 1);
  });
});
