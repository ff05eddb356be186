/**
 * What goes out verifies with an implementation that shares nothing with ours, as it came out of SMTP at the other
 * end: mail of odd shapes, because there two readings of RFC 6376 would differ.
 */

import { assert, assertEquals } from "@std/assert";
import { latin1, type TestDaemon, withDaemon } from "../support/harness.ts";
import { MailSink } from "../support/mail_sink.ts";
import { hasSecondVerifier, verifyAgain } from "../support/second_verifier.ts";
import { mxZone, sendMail, switchOnSigning } from "../support/sending.ts";
import { testIf } from "../support/test.ts";
import { until } from "../support/until.ts";

const BOTH = ["rsa-sha256 pass", "ed25519-sha256 pass"];

const attachment = (values: Record<string, unknown>) => ({
  filename: "a.txt",
  content_type: "text/plain",
  content: btoa("Hello"),
  ...values,
});

/** Fields of a send, by what is odd about it. */
const FIELDS: Record<string, Record<string, unknown>> = {
  "nothing": {},
  "no subject and no text": { subject: "", text: "" },
  "a folded subject": { subject: "words and more ".repeat(60).trim() },
  "a subject in many encoded words": { subject: "🎉".repeat(499) },
  "a subject like an encoded word": { subject: "=?utf-8?q?not=20one?= and  blanks" },
  "names and addresses of all kinds": {
    from: '"App, Inc. \\"quoted\\"" <app@example.com>',
    to: ["Ünï <ann@customer.example>", '"a b"@customer.example', "grüße@customer.example"],
    reply_to: ['"(c)" <c@customer.example>'],
  },
  "blanks where they are ignored": { text: "a  \t b \t \r\n \r\n\t\r\n\r\n\r\n" },
  "line ends of all kinds": { text: "a\rb\nc\r\n\n\r\rd" },
  "dots and From lines": { text: ".\n..\n.x\nFrom me\n" },
  "long lines": { text: "x".repeat(5000), html: `<p>${"ü".repeat(5000)}</p>` },
  "fields of its own": {
    headers: {
      "X-Blanks": "a  b   c",
      "References": "<a@b.example> <c@d.example>",
      "List-Id": '"a b" <list.example.com>',
      "X-Words": "grüße",
    },
  },
  "one-click unsubscribing": { list_unsubscribe: true },
  "attachments": {
    html: "<p>Hello</p>",
    attachments: [
      attachment({ filename: 'grüße; "x".txt' }),
      attachment({ content_id: "i@x", content: "" }),
      attachment({ content_type: "message/rfc822", content: btoa("Subject: x\n\ngr\xc3\xbc\xc3\x9fe") }),
    ],
  },
};

const HEAD = "From: app@example.com\r\nTo: ann@customer.example\r\n";

/** Bytes of a message, by what is odd about it; latin1 text, a byte for each character. */
const RAW: Record<string, string> = {
  "nothing": `${HEAD}Subject: x\r\n\r\nbody\r\n`,
  "no body": `${HEAD}\r\n`,
  "no empty line": HEAD,
  "no end of the last line": `${HEAD}\r\nbody`,
  "blanks without a line end": `${HEAD}\r\n   `,
  "empty lines only": `${HEAD}\r\n\r\n\r\n\r\n`,
  "blanks where they are ignored": `${HEAD}Subject:   a \t b  \r\n\r\na  \t b \r\n \r\n\t\r\n`,
  "folding":
    "From:\r\n\tapp@example.com\r\nTo: a@customer.example,\r\n  b@customer.example\r\nSUBJECT:\r\n x\r\n\r\nbody\r\n",
  "8-bit text in header and body": `${HEAD}Subject: gr\xc3\xbc\xc3\x9fe\r\n\r\n\xff\xfe\r\n`,
  "Bcc and Return-Path": `Return-Path: <x@y.example>\r\n${HEAD}Bcc:\r\n b@customer.example\r\n\r\nbody\r\n`,
  "a signed field twice":
    `List-Unsubscribe: <mailto:a@example.com>\r\n${HEAD}List-Unsubscribe: <mailto:b@example.com>\r\n\r\nbody\r\n`,
  "a line of blanks in a field": `${HEAD}Subject: a\r\n \t\r\n b\r\nX: y\r\n\r\nbody\r\n`,
  "no blank after the colon": `From:app@example.com\r\nTo:ann@customer.example\r\nSubject:\r\n\r\nbody\r\n`,
  "an author in capitals": `From: APP@EXAMPLE.COM\r\nTo: ann@customer.example\r\n\r\nbody\r\n`,
  "fields that may be repeated": `Comments: a\r\n${HEAD}Comments: b\r\nKeywords:\r\n\r\nbody\r\n`,
  "dots": `${HEAD}\r\n.\r\n..\r\n.x\r\n`,
};

async function sendAll(d: TestDaemon): Promise<number> {
  let copies = 0;
  for (const [what, values] of Object.entries(FIELDS)) {
    const answer = await sendMail(d, values);
    assertEquals(answer.status, 202, `${what}: ${answer.text}`);
    copies += answer.json.recipients.length;
  }
  for (const [what, text] of Object.entries(RAW)) {
    const body = Uint8Array.from(text, (c) => c.charCodeAt(0));
    const headers = { "content-type": "message/rfc822" };
    const answer = await d.api("/mail/send", { method: "POST", body, headers });
    assertEquals(answer.status, 202, `${what}: ${answer.text}`);
    copies += answer.json.recipients.length;
  }
  return copies;
}

async function recordsOf(d: TestDaemon): Promise<Record<string, string>> {
  const { items } = (await d.api("/v1/domains/example.com/dkim/records")).json;
  return Object.fromEntries(items.map(({ name, value }: { name: string; value: string }) => [name, value]));
}

testIf(
  hasSecondVerifier(),
  "no python3-dkim with python3-nacl",
  "A second implementation verifies both signatures of what came out at the other end",
  async () => {
    const sink = await MailSink.start({ keep: true });
    try {
      await withDaemon(
        {
          outbound_transport: "direct",
          outbound_port: sink.port,
          outbound_allow_private: true,
          public_url: "https://mail.example.com",
        },
        async (d) => {
          await switchOnSigning(d);
          const copies = await sendAll(d);
          await until(() => sink.count === copies, "all copies");
          const records = await recordsOf(d);
          const mails = sink.mails.map(({ bytes }) => bytes);
          const found = await verifyAgain(mails, records);
          found.forEach((results, i) => assertEquals(results, BOTH, latin1(mails[i]!)));

          // A verifier that says yes to everything would say so here as well.
          const changed = mails.filter((mail) => latin1(mail).includes("\r\n\r\nHello Ann.")).flatMap(
            (mail) => {
              const text = latin1(mail);
              return [
                text.replace("Hello Ann.", "Hello Eve."),
                `From: eve@evil.example\r\n${text}`,
                text.replace("\r\nTo: ", "\r\nSubject: Another\r\nTo: "),
              ];
            },
          );
          assert(changed.length > 0);
          const bytes = changed.map((text) => Uint8Array.from(text, (c) => c.charCodeAt(0)));
          for (const results of await verifyAgain(bytes, records)) {
            assert(
              results.length === 2 && !results.some((result) => result.endsWith(" pass")),
              String(results),
            );
          }
        },
        { zone: mxZone("customer.example", [["mx.customer.example", 10, "127.0.0.1"]]) },
      );
    } finally {
      await sink.close();
    }
  },
);
