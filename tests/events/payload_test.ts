/** Payloads beyond the golden files: sizes, order, what is left when parsing is. */

import { assert, assertEquals, assertLess, assertStringIncludes } from "@std/assert";
import { buildPayload, type MailReceived, type PayloadInput } from "../../src/events/payload.ts";
import { verifySignedPath } from "../../src/events/signed_url.ts";
import { messageOf, rawOf } from "../support/memory_store.ts";
import { test, withTempDir } from "../support/test.ts";

const KEY = "ab".repeat(32);
const NOW = Date.UTC(2026, 0, 1);

function inputOf(text: string | Uint8Array, values: Partial<PayloadInput> = {}): PayloadInput {
  return {
    record: messageOf(),
    raw: rawOf(text),
    recipients: ["b@ours.example", "c@ours.example"],
    inlineBytesMax: 1024 * 1024,
    baseUrl: "https://mail.ours.example",
    urlKey: KEY,
    nowMs: NOW,
    ...values,
  };
}

async function build(input: PayloadInput): Promise<MailReceived> {
  return JSON.parse(new TextDecoder().decode(await buildPayload(structuredClone(input))));
}

test("GoMail's fields come first and in their order", async () => {
  const payload = await build(inputOf("Subject: x\n\nHi"));
  assertEquals(Object.keys(payload), [
    "event",
    "id",
    "sender",
    "recipient",
    "recipients",
    "received_at",
    "raw",
    "size_bytes",
    "subject",
    "message_id",
    "from_header",
    "to_header",
    "headers",
    "text",
    "html",
    "attachments",
    "parse_status",
    "connection",
    "authentication",
    "verdict",
    "report",
    "metadata",
  ]);
  assertEquals([payload.recipient, payload.recipients.length], ["b@ours.example", 2]);
  assertEquals(payload.received_at, "2026-01-01T00:00:00.000Z");
});

test("raw is the exact bytes, a leading U+FEFF and bare control characters included", async () => {
  const text = "\ufeffSubject: x\r\n\r\n\u0000\u0001\u2028 end";
  const bytes = new TextEncoder().encode(text);
  const payload = await build(inputOf(bytes));
  assertEquals(payload.raw, text);
  assertEquals(payload.size_bytes, bytes.length);
});

test("A record that wrongly says UTF-8 does not make raw wrong", async () => {
  const payload = await build(inputOf(new Uint8Array([0x41, 0xff, 0x42])));
  assertEquals([payload.raw, payload.raw_base64], [undefined, "Qf9C"]);
});

test("A 24 MB mail makes a small payload, and its URLs verify for a day", () =>
  withTempDir(async (dir) => {
    const head = new TextEncoder().encode("Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    const line = btoa("z".repeat(57)) + "\r\n";
    const body = new TextEncoder().encode(
      "--b\r\n\r\nThe text.\r\n--b\r\nContent-Type: application/pdf; name=a.pdf\r\n" +
        "Content-Transfer-Encoding: base64\r\n\r\n" + line.repeat(300_000) + "--b--\r\n",
    );
    await Deno.writeFile(`${dir}/blob`, body);
    const raw = {
      head,
      body: { kind: "file" as const, path: `${dir}/blob`, offset: 0, length: body.length },
    };
    const input = inputOf("", { raw });
    assertLess((await buildPayload(input)).length, 4_000);
    const payload = await build(input);
    assertEquals([payload.text, payload.parse_status, payload.size_bytes], [
      "The text.",
      "complete",
      head.length + body.length,
    ]);
    const [attachment] = payload.attachments;
    assertEquals([attachment?.size, attachment?.content_base64], [57 * 300_000, undefined]);
    for (const link of [payload.raw_url, attachment?.url]) {
      const url = URL.parse(link ?? "");
      assert(url && url.origin === "https://mail.ours.example");
      const good = (nowMs: number) => verifySignedPath(KEY, url.pathname, url.searchParams, nowMs);
      assertEquals([good(NOW + 86_399_000), good(NOW + 86_400_000)], [true, false]);
    }
  }));

test("Text over the limit is cut and the parse is partial", async () => {
  const payload = await build(inputOf("Subject: x\n\n" + "word ".repeat(100_000), { inlineBytesMax: 1000 }));
  assertEquals([payload.text?.length, payload.parse_status], [64 * 1024, "partial"]);
  assert(payload.raw_url);
});

test("Without parsing everything else is there", async () => {
  const payload = await build(inputOf("Subject: x\n\nHi", { skipParse: true }));
  assertEquals([payload.headers, payload.text, payload.attachments, payload.parse_status], [
    [],
    null,
    [],
    "partial",
  ]);
  assertStringIncludes(payload.raw ?? "", "Hi");
  assertEquals(payload.subject, "Hello");
});
