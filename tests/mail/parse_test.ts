/** What the parser makes of mails that were made to hurt it, and that cutting never changes the result. */

import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { decodeField, extractAttachment, type ParsedMail, parseMail } from "../../src/mail/parse.ts";
import { DEPTH_MAX, MimeScanner, PARTS_MAX } from "../../src/mail/mime_parts.ts";
import { FIELDS_MAX } from "../../src/mail/fields.ts";
import type { MailSource } from "../../src/mail/source.ts";
import { test, withTempDir } from "../support/test.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const OPTIONS = { textCharsMax: 100_000, contents: true };

function sourceOf(text: string | Uint8Array): MailSource {
  const bytes = typeof text === "string" ? encode(text.replace(/\r?\n/g, "\r\n")) : text;
  return { head: bytes.subarray(0, 0), body: { kind: "memory", bytes } };
}

const parse = (text: string | Uint8Array): Promise<ParsedMail> => parseMail(sourceOf(text), OPTIONS);
const mixed = (parts: string, boundary = "b") =>
  `Content-Type: multipart/mixed; boundary=${boundary}\n\n${parts}\n--${boundary}--\n`;

test("Parts beyond the limit are left out and the parse is partial", async () => {
  const mail = await parse(mixed("--b\nContent-Type: x/y\n\n1\n".repeat(100_000)));
  assertEquals([mail.attachments.length, mail.partial], [PARTS_MAX - 1, true]);
});

test("Nesting is followed to the limit and no further", async () => {
  const nested = (levels: number) =>
    Array.from({ length: levels }, (_, i) => `Content-Type: multipart/mixed; boundary=b${i}.\n\n--b${i}.\n`)
      .join("") +
    "\ndeep\n";
  const fine = await parse(nested(DEPTH_MAX));
  assertEquals([fine.text, fine.partial], ["deep", false]);
  const deep = await parse(nested(10_000));
  assertEquals([deep.text, deep.partial], [null, true]);
});

test("Messages within messages stay attachments", async () => {
  const mail = await parse("Content-Type: message/rfc822\n\n".repeat(10_000) + "x");
  assertEquals(mail.attachments.map((a) => a.contentType), ["message/rfc822"]);
});

test("The parts of a digest are messages", async () => {
  const digest = mixed("--b\n\nSubject: one\n\n1\n--b\nContent-Type: text/plain\n\n2").replace(
    "mixed",
    "digest",
  );
  const mail = await parse(digest);
  assertEquals([mail.text, mail.attachments[0]?.contentType], ["2", "message/rfc822"]);
});

test("More fields than the limit are left out", async () => {
  const mail = await parse("X-A: 1\n".repeat(FIELDS_MAX + 10) + "\nx");
  assertEquals([mail.headers.length, mail.partial], [FIELDS_MAX, true]);
});

test("A part's endless header does not take the rest with it", async () => {
  const mail = await parse(
    mixed(`--b\nX-Long: ${"x".repeat(70_000)}\n${"X: 1\n".repeat(2_000)}\n1\n--b\n\n2`),
  );
  assertEquals([mail.text, mail.partial], ["1\n2", true]);
});

test("Text beyond the limit is cut, never through a character", async () => {
  const mail = await parseMail(
    sourceOf("Content-Type: text/plain; charset=utf-8\n\na" + "\u{1f600}".repeat(50)),
    {
      textCharsMax: 10,
      contents: false,
    },
  );
  assertEquals([mail.text, mail.partial], ["a" + "\u{1f600}".repeat(4), true]);
});

test("All texts together have a limit", async () => {
  const part = (type: string) => `--b\nContent-Type: text/${type}\n\n${"x".repeat(60)}\n`;
  const mail = await parseMail(sourceOf(mixed(part("plain").repeat(5) + part("html").repeat(5))), {
    textCharsMax: 100,
    contents: false,
  });
  assertEquals([mail.text?.length, mail.html?.length, mail.partial], [101, 101, true]);
});

test("Text marked as an attachment is one, and HTML is not turned into text", async () => {
  const mail = await parse(mixed(
    "--b\nContent-Disposition: attachment; filename=note.txt\n\nnote\n--b\nContent-Type: text/html\n\n<p>hi</p>",
  ));
  assertEquals([mail.text, mail.html], [null, "<p>hi</p>"]);
  assertEquals(mail.attachments.map((a) => [a.filename, a.contentType, a.disposition]), [
    ["note.txt", "text/plain", "attachment"],
  ]);
});

test("Comments, quotes, folding and case in Content-Type are read as RFC 2045 has them", async () => {
  const mail = await parse(
    'Content-Type: MULTIPART/Mixed (a ; comment); charset="x;y\\"";\n BOUNDARY="b (c)"\n\n--b (c)\n' +
      "Content-Type: TEXT/Html (really)\nContent-Transfer-Encoding: (c) BASE64\n\nPGI+\n--b (c)--\n",
  );
  assertEquals([mail.html, mail.partial], ["<b>", false]);
});

test("Hostile fields take no time to speak of", async () => {
  const hostile = [
    "Subject: " + "=?utf-8?q?a?= ".repeat(20_000),
    "From: " + "=?utf-8?q?a?= ".repeat(20_000) + "<a@b>",
    "Subject: =?utf-8?b?" + "QUFB".repeat(50_000) + "?=",
    "To: " + "a@b.example, ".repeat(50_000),
    "From: " + '"\\"'.repeat(60_000) + " =?utf-8?q?a?= <a@b>",
    "From: " + "=?a?q?".repeat(40_000),
    "Content-Type: application/x; " + Array.from({ length: 20_000 }, (_, i) => `name*${i}=a`).join(";"),
    "Content-Type: application/x; name*999999999=a; name*0*=utf-8''%",
    "Content-Type: text/plain" + "(".repeat(100_000),
    "Subject: x" + "\n a".repeat(30_000),
  ];
  const start = performance.now();
  for (const field of hostile) {
    assertEquals((await parse(field + "\n\nx")).headers.length, 1, field.slice(0, 40));
  }
  // Linear, these are well under a second; quadratic, they are minutes. The margin is for a busy machine.
  assert(performance.now() - start < 30_000);
});

test("Decoded names can't add addresses to a field", () => {
  const decoded = (value: string) => decodeField({ name: "From", value });
  assertEquals(decoded("=?utf-8?q?J=C3=B6rg?= <j@a.example>"), "Jörg <j@a.example>");
  assertEquals(
    decoded("=?utf-8?q?ceo=40bank=2C_=22x=22?= <m@evil.example>"),
    '"ceo@bank, \\"x\\"" <m@evil.example>',
  );
  assertEquals(decoded('"=?utf-8?q?a=22_=3Cb=40c=3E?=" <m@e.example>'), '"a\\" <b@c>" <m@e.example>');
  assertEquals(decoded('"a \\" =?utf-8?q?b?=" <m@e.example>'), '"a \\" b" <m@e.example>');
  assertEquals(decoded('"unclosed =?utf-8?q?b?='), '"unclosed b');
  assertEquals(decodeField({ name: "Subject", value: "=?utf-8?q?a=2C_=3Cb=3E=0D=0AX:_y?=" }), "a, <b> X: y");
});

test("How the bytes are cut never changes the result", async () => {
  const bytes = encode(
    "Subject: a\r\n\tfolded\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npreamble\r\n--b\r\n\r\ntext\r\n" +
      "--b\r\nContent-Type: a/b\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\na=3D=\r\nb\r\n\r\n--b--\r\n",
  );
  const scan = (cuts: number[]) => {
    const scanner = new MimeScanner({ textBytesMax: 1_000, collect: () => true });
    let from = 0;
    for (const to of [...cuts, bytes.length]) {
      scanner.push(bytes.subarray(from, to));
      from = to;
    }
    const mail = scanner.end();
    return [
      mail.fields,
      mail.texts.map((text) => text.body.result()),
      mail.attachments.map((attachment) => attachment.body.result()),
      mail.partial,
    ];
  };
  const whole = scan([]);
  assertEquals(whole[2], [encode("a=b\r\n")]);
  for (let cut = 1; cut < bytes.length; cut++) assertEquals(scan([cut]), whole, `cut at ${cut}`);
  assertEquals(scan(Array.from({ length: bytes.length - 1 }, (_, i) => i + 1)), whole);
});

test("Nothing throws, whatever the bytes", async () => {
  const words = [
    "\r\n",
    "\n",
    "--b",
    "--b--",
    "\r\n\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n",
    "=?utf-8?q?",
    "Content-Type: text/html\r\n",
    "Content-Transfer-Encoding: base64\r\n",
    "\0",
    "\xff",
    '"',
    "(",
    "boundary*0=b",
    "=",
    " ",
    "a:",
  ];
  const hostile = fc.array(fc.oneof(fc.constantFrom(...words), fc.string({ maxLength: 5 })), {
    maxLength: 40,
  });
  await fc.assert(
    fc.asyncProperty(hostile, async (pieces) => {
      const mail = await parse(encode(pieces.join("")));
      assert(mail.text === null || typeof mail.text === "string");
      JSON.stringify(mail);
    }),
    { numRuns: 300 },
  );
});

test("extractAttachment() gives what the payload counted, from memory and from a file", () =>
  withTempDir(async (dir) => {
    const bytes = encode(
      mixed(
        "--b\nContent-Type: a/b\n\nfirst\n--b\n\ntext\n--b\nContent-Type: image/png; name=x.png\n" +
          "Content-Transfer-Encoding: base64\n\n" + btoa("y".repeat(300_000)),
      ).replaceAll("\n", "\r\n"),
    );
    const path = `${dir}/blob`;
    await Deno.writeFile(path, new Uint8Array([...encode("skipped"), ...bytes]));
    const sources: MailSource[] = [sourceOf(bytes), {
      head: bytes.slice(0, 30),
      body: { kind: "file", path, offset: 37, length: bytes.length - 30 },
    }];
    for (const source of sources) {
      const mail = await parseMail(source, { textCharsMax: 100, contents: false });
      assertEquals(mail.attachments.map((a) => [a.sizeBytes, a.content]), [[5, null], [300_000, null]]);
      const png = await extractAttachment(source, 1);
      assertEquals([png?.filename, png?.content?.length, png?.content?.[0]], ["x.png", 300_000, 0x79]);
      assertEquals((await extractAttachment(source, 0))?.content, encode("first"));
      assertEquals(await extractAttachment(source, 2), null);
    }
    const short: MailSource = { head: bytes, body: { kind: "file", path, offset: 0, length: 10_000_000 } };
    const error = await assertRejects(() => parseMail(short, OPTIONS), Error, "shorter than recorded");
    assertStringIncludes(error.message, "Cannot read the message");
  }));
