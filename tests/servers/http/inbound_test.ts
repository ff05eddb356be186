/** POST /mail/inbound in both its forms, and everything that can be wrong with it. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type Clock, systemClock } from "../../../src/base/clock.ts";
import { refuse, StoreError } from "../../../src/base/errors.ts";
import { test } from "../../support/test.ts";
import { ID } from "./fakes.ts";
import { type Harness, overSocket, post, rfc822, TOKEN, verdictOf, withDoor } from "./harness.ts";

const MAIL = "From: a@example.org\r\n\r\nHello\r\n";
const good = { sender: "a@example.org", recipient: "b@example.com", raw: MAIL };

async function bodyOf(h: Harness, init: RequestInit) {
  const response = await h.call("/mail/inbound", init);
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** The paths of the findings of a 400. */
async function pathsOf(h: Harness, init: RequestInit): Promise<string[]> {
  const { status, body } = await bodyOf(h, init);
  assertEquals([status, body.error], [400, "validation_error"]);
  return body.details.problems.map((finding: { path: string }) => finding.path);
}

test("message/rfc822 goes to the flow byte for byte and comes back as 200", () =>
  withDoor({}, async (h) => {
    const { status, body } = await bodyOf(
      h,
      rfc822(MAIL, {
        "x-request-id": "abc",
        "x-original-recipient": 'b@example.com, "c,d"@EXAMPLE.com,b@example.com',
        "x-original-client-address": "IPv6:2001:DB8::1",
        "x-original-client-hostname": "unknown",
        "x-original-helo": "mx.example.org",
      }),
    );
    assertEquals([status, body], [200, {
      status: "success",
      message_id: ID,
      request_id: "abc",
      timestamp: "2026-01-01T00:00:00.000Z",
      verdict: "accept",
    }]);
    const { submission, raw } = h.flow.received[0]!;
    assertEquals(raw, MAIL);
    assertEquals(submission.envelope, {
      mailFrom: "a@example.org",
      recipients: ["b@example.com", '"c,d"@example.com'],
      smtpUtf8: false,
    });
    assertEquals(submission.connection, {
      client_address: "2001:db8::1",
      client_hostname: null,
      client_helo: "mx.example.org",
      tls: null,
    });
    assertEquals([submission.protocol, submission.mayRefuse, submission.requestId], ["HTTP", true, "abc"]);
  }));

test("The old name /email and the sender's other header work; repeated recipients add up", () =>
  withDoor({}, async (h) => {
    const headers = new Headers(rfc822("").headers);
    headers.delete("x-original-sender");
    headers.set("x-original-mail-from", "<>");
    headers.append("x-original-recipient", "Postmaster");
    const init = { method: "POST", body: MAIL, headers: Object.fromEntries(headers) };
    assertEquals(await verdictOf(h.call("/email", init)), [200, undefined]);
    const { envelope } = h.flow.received[0]!.submission;
    assertEquals([envelope.mailFrom, envelope.recipients], ["", ["b@example.com", "Postmaster"]]);
  }));

test("JSON with text or base64 goes the same way, over the control socket too", () =>
  withDoor({}, async (h) => {
    const bytes = Uint8Array.from([...new TextEncoder().encode(MAIL), 0xff, 0x00]);
    const { raw: _, ...rest } = good;
    assertEquals(await verdictOf(h.call("/mail/inbound", post(good))), [200, undefined]);
    const encoded = {
      ...rest,
      sender: "",
      recipients: ["<ü@example.com>"],
      raw_base64: bytes.toBase64(),
      client_address: "192.0.2.1",
      helo: "h",
    };
    assertEquals(await verdictOf(h.call("/mail/inbound", post(encoded))), [200, undefined]);
    const [first, second] = h.flow.received;
    assertEquals(first?.raw, MAIL);
    assertEquals(second?.raw, MAIL + "\xff\0");
    assertEquals(second?.submission.envelope, {
      mailFrom: "",
      recipients: ["b@example.com", "ü@example.com"],
      smtpUtf8: true,
    });
    assertEquals(second?.submission.connection.client_address, "192.0.2.1");
    assertEquals((await overSocket(h.control, "/mail/inbound", "POST", JSON.stringify(good))).status, 200);
  }));

test("Large bodies are read in turns, so that nobody else waits for them, and arrive whole", () => {
  let rests = 0;
  const clock: Clock = {
    ...systemClock,
    timer(delayMs, fn) {
      if (delayMs === 1) rests++;
      return systemClock.timer(delayMs, fn);
    },
  };
  return withDoor({ deps: { clock }, config: { max_message_size: 4 * 2 ** 20 } }, async (h) => {
    const mail = MAIL + "x".repeat(2 * 2 ** 20);
    const { raw: _, ...rest } = good;
    for (
      const init of [post({ ...rest, raw_base64: btoa(mail) }), post({ ...rest, raw: mail }), rfc822(mail)]
    ) {
      rests = 0;
      assertEquals(await verdictOf(h.call("/mail/inbound", init)), [200, undefined]);
      assert(h.flow.received.at(-1)!.raw === mail);
      assert(rests > 0, "nobody rested");
    }
  });
});

test("A client that is slow with a large JSON mail holds up no other", () =>
  withDoor({ config: { max_message_size: 4 * 2 ** 20 } }, async (h) => {
    const head = (length: string) =>
      `POST /mail/inbound HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\nConnection: close\r\n` +
      `Content-Type: application/json\r\n${length}\r\n\r\n`;
    const gate = Promise.withResolvers<void>();
    const body = JSON.stringify({ ...good, raw: MAIL + "slow\r\n" });
    const slow = h.raw(head(`Content-Length: ${2 ** 21}`) + body.slice(0, 20), {
      onSocket: (socket) => void gate.promise.then(() => socket.write(body.slice(20).padEnd(2 ** 21 - 20))),
    });
    const hex = JSON.stringify(good).length.toString(16);
    const chunked = `${head("Transfer-Encoding: chunked")}${hex}\r\n${JSON.stringify(good)}\r\n0\r\n\r\n`;
    assertStringIncludes(await h.raw(chunked), "200 OK");
    assertEquals(h.flow.received.map(({ raw }) => raw), [MAIL]);
    gate.resolve();
    assertStringIncludes(await slow, "200 OK");
    assertEquals(h.flow.received[1]?.raw, MAIL + "slow\r\n");
    // Each body was parked, and what was parked is gone.
    assertEquals(h.flow.discarded, 2);
  }));

test("A disk that fails while a large JSON mail is parked is 503, and nothing stays behind", () =>
  withDoor({ config: { max_message_size: 4 * 2 ** 20 } }, async (h) => {
    const large = post({ ...good, raw: MAIL + "x".repeat(2 ** 20) });
    h.flow.spoolError = new StoreError("disk", true);
    assertEquals(await verdictOf(h.call("/mail/inbound", large)), [503, "service_unavailable"]);
    assertEquals([h.flow.received.length, h.flow.aborted], [0, 1]);
    h.flow.spoolError = null;
    h.flow.storage = refuse("storage_full");
    assertEquals(await verdictOf(h.call("/mail/inbound", large)), [503, "service_unavailable"]);
    h.flow.storage = null;
    assertEquals(await verdictOf(h.call("/mail/inbound", large)), [200, undefined]);
  }));

test("LF alone becomes CRLF; a mixture is 422 and stores nothing", () =>
  withDoor({}, async (h) => {
    assertEquals(await verdictOf(h.call("/mail/inbound", rfc822("From: a\n\nHello\n"))), [200, undefined]);
    assertEquals(h.flow.received[0]?.raw, "From: a\r\n\r\nHello\r\n");
    const mixed = [rfc822("From: a\r\n\r\nHello\n"), post({ ...good, raw: "From: a\r\n\r\nHi\r" })];
    for (const init of mixed) {
      const { status, body } = await bodyOf(h, init);
      assertEquals([status, body.error], [422, "rejected"]);
      assertEquals(body.details, { smtp_code: 550, enhanced_code: "5.5.2", reason: "bare_newline" });
    }
    assertEquals([h.flow.received.length, h.flow.aborted], [1, 2]);
    assertStringIncludes(
      await h.deps.metrics.registry.metrics(),
      'gomail_emails_rejected_total{reason="bare_newline"} 2',
    );
  }));

test("A large mail streams in with backpressure, in chunks or with a length", () =>
  withDoor({ config: { max_message_size: 3_000_000 } }, async (h) => {
    let waits = 0;
    h.flow.writeDelay = () => {
      waits++;
      return new Promise((resolve) => setTimeout(resolve, 1));
    };
    const mail = `From: a\r\n\r\n${"x".repeat(76)}\r\n`.padEnd(2_000_000, "y");
    assertEquals(await verdictOf(h.call("/mail/inbound", rfc822(mail))), [200, undefined]);
    const stream = new Blob([mail]).stream();
    assertEquals(await verdictOf(h.call("/mail/inbound", rfc822(stream))), [200, undefined]);
    assertEquals(h.flow.received.map(({ raw }) => raw === mail), [true, true]);
    assert(waits > 2);
    assertEquals(h.flow.storageAsked, [2_000_000, 0]);
  }));

test("Over max_message_size is 413 with the SMTP code, announced or not", () =>
  withDoor({}, async (h) => {
    const large = "From: a\r\n\r\n" + "x".repeat(100_001);
    const unannounced = rfc822(new Blob([large]).stream());
    const grown = rfc822("From: a\n\n" + "x\n".repeat(40_000));
    for (const init of [rfc822(large), unannounced, post({ ...good, raw: large }), grown]) {
      const { status, body } = await bodyOf(h, init);
      assertEquals([status, body.error, body.details.smtp_code], [413, "payload_too_large", 552]);
    }
    assertEquals(await verdictOf(h.call("/mail/inbound", post({ ...good, raw: "x".repeat(2_000_000) }))), [
      413,
      "payload_too_large",
    ]);
    assertEquals(h.flow.received.length, 0);
  }));

test("A header without end is 422 with 552 5.3.4", () =>
  withDoor({ config: { max_message_size: 1_000_000 } }, async (h) => {
    const { status, body } = await bodyOf(h, rfc822("A: b\r\n".repeat(5001) + "\r\n"));
    assertEquals([status, body.details.smtp_code, body.details.enhanced_code], [422, 552, "5.3.4"]);
  }));

test("Recipients that are not ours, unknown, or too many are 422", () =>
  withDoor({ config: { max_recipients: 2 } }, async (h) => {
    const to = (recipients: string[]) => bodyOf(h, post({ ...good, recipients }));
    const foreign = await to(["x@elsewhere.org"]);
    assertEquals([foreign.status, foreign.body.error], [422, "rejected"]);
    assertEquals(foreign.body.details, {
      smtp_code: 550,
      enhanced_code: "5.7.1",
      reason: "relay_denied",
      recipient: "x@elsewhere.org",
    });
    assertEquals((await to(["nobody@example.com"])).body.details.enhanced_code, "5.1.1");
    assertEquals((await to(["c@example.com", "d@example.com"])).body.details.smtp_code, 452);
    assertEquals(h.flow.received.length, 0);
  }));

test("No room is 503 with Retry-After before a byte is read; a disk that fails is 503 as well", () =>
  withDoor({}, async (h) => {
    h.flow.storage = refuse("storage_full");
    const full = await bodyOf(h, rfc822(MAIL));
    assertEquals([full.status, full.body.error, full.headers.get("retry-after")], [
      503,
      "service_unavailable",
      "30",
    ]);
    assertEquals(full.body.details.smtp_code, 452);
    h.flow.storage = null;
    h.flow.spoolError = new StoreError("no space", true);
    for (const init of [rfc822(MAIL), post(good)]) {
      const failed = await bodyOf(h, init);
      assertEquals([failed.status, failed.body.details.smtp_code], [503, 452]);
    }
    assertEquals(h.flow.aborted, 2);
  }));

test("A refusal of the flow is 422, a temporary one 503", () =>
  withDoor({}, async (h) => {
    h.flow.receipt = { kind: "refused", refusal: refuse("dmarc_fail") };
    const refused = await bodyOf(h, rfc822(MAIL));
    assertEquals([refused.status, refused.body.error, refused.body.details.reason], [
      422,
      "rejected",
      "dmarc_fail",
    ]);
    h.flow.receipt = { kind: "refused", refusal: refuse("auth_temporary") };
    assertEquals((await bodyOf(h, rfc822(MAIL))).status, 503);
  }));

test("Other media types and compressed bodies are 415", () =>
  withDoor({}, async (h) => {
    for (const type of ["text/plain", "", "message/rfc822x"]) {
      const init = rfc822(new TextEncoder().encode(MAIL), { "content-type": type });
      assertEquals(await verdictOf(h.call("/mail/inbound", init)), [415, "unsupported_media_type"]);
    }
    const zipped = rfc822(MAIL, { "content-encoding": "gzip" });
    assertEquals(await verdictOf(h.call("/mail/inbound", zipped)), [415, "unsupported_media_type"]);
    const plain = rfc822(MAIL, { "content-type": "Message/RFC822; charset=utf-8" });
    assertEquals(await verdictOf(h.call("/mail/inbound", plain)), [200, undefined]);
  }));

test("Headers that are missing or wrong are 400, all at once, each by its name", () =>
  withDoor({}, async (h) => {
    const bare = { method: "POST", body: MAIL, headers: { "content-type": "message/rfc822" } };
    assertEquals(await pathsOf(h, bare), ["X-Original-Sender", "X-Original-Recipient"]);
    const wrong = rfc822(MAIL, {
      "x-original-sender": "not an address",
      "x-original-recipient": `b@example.com, @, ${"x".repeat(65)}@example.com`,
      "x-original-client-address": "300.1.1.1",
      "x-original-helo": "a b",
    });
    assertEquals(await pathsOf(h, wrong), [
      "X-Original-Sender",
      "X-Original-Recipient",
      "X-Original-Recipient",
      "X-Original-Client-Address",
      "X-Original-Helo",
    ]);
    const head = "POST /email HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 0\r\n" +
      "Authorization: Bearer t0ken-of-the-tests-4711\r\nContent-Type: message/rfc822\r\n";
    assertStringIncludes(
      await h.raw(`${head}X-Original-Recipient: \xff@example.com\r\n\r\n`),
      "not valid UTF-8",
    );
    assertStringIncludes(
      await h.raw(`${head}X-Original-Helo: a\r\nX-Original-Helo: b\r\n\r\n`),
      "given twice",
    );
    const utf8 = `${head}X-Original-Sender: <>\r\nX-Original-Recipient: \xc3\xbc@example.com\r\n\r\n`;
    assertStringIncludes(await h.raw(utf8), "200 OK");
    assertEquals(h.flow.received[0]?.submission.envelope.recipients, ["ü@example.com"]);
  }));

test("JSON that is missing or wrong is 400 with every path", () =>
  withDoor({}, async (h) => {
    const json = (body: unknown) => pathsOf(h, post(body));
    assertEquals(await json({}), ["sender"]);
    assertEquals(await json({ sender: "a@example.org", raw: MAIL }), ["recipients"]);
    assertEquals(await json({ ...good, recipients: ["c@example.com", "bad address"] }), ["recipients[1]"]);
    assertEquals(await json({ ...good, recipients: [1], raw: 5 }), ["recipients[0]", "raw"]);
    assertEquals(await json({ ...good, raw: undefined }), ["raw"]);
    assertEquals(await json({ ...good, raw_base64: "QQ==" }), ["raw"]);
    assertEquals(await json({ ...good, raw: undefined, raw_base64: "*" }), ["raw_base64"]);
    assertEquals(await json({ ...good, client_address: "1.2.3", helo: "x\ny" }), ["client_address", "helo"]);
    assertEquals(await json([]), ["body"]);
    assertEquals(h.flow.received.length, 0);
  }));

test("JSON that is hostile is 400 and never 500", () =>
  withDoor({}, async (h) => {
    const hostile = [
      "",
      "{",
      "[".repeat(5000),
      '{"sender":"","sender":""}',
      '{"__proto__":{}}',
      '{"sender":1e400}',
      '{"sender":"\\ud800"}',
    ];
    for (const body of hostile) assertEquals((await pathsOf(h, post(body))).length, 1);
  }));

test("A mail whose sender was told 504 is not stored behind his back", () =>
  withDoor({ config: { handler_timeout: 50 } }, async (h) => {
    const gate = Promise.withResolvers<void>();
    h.flow.writeDelay = () => gate.promise;
    assertEquals(await verdictOf(h.call("/mail/inbound", post(good))), [504, "timeout"]);
    gate.resolve();
    for (let i = 0; i < 6000 && h.flow.discarded === 0; i++) {
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    assertEquals([h.flow.received.length, h.flow.discarded], [0, 1]);
  }));

test("a client address that Postfix does not know is no client address, not a 400", () =>
  withDoor({}, async (h) => {
    const { status } = await bodyOf(h, rfc822(MAIL, { "x-original-client-address": "unknown" }));
    assertEquals([status, h.flow.received[0]!.submission.connection.client_address], [200, null]);
  }));

test("a mail refused at the HTTP door is counted as processed, with the first GoMail's status", () =>
  withDoor({}, async (h) => {
    await verdictOf(h.call("/mail/inbound", rfc822(MAIL, { "x-original-recipient": "b@other.example" })));
    h.flow.storage = refuse("storage_full");
    await verdictOf(h.call("/mail/inbound", rfc822(MAIL)));
    const text = await h.deps.metrics.registry.metrics();
    assertStringIncludes(text, 'gomail_emails_processed_total{status="rejected"} 1');
    assertStringIncludes(text, 'gomail_emails_processed_total{status="error"} 1');
  }));
