/** POST /mail/send in both its forms: what reaches the flow, what comes back, what is refused. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { z } from "zod";
import { refuse, StoreError } from "../../../src/base/errors.ts";
import type { SendResult } from "../../../src/outbound/types.ts";
import { messageWithJobsSchema } from "../../../src/servers/http/schemas_queue.ts";
import { batchAnswer, eventPage, sendAnswer } from "../../../src/servers/http/schemas_send.ts";
import { test } from "../../support/test.ts";
import { ID, SEND_ANSWER } from "./fakes.ts";
import { type Harness, overSocket, post, TOKEN, verdictOf, withDoor } from "./harness.ts";

const good = { from: "App <app@example.com>", to: "b@example.net", subject: "Hi", text: "Hello" };
const MAIL = "From: app@example.com\r\nTo: b@example.net\r\n\r\nHello\r\n";

async function send(h: Harness, init: RequestInit, query = "") {
  const response = await h.call(`/mail/send${query}`, init);
  return { status: response.status, headers: response.headers, body: await response.json() };
}

/** The paths of the findings of a 400. */
async function pathsOf(h: Harness, init: RequestInit, query = ""): Promise<string[]> {
  const { status, body } = await send(h, init, query);
  assertEquals([status, body.error], [400, "validation_error"]);
  return body.details.problems.map((finding: { path: string }) => finding.path);
}

const json = (more: Record<string, unknown> = {}, headers = {}) => post({ ...good, ...more }, headers);
const raw = (body: BodyInit, headers: Record<string, string> = {}): RequestInit => ({
  method: "POST",
  body,
  headers: { "content-type": "message/rfc822", ...headers },
});

test("A send in JSON reaches the flow with every field and is answered with 202", () =>
  withDoor({}, async (h) => {
    const { status, body } = await send(
      h,
      json({
        to: ["b@example.net", "C <c@example.net>"],
        cc: "d@example.net",
        bcc: ["e@example.net"],
        reply_to: null,
        html: "<p>Hello",
        headers: { "X-Campaign": "a\tb" },
        attachments: [
          { filename: "ä.txt", content_type: "text/plain", content: "aGVs\r\nbG8=" },
          { filename: "l.png", content_type: "image/png", content: "", content_id: "logo" },
        ],
        metadata: { order: [1, { a: null }] },
        send_at: "2026-05-01T12:00:00+02:00",
        list_unsubscribe: true,
      }, { "x-request-id": "abc", "idempotency-key": "k 1" }),
    );
    assertEquals([status, body], [202, { ...SEND_ANSWER, request_id: "abc" }]);
    const { fields, options } = h.outbound.fields[0]!;
    assertEquals(fields, {
      from: "App <app@example.com>",
      to: ["b@example.net", "C <c@example.net>"],
      cc: ["d@example.net"],
      bcc: ["e@example.net"],
      replyTo: [],
      subject: "Hi",
      text: "Hello",
      html: "<p>Hello",
      headers: { "X-Campaign": "a\tb" },
      attachments: [
        {
          filename: "ä.txt",
          contentType: "text/plain",
          content: new TextEncoder().encode("hello"),
          contentId: null,
        },
        { filename: "l.png", contentType: "image/png", content: new Uint8Array(), contentId: "logo" },
      ],
    });
    const { idempotency, ...rest } = options;
    assertEquals(rest, {
      requestId: "abc",
      metadata: { order: [1, { a: null }] },
      sendAt: Date.UTC(2026, 4, 1, 10),
      dryRun: false,
      listUnsubscribe: true,
    });
    assertEquals([idempotency?.key, idempotency?.bodyHash.length], ["k 1", 64]);
  }));

test("The least that can be sent is sent, over the control socket too", () =>
  withDoor({}, async (h) => {
    assertEquals((await overSocket(h.control, "/mail/send", "POST", JSON.stringify(good))).status, 202);
    const { fields, options } = h.outbound.fields[0]!;
    assertEquals([fields.to, fields.cc, fields.html, fields.attachments], [["b@example.net"], [], null, []]);
    assertEquals([options.metadata, options.sendAt, options.dryRun, options.idempotency], [
      null,
      null,
      false,
      null,
    ]);
  }));

test("An unknown field is 400 with its path: a mistyped bc must not send", () =>
  withDoor({}, async (h) => {
    assertEquals(await pathsOf(h, json({ bc: "x@example.net" })), ["bc"]);
    const attachment = { filename: "passwd", content_type: "text/plain", path: "/etc/passwd" };
    assertEquals(await pathsOf(h, json({ attachments: [attachment] })), [
      "attachments[0].content",
      "attachments[0].path",
    ]);
    const href = { filename: "x", content_type: "text/plain", content: { href: "http://127.0.0.1/" } };
    assertEquals(await pathsOf(h, json({ attachments: [href] })), ["attachments[0].content"]);
    const long = await pathsOf(h, json({ ["y".repeat(10_000)]: 1 }));
    assertEquals(long[0]?.length, 100);
    assertEquals(h.outbound.fields.length, 0);
  }));

test("Shapes that are wrong are 400 with every path, and nothing is sent", () =>
  withDoor({}, async (h) => {
    const { from: _, ...rest } = good;
    assertEquals(await pathsOf(h, post(rest)), ["from"]);
    assertEquals(await pathsOf(h, post({})), ["from", "to", "subject"]);
    assertEquals(await pathsOf(h, json({ to: 5 })), ["to"]);
    assertEquals(await pathsOf(h, json({ to: "" })), ["to"]);
    assertEquals(await pathsOf(h, json({ to: ["a@b.example", 5, ""] })), ["to[1]", "to[2]"]);
    assertEquals(await pathsOf(h, json({ cc: { a: "b" }, bcc: [null] })), ["cc", "bcc[0]"]);
    assertEquals(await pathsOf(h, json({ to: Array(1001).fill("a@b.example") })), ["to"]);
    assertEquals(await pathsOf(h, json({ headers: { "X-A": 5 }, metadata: [1] })), [
      "headers.X-A",
      "metadata",
    ]);
    assertEquals(await pathsOf(h, json({ send_at: "tomorrow", dry_run: "yes" })), ["send_at", "dry_run"]);
    assertEquals(await pathsOf(h, json({ send_at: "2026-01-01T00:00:00" })), ["send_at"]);
    assertEquals(await pathsOf(h, json({ subject: "x".repeat(3000) })), ["subject"]);
    assertEquals(await pathsOf(h, post([])), ["body"]);
    for (const content of ["*", "aGVsbG8", "aGVsbG8=x", "aGVsbG9=", "-_-_"]) {
      const attachments = [
        { filename: "a", content_type: "text/plain", content: "aGVsbG8=" },
        { filename: "b", content_type: "text/plain", content },
      ];
      assertEquals(await pathsOf(h, json({ attachments })), ["attachments[1].content"], content);
    }
    assertEquals(h.outbound.fields.length, 0);
  }));

test("A line break in any single-line field is 400 with its path", () =>
  withDoor({}, async (h) => {
    for (const char of ["\r\n", "\r", "\n", "\0", "\u0085", "\u2028", "\u2029", "\x7f"]) {
      const bad = `a${char}Bcc: x@example.net`;
      const attachment = { filename: bad, content_type: bad, content: "", content_id: bad };
      const body = {
        from: bad,
        to: [bad],
        cc: bad,
        reply_to: [bad],
        subject: bad,
        headers: { "X-A": bad },
        attachments: [attachment],
      };
      assertEquals(await pathsOf(h, json(body)), [
        "from",
        "to[0]",
        "cc",
        "reply_to[0]",
        "subject",
        "headers.X-A",
        "attachments[0].filename",
        "attachments[0].content_type",
        "attachments[0].content_id",
      ]);
    }
    assertEquals(h.outbound.fields.length, 0);
    const log = await h.log();
    assert(!log.includes("Bcc: x@"), "what was refused is not logged");
  }));

test("What the flow finds wrong is 400 under the name the app used", () =>
  withDoor({}, async (h) => {
    h.outbound.result = () => ({
      kind: "invalid",
      findings: [
        { path: "from", problem: "is not of a domain of ours" },
        { path: "headers.DKIM-Signature", problem: "can't be set" },
        { path: "to[0]", problem: "is not an address" },
        { path: "cc[0]", problem: "is not an address" },
      ],
    });
    const { status, body } = await send(h, json({ cc: ["x"], headers: { "DKIM-Signature": "x" } }));
    assertEquals([status, body.message], [400, "Cannot accept from: is not of a domain of ours"]);
    assertEquals(body.details.problems.map((finding: { path: string }) => finding.path), [
      "from",
      "headers.DKIM-Signature",
      "to",
      "cc[0]",
    ]);
    const said = ["sender", "recipients", "recipients[3]", "message", "to[0]"];
    h.outbound.result = () => ({
      kind: "invalid",
      findings: said.map((path) => ({ path, problem: "is wrong" })),
    });
    assertEquals(await pathsOf(h, raw(MAIL)), [
      "X-Original-Sender",
      "X-Original-Recipient",
      "X-Original-Recipient",
      "message",
      "to[0]",
    ]);
  }));

test("JSON that is hostile is 400 and never 500", () =>
  withDoor({}, async (h) => {
    const hostile = [
      "",
      "{",
      "[".repeat(5000),
      '{"to":"a@b.example","to":"c@d.example"}',
      '{"headers":{"__proto__":{"a":"b"}}}',
      '{"metadata":{"n":1e400}}',
      '{"subject":"\\ud800"}',
    ];
    for (const body of hostile) assertEquals((await pathsOf(h, post(body))).length, 1, body.slice(0, 20));
    assertEquals(h.outbound.fields.length, 0);
  }));

test("The same key and request give the first answer, another request 409", () =>
  withDoor({}, async (h) => {
    const key = { "idempotency-key": "order-7" };
    const first = await send(h, json({ headers: { a: "1", b: "2" } }, key));
    assertEquals([first.status, first.headers.get("idempotency-replayed")], [202, null]);
    // The same value, its names in another order.
    const again = await send(
      h,
      post(`{"headers":{"b":"2","a":"1"}, ${JSON.stringify(good).slice(1)}`, {
        ...key,
        "x-request-id": "n2",
      }),
    );
    assertEquals([again.status, again.headers.get("idempotency-replayed")], [202, "true"]);
    assertEquals([again.body.id, again.body.request_id], [first.body.id, "n2"]);
    const other = await send(h, json({ text: "Hello!" }, key));
    assertEquals([other.status, other.body.error], [409, "conflict"]);
    assertEquals(h.outbound.fields.length, 1);
  }));

test("A key that no header should carry, or two of them, is 400", () =>
  withDoor({}, async (h) => {
    for (const key of ["x".repeat(256), "", "ä"]) {
      assertEquals(await pathsOf(h, json({}, { "idempotency-key": key })), ["Idempotency-Key"]);
    }
    const body = JSON.stringify(good);
    const head =
      `POST /mail/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\nConnection: close\r\n` +
      `Content-Type: application/json\r\nContent-Length: ${body.length}\r\n`;
    const twice = await h.raw(`${head}Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n${body}`);
    assertStringIncludes(twice, "400 Bad Request");
    assertStringIncludes(twice, "is given twice");
    assertEquals(h.outbound.fields.length, 0);
    assertEquals((await send(h, json({}, { "idempotency-key": "~".repeat(255) }))).status, 202);
  }));

test("A raw message streams to the flow, with its headers and query", () =>
  withDoor({}, async (h) => {
    const init = raw(MAIL.replaceAll("\r\n", "\n"), {
      "x-original-sender": "<app@example.com>",
      "x-original-recipient": 'b@example.net, "c,d"@example.net,b@example.net',
      "x-request-id": "abc",
    });
    const { status, body } = await send(h, init, "?send_at=2026-05-01T10:00:00Z&list_unsubscribe=true");
    assertEquals([status, body], [202, { ...SEND_ANSWER, request_id: "abc" }]);
    const sent = h.outbound.raws[0]!;
    assertEquals(sent.text, MAIL);
    assertEquals([sent.raw.sender, sent.raw.recipients], [
      "app@example.com",
      ["b@example.net", '"c,d"@example.net'],
    ]);
    assertEquals(sent.options, {
      requestId: "abc",
      metadata: null,
      sendAt: Date.UTC(2026, 4, 1, 10),
      dryRun: false,
      listUnsubscribe: true,
      idempotency: null,
    });
  }));

test("A raw message without the headers is sent by what it says itself", () =>
  withDoor({}, async (h) => {
    assertEquals((await send(h, raw(MAIL))).status, 202);
    const sent = h.outbound.raws[0]!;
    assertEquals([sent.raw.sender, sent.raw.recipients, sent.options.dryRun], [null, null, false]);
    // Given but empty is no reason to take other recipients instead.
    assertEquals(await pathsOf(h, raw(MAIL, { "x-original-recipient": " , " })), ["X-Original-Recipient"]);
    assertEquals(
      await pathsOf(h, raw(MAIL, { "x-original-sender": "", "x-original-recipient": "a@b.example, nobody" })),
      ["X-Original-Sender", "X-Original-Recipient"],
    );
    assertEquals(h.outbound.raws.length, 1);
  }));

test("Options in the wrong place, unknown or misspelt send nothing", () =>
  withDoor({}, async (h) => {
    assertEquals(await pathsOf(h, json(), "?dry_run=true"), ["dry_run"]);
    for (const query of ["?dryrun=true", "?dry_run=1", "?dry_run=true&dry_run=true", "?send_at=now"]) {
      assertEquals((await pathsOf(h, raw(MAIL), query)).length, 1, query);
    }
    assertEquals([h.outbound.fields.length, h.outbound.raws.length], [0, 0]);
  }));

test("Of a raw message the key holds for bytes, recipients and options together", () =>
  withDoor({}, async (h) => {
    const key = { "idempotency-key": "r" };
    const to = (recipient: string) => ({ ...key, "x-original-recipient": recipient });
    assertEquals((await send(h, raw(MAIL, to("b@example.net")))).status, 202);
    const again = await send(h, raw(MAIL, to("b@example.net")));
    assertEquals([again.status, again.headers.get("idempotency-replayed")], [202, "true"]);
    assertEquals((await send(h, raw(MAIL, to("c@example.net")))).status, 409);
    assertEquals((await send(h, raw(MAIL + ".", to("b@example.net")))).status, 409);
    const later = "?send_at=2026-05-01T10:00:00Z";
    assertEquals((await send(h, raw(MAIL, to("b@example.net")), later)).status, 409);
    assertEquals((await send(h, json({}, key))).status, 409);
  }));

test("A dry run is 200 with the message as text, or as base64 when it is no UTF-8", () =>
  withDoor({}, async (h) => {
    const dryRun = (message: Uint8Array): SendResult => ({
      kind: "dry_run",
      answer: {
        message,
        dkim: { result: "pass", signatures: [], from_domain: "example.com", signed_by: ["example.com"] },
        dmarc: {
          result: "pass",
          policy: "none",
          from_header: "app@example.com",
          return_path: "",
          spf_alignment: false,
          dkim_alignment: true,
          authentication_results: "",
        },
        recipients: [{ address: "b@example.net", suppressed: "bounce" }],
      },
    });
    h.outbound.result = () => dryRun(new TextEncoder().encode("\ufeffÄ\r\n"));
    const text = await send(h, json({ dry_run: true }, { "x-request-id": "d" }));
    assertEquals(text.status, 200);
    assertEquals([text.body.dry_run, text.body.message, text.body.request_id], [true, "\ufeffÄ\r\n", "d"]);
    assertEquals([text.body.dkim.signed_by, text.body.dmarc.dkim_alignment], [["example.com"], true]);
    assertEquals(text.body.recipients, [{ address: "b@example.net", suppressed: "bounce" }]);
    h.outbound.result = () => dryRun(Uint8Array.of(0xff, 0));
    const bytes = await send(h, raw(MAIL), "?dry_run=true");
    assertEquals([bytes.body.message, bytes.body.message_base64], [undefined, "/wA="]);
  }));

test("A refusal of the flow is 422, a temporary one and a full disk 503", () =>
  withDoor({}, async (h) => {
    h.outbound.result = () => ({ kind: "refused", refusal: refuse("message_too_large") });
    assertEquals((await send(h, json())).status, 413);
    h.outbound.result = () => ({ kind: "refused", refusal: refuse("header_too_large") });
    assertEquals((await send(h, json())).status, 422);
    h.outbound.result = () => ({ kind: "refused", refusal: refuse("storage_failed") });
    const failed = await send(h, raw(MAIL));
    assertEquals([failed.status, failed.headers.get("retry-after")], [503, "30"]);
    h.outbound.result = null;
    h.outbound.storage = refuse("storage_full");
    assertEquals((await send(h, raw(MAIL))).body.details.smtp_code, 452);
    const large = new Blob([JSON.stringify(good)]).stream();
    const unannounced = { method: "POST", body: large, headers: { "content-type": "application/json" } };
    assertEquals((await send(h, unannounced)).status, 503);
    h.outbound.storage = null;
    h.flow.spoolError = new StoreError("no space", true);
    assertEquals((await send(h, raw(MAIL))).status, 503);
    assertEquals([h.outbound.fields.length, h.outbound.raws.length, h.flow.aborted], [0, 0, 1]);
  }));

test("Mixed line ends are 422, oversize 413, other media and compression 415", () =>
  withDoor({}, async (h) => {
    const mixed = await send(h, raw("From: a\r\n\r\nHello\n"));
    assertEquals([mixed.status, mixed.body.details.reason], [422, "bare_newline"]);
    const large = "From: a\r\n\r\n" + "x".repeat(100_001);
    assertEquals((await send(h, raw(large))).status, 413);
    assertEquals((await send(h, raw(new Blob([large]).stream()))).status, 413);
    assertEquals((await send(h, json({ text: "x".repeat(1_500_000) }))).status, 413);
    const typed = (headers: Record<string, string>) => verdictOf(h.call("/mail/send", json({}, headers)));
    assertEquals(await typed({ "content-type": "text/plain" }), [415, "unsupported_media_type"]);
    assertEquals(await typed({ "content-encoding": "gzip" }), [415, "unsupported_media_type"]);
    assertEquals([h.outbound.fields.length, h.outbound.raws.length], [0, 0]);
  }));

test("Large JSON is parked and sent one at a time, small JSON beside it", () =>
  withDoor({ config: { max_message_size: 4 * 2 ** 20 } }, async (h) => {
    const gate = Promise.withResolvers<void>();
    h.outbound.sendDelay = () => gate.promise;
    const content = new Uint8Array(1_500_000).fill(7).toBase64();
    const attachments = [{ filename: "a", content_type: "application/octet-stream", content }];
    const large = [1, 2, 3].map(() => send(h, json({ attachments })));
    for (let i = 0; i < 1000 && h.flow.discarded + h.outbound.running < 1; i++) await delay(2);
    await delay(50);
    assertEquals(h.outbound.running, 1);
    const small = send(h, json());
    for (let i = 0; i < 1000 && h.outbound.running < 2; i++) await delay(2);
    gate.resolve();
    assertEquals((await Promise.all([...large, small])).map(({ status }) => status), [202, 202, 202, 202]);
    assertEquals(h.outbound.runningMost, 2);
    assertEquals(h.flow.discarded, 3);
    const found = h.outbound.fields.filter(({ fields }) => fields.attachments.length > 0);
    assertEquals(found.map(({ fields }) => fields.attachments[0]!.content.length), [
      1_500_000,
      1_500_000,
      1_500_000,
    ]);
  }));

const delay = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

test("A mail whose sender was told 504 is not sent behind his back", () =>
  withDoor({ config: { handler_timeout: 50 } }, async (h) => {
    const gate = Promise.withResolvers<void>();
    h.flow.finishDelay = () => gate.promise;
    assertEquals((await send(h, raw(MAIL))).status, 504);
    const parked = new Blob([JSON.stringify(good)]).stream();
    const large = { method: "POST", body: parked, headers: { "content-type": "application/json" } };
    assertEquals((await send(h, large)).status, 504);
    gate.resolve();
    for (let i = 0; i < 1000 && h.flow.discarded < 2; i++) await delay(5);
    assertEquals([h.flow.discarded, h.outbound.fields.length, h.outbound.raws.length], [2, 0, 0]);
  }));

test("A large mail whose turn comes too late is not sent", () =>
  withDoor({ config: { handler_timeout: 100 } }, async (h) => {
    const gate = Promise.withResolvers<void>();
    h.outbound.sendDelay = () => gate.promise;
    const large = () =>
      send(h, {
        method: "POST",
        body: new Blob([JSON.stringify(good)]).stream(),
        headers: { "content-type": "application/json" },
      });
    assertEquals((await Promise.all([large(), large()])).map(({ status }) => status), [504, 504]);
    gate.resolve();
    for (let i = 0; i < 1000 && h.flow.discarded < 2; i++) await delay(5);
    // The first was with the flow already when time was up.
    assertEquals([h.flow.discarded, h.outbound.fields.length], [2, 1]);
  }));

test("A body that does not come in time is 408, one of two lengths 400, and nothing is sent", () =>
  withDoor({ config: { read_timeout: 150 } }, async (h) => {
    const head = `POST /mail/send HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${TOKEN}\r\n` +
      "Connection: close\r\nContent-Type: application/json\r\n";
    const body = JSON.stringify(good);
    const slow = await h.raw(`${head}Content-Length: ${body.length}\r\n\r\n${body.slice(0, -1)}`);
    assertStringIncludes(slow, "408 Request Timeout");
    const endless = await h.raw(`${head}Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n`);
    assertStringIncludes(endless, "408 Request Timeout");
    const both = `Transfer-Encoding: chunked\r\nContent-Length: ${body.length}\r\n\r\n`;
    assertStringIncludes(await h.raw(`${head}${both}${body}`), "400 Bad Request");
    const gone = await h.raw(`${head}Content-Length: ${body.length}\r\n\r\n${body.slice(0, 9)}`, {
      halfClose: true,
    });
    assert(!gone.includes("202 Accepted"));
    assertEquals(h.outbound.fields.length, 0);
  }));

test("What is answered is what /openapi.json describes", () =>
  withDoor({}, async (h) => {
    const { body } = await send(h, json());
    assertEquals(z.strictObject(sendAnswer.shape).parse(body), body);
    const first = post({ messages: [good, { ...good, bc: 1 }] }, { "idempotency-key": "k" });
    for (let i = 0; i < 2; i++) {
      const results = await (await h.call("/mail/send/batch", first)).json();
      assertEquals(z.strictObject(batchAnswer.shape).parse(results), results);
    }
    const page = await (await h.call("/v1/events")).json();
    assertEquals(z.strictObject(eventPage.shape).parse(page), page);
    const shown = await (await h.call(`/v1/messages/${ID}`)).json();
    assertEquals(z.strictObject(messageWithJobsSchema.shape).parse(shown), shown);
  }));

test("Sending needs the token", () =>
  withDoor({}, async (h) => {
    for (const path of ["/mail/send", "/mail/send/batch", `/v1/messages/${ID}/cancel`, "/v1/events"]) {
      const method = path === "/v1/events" ? "GET" : "POST";
      assertEquals(await verdictOf(fetch(h.base + path, { method })), [401, "unauthorized"], path);
    }
  }));

test("Cancelling says how many, and 404 for what we don't send", () =>
  withDoor({}, async (h) => {
    const cancelled = await h.call(`/v1/messages/${ID}/cancel`, { method: "POST" });
    assertEquals([cancelled.status, await cancelled.json()], [200, { cancelled: 3 }]);
    for (const id of [ID.replace("Z", "Y"), "x", "%2e%2e"]) {
      const unknown = h.call(`/v1/messages/${id}/cancel`, { method: "POST" });
      assertEquals(await verdictOf(unknown), [404, "not_found"]);
    }
    assertEquals(h.outbound.cancelled, [ID, ID.replace("Z", "Y")]);
  }));
