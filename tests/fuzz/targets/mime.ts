/** Parsing and the webhook's body: trees are found whole, and whatever came in makes the promised JSON. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { buildPayload, type MailReceived } from "../../../src/events/payload.ts";
import { verifySignedPath } from "../../../src/events/signed_url.ts";
import { MimeScanner, PARTS_MAX } from "../../../src/mail/mime_parts.ts";
import { extractAttachment, parseMail } from "../../../src/mail/parse.ts";
import type { MailSource } from "../../../src/mail/source.ts";
import { messageOf } from "../../support/memory_store.ts";
import { cutAt, cuts, eachByte, latin1, latin1Text, mutated, repeated, soup } from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";
import { contentOf, leaves, rendered, tree, WORDS } from "./mime_trees.ts";
import { payloadShape } from "./payload_shape.ts";

const KEY = "5c".repeat(32);
const BASE = "https://mail.ours.example";
const NOW = Date.UTC(2026, 0, 1);

function sourceOf(text: string, headBytes = 0): MailSource {
  const bytes = latin1(text);
  return { head: bytes.slice(0, headBytes), body: { kind: "memory", bytes: bytes.slice(headBytes) } };
}

const options = { textCharsMax: 10_000, contents: true };

const wholeTrees = property("a-tree-is-found-whole", tree, async (tree) => {
  const mail = await parseMail(sourceOf("Subject: x\r\n" + rendered(tree)), options);
  const [files, texts] = [
    leaves(tree).filter((leaf) => leaf.attached),
    leaves(tree).filter((leaf) => !leaf.attached),
  ];
  assertEquals(
    mail.attachments.map(({ content }) => contentOf(content)),
    files.map(({ content }) => content),
  );
  assertEquals(
    mail.attachments.map(({ contentType, sizeBytes }) => [contentType, sizeBytes]),
    files.map(({ type, content }) => [type, content.length]),
  );
  for (const { filename } of mail.attachments) {
    assert(/^f 0[.\d]*\.bin$/.test(filename ?? ""), `file name ${filename}`);
  }
  for (const [kind, found] of [["text/plain", mail.text], ["text/html", mail.html]] as const) {
    const wanted = texts.filter(({ type, content }) => type === kind && content !== "").map(({ content }) =>
      content
    );
    assertEquals(found, wanted.length > 0 ? wanted.join("\n") : null);
  }
  assertEquals(mail.partial, false);
});

const mail = fc.oneof(
  soup(WORDS, 25),
  mutated(tree.map((node) => "Subject: x\r\n" + rendered(node)), WORDS),
  soup(WORDS, 25).map((text) => "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n" + text),
);

function scanned(pieces: readonly Uint8Array[]) {
  const scanner = new MimeScanner({ textBytesMax: 4_000, collect: (n) => n % 2 === 0 });
  // The scanner may not keep what it is given: each piece is overwritten once it was taken.
  for (const piece of pieces) {
    const own = piece.slice();
    scanner.push(own);
    own.fill(0x2d);
  }
  const { fields, texts, attachments, partial } = scanner.end();
  const bodies = [...texts, ...attachments].map((
    { fields, body },
  ) => [fields, body.sizeBytes, latin1Text(body.result())]);
  return { fields, bodies, types: attachments.map(({ contentType }) => contentType), partial };
}

const cutting = property("cuts-change-nothing", fc.record({ mail, cuts }), ({ mail, cuts }) => {
  const whole = scanned([latin1(mail)]);
  assertEquals(scanned(cutAt(latin1(mail), cuts)), whole);
  if (mail.length < 2_000) assertEquals(scanned(eachByte(latin1(mail))), whole);
});

const payloads = property(
  "any-mail-makes-the-promised-json",
  fc.record({
    mail,
    inlineBytesMax: fc.constantFrom(0, 200, 2 ** 20),
    utf8: fc.boolean(),
    headBytes: fc.nat(100),
    skipParse: fc.constantFrom(false, false, false, true),
  }),
  async ({ mail, inlineBytesMax, utf8, headBytes, skipParse }) => {
    const bytes = await buildPayload({
      record: messageOf({ utf8 }),
      raw: sourceOf(mail, headBytes),
      recipients: ["b@ours.example"],
      inlineBytesMax,
      baseUrl: BASE,
      urlKey: KEY,
      nowMs: NOW,
      skipParse,
    });
    const payload = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(bytes)) as MailReceived;
    payloadShape(payload, "payload");
    assertEquals([payload.size_bytes, payload.metadata.attachments], [
      mail.length,
      payload.attachments.length,
    ]);
    const inline = mail.length <= inlineBytesMax;
    checkRaw(payload, mail, inline);
    for (const { content_base64, size, url } of payload.attachments) {
      assertEquals([content_base64 !== undefined, url !== undefined], [inline, !inline]);
      if (content_base64 !== undefined) assertEquals(Uint8Array.fromBase64(content_base64).length, size);
      if (url !== undefined) checkUrl(url);
    }
    const chars = (payload.text ?? "").length + (payload.html ?? "").length;
    assert(chars <= 2 * Math.max(inlineBytesMax, 64 * 1024), "more text than the limit");
    for (const [, value] of payload.headers) {
      assert(!/\p{Cc}/u.test(value), "control characters in a header");
    }
  },
);

/** Exactly one of the three forms, and exact. */
function checkRaw({ raw, raw_base64, raw_url }: MailReceived, mail: string, inline: boolean): void {
  assertEquals([raw, raw_base64, raw_url].filter((form) => form !== undefined).length, 1);
  if (!inline) return checkUrl(raw_url!);
  const bytes = raw === undefined ? Uint8Array.fromBase64(raw_base64!) : new TextEncoder().encode(raw);
  assertEquals(latin1Text(bytes), mail);
}

function checkUrl(url: string): void {
  const { origin, pathname, search } = new URL(url);
  assertEquals(origin, BASE);
  assert(verifySignedPath(KEY, pathname, search.slice(1), NOW), url);
}

const extraction = property(
  "one-attachment-is-the-same-alone",
  fc.record({ mail, index: fc.nat(5) }),
  async ({ mail, index }) => {
    const source = sourceOf(mail);
    const all = await parseMail(source, options);
    const alone = await extractAttachment(source, index);
    assertEquals(alone, all.attachments[index] ?? null);
  },
);

const large = largeProperty("a-large-mail-ends", repeated(WORDS, 2 ** 20), async (mail) => {
  const parsed = await parseMail(sourceOf("Content-Type: multipart/mixed; boundary=b\r\n" + mail), options);
  assert(parsed.attachments.length <= PARTS_MAX && (parsed.text ?? "").length <= options.textCharsMax);
});

export function open(): FuzzTarget {
  return { properties: [wholeTrees, cutting, payloads, extraction, large] };
}
