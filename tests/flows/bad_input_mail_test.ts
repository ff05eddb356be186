/**
 * Mail that is meant to break its reader, through the whole daemon: it is stored byte for byte, its webhook comes,
 * and says where the parsing stopped. The fine print of parsing is tested in tests/mail.
 *
 * 25 ten thousand levels (RFC 2046 5.1)              taken, partial, raw intact
 * 26 100,000 parts, as many addresses as fit         taken; parts beyond the cap are left out, partial
 * 27 boundaries (RFC 2046 5.1.1)                     taken, partial where one is missing
 * 28 encoded words (RFC 2047 2, 5, 6.2)              taken, no line breaks out of them
 * 29 parameters in pieces (RFC 2231 3)               taken, bounded
 * 30 file names (RFC 2183 2.3)                       data, no path, no control characters
 * 31 broken encodings (RFC 2045 6)                   partial, archives are never opened
 * 32 message/partial, external-body (RFC 2046 5.2)   attachments, never joined or fetched
 * 33 fields that are there twice (RFC 5322 3.6)      partial, the first one counts, each time
 * 34 empty, header only, body only, BOM, mbox        taken
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { idOf, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { test } from "../support/test.ts";

// deno-lint-ignore no-explicit-any -- the payload's own tests hold its shape; here single values are picked out
type Payload = any;

const multipart = (parts: string[], boundary = "b") =>
  plainMail({ "Content-Type": `multipart/mixed; boundary=${boundary}` }, "") +
  parts.map((part) => `--${boundary}\r\n${part}\r\n`).join("") + `--${boundary}--\r\n`;

/** Sends the mail, checks that it is stored as it was, and gives its webhook. */
async function received(d: TestDaemon, mail: string): Promise<Payload> {
  const id = idOf(await d.send(mail));
  const raw = await d.raw(id);
  assert(raw.endsWith(mail), `${mail.slice(0, 60)} was changed`);
  return await d.payload(id);
}

test("25 to 29: endless structures are cut off, said to be partial, and stop nobody", () =>
  withDaemon({ webhook_inline_max: 65536 }, async (d) => {
    const levels = Array.from(
      { length: 10_000 },
      (_, i) => `--b${i}\r\nContent-Type: multipart/mixed; boundary=b${i + 1}\r\n\r\n`,
    );
    const continued = (count: number) => Array.from({ length: count }, (_, i) => ` n*${i}=a;`);
    const partial: Record<string, string> = {
      "10,000 levels": plainMail({ "Content-Type": "multipart/mixed; boundary=b0" }, levels.join("")),
      "100,000 parts": multipart(new Array(100_000).fill("\r\nx")),
      "40,000 addresses": plainMail({ Cc: "a@b.c,".repeat(40_000) }),
      "no boundary": plainMail({ "Content-Type": "multipart/mixed" }, "--b\r\n\r\nx\r\n"),
      "50,000 continuations": multipart([`Content-Type: a/b;${continued(50_000).join("")}\r\n\r\nx`]),
      "a 2 MB word": multipart([`Content-Type: a/b; name="=?utf-8?b?${"QUFB".repeat(500_000)}?="\r\n\r\nx`]),
      "more text than is kept": multipart(
        new Array(60).fill(`\r\n${("y".repeat(70) + "\r\n").repeat(300)}`),
      ),
    };
    const complete: Record<string, string> = {
      "messages in messages": multipart(["Content-Type: message/rfc822\r\n\r\n".repeat(10_000)]),
      "17,000 words": plainMail({ Subject: "=?utf-8?q?a?= ".repeat(17_000) }),
      "9,000 addresses": plainMail({ Cc: "a@b.example,".repeat(9000) }),
      "250 KB of brackets": plainMail({ "Reply-To": '(<"'.repeat(80_000) }),
      "a high index": multipart(["Content-Type: a/b; n*999999999=x; n*0*=utf-8''%41; n*-1=b\r\n\r\nx"]),
      "a boundary within another": multipart([
        "Content-Type: multipart/mixed; boundary=bb\r\n\r\n--bb\r\n\r\nx\r\n--bb--",
      ]),
      "never closed": plainMail({ "Content-Type": "multipart/mixed; boundary=b" }, "--b\r\n\r\nx\r\n"),
    };
    for (const [what, mail] of Object.entries(partial)) {
      assertEquals((await received(d, mail)).parse_status, "partial", what);
    }
    for (const [what, mail] of Object.entries(complete)) {
      assertEquals((await received(d, mail)).parse_status, "complete", what);
    }
    // Not by giving up: each was read as far as it goes.
    assert(!d.lines.some((line) => line.msg === "Worker replaced" || line.msg.startsWith("Cannot parse")));
  }));

test("27, 29, 31: whatever boundaries, parameters and encodings say, the parts are found, bounded or left out", () =>
  withDaemon({}, async (d) => {
    const inner = (name: string) =>
      `Content-Type: multipart/mixed; boundary=${name}\r\n\r\n--${name}\r\n\r\nin\r\n--${name}--`;
    const typed = (type: string, boundary: string) =>
      multipart(["\r\nx"], boundary).replace(/Content-Type: .*/, `Content-Type: ${type}`);
    const named = (parameters: string) =>
      multipart([`Content-Disposition: attachment; ${parameters}\r\n\r\nx`]);
    const encoded = (encoding: string, body: string) =>
      multipart([`Content-Transfer-Encoding: ${encoding}\r\n\r\n${body}`]);
    const names = (payload: Payload) => payload.attachments.map(({ filename }: Payload) => filename).join();
    const cases: [what: string, mail: string, status: string, found: string][] = [
      ["70 characters", multipart(["\r\nx"], "l".repeat(70)), "complete", "x"],
      ["over 70 characters", multipart(["\r\nx"], "l".repeat(900)), "complete", "x"],
      ["a prefix of the outer one", multipart([inner("b"), "\r\nout"], "bb"), "complete", "in\nout"],
      ["an outer one that is a prefix", multipart([inner("bb"), "\r\nout"], "b"), "complete", "in\nout"],
      ["the same inside", multipart([inner("b"), "\r\nout"], "b"), "complete", "in\nout"],
      [
        "blanks behind it",
        multipart(["\r\nx", "\r\ny"]).replaceAll("--b\r\n", "--b \t\r\n"),
        "complete",
        "x\ny",
      ],
      ["none", typed("multipart/mixed", "b"), "partial", ""],
      ["an empty one", typed('multipart/mixed; boundary=""', ""), "partial", ""],
      ["one that never comes", typed("multipart/mixed; boundary=other", "b"), "partial", ""],
      [
        "two, of which the first is in use",
        typed("multipart/mixed; boundary=b; boundary=c", "b"),
        "complete",
        "x",
      ],
      [
        "two, of which the second is in use",
        typed("multipart/mixed; boundary=b; boundary=c", "c"),
        "partial",
        "",
      ],
      ["an end and nothing else", typed("multipart/mixed; boundary=b", "c") + "--b--\r\n", "partial", ""],
      [
        "an encoding on a multipart",
        multipart(["\r\nx"]).replace("Subject", "Content-Transfer-Encoding: base64\r\nSubject"),
        "complete",
        "x",
      ],
      ["an encoding that nobody knows", encoded("x-rot13", "x"), "complete", "x"],
      ["broken quoted-printable", encoded("quoted-printable", "a=ZZb=\r\n=4"), "partial", "a=ZZb=4"],
      ["broken base64", encoded("base64", "QUF!B*Q=Q\r\nQ"), "partial", "AAAA"],
      [
        "names in all three ways",
        named("filename=a; filename*=utf-8''b%0D%0AX; filename*0=c"),
        "complete",
        "bXc",
      ],
      [
        "pieces with gaps",
        named("filename*0=a; filename*2=c; filename*999999999=z; filename*-1=q"),
        "complete",
        "acz",
      ],
      ["bytes that are no text", named("filename*=utf-8''%ff%00..%2fx"), "complete", "\ufffd../x"],
      ["a charset that nobody knows", named("filename*=nonsense''a%41"), "complete", "aA"],
    ];
    for (const [what, mail, status, found] of cases) {
      const payload = await received(d, mail);
      const said = payload.attachments.length > 0 ? names(payload) : (payload.text ?? "").trim();
      assertEquals([what, payload.parse_status, said], [what, status, found]);
    }
    // 40 bytes that would be 100 MB: an archive is an attachment like any other.
    const gzip =
      "Content-Type: application/gzip\r\nContent-Encoding: gzip\r\nContent-Transfer-Encoding: base64\r\n\r\n" +
      btoa("\x1f\x8b\x08\0\0\0\0\0\0\x03" + "\0".repeat(30));
    assertEquals((await received(d, multipart([gzip]))).attachments[0].size, 40);
  }));

test("28, 30 to 34: what a stranger names, encodes or leaves out is data and nothing else", () =>
  withDaemon({}, async (d) => {
    const named = (name: string) => `Content-Disposition: attachment; filename="${name}"\r\n\r\nx`;
    const names = [
      "../../etc/passwd",
      "a\0b.txt",
      "=?utf-8?q?=E2=80=AEgpj.exe?=",
      "=?utf-8?q?a=0D=0AX:_y?=",
      "CON",
    ];
    const files = await received(d, multipart(names.map(named)));
    // deno-lint-ignore no-control-regex -- finding control characters is the point
    for (const { filename } of files.attachments) assert(!/[\u0000-\u001f\u202e]/.test(filename), filename);
    assertEquals(files.attachments.length, names.length);

    const injected = await received(
      d,
      plainMail({ Subject: "=?utf-8?q?a=0D=0ABcc:_x=40y?= =?x-none?q?b?=" }),
    );
    assertMatch(injected.subject, /^a +Bcc: x@y/);
    const zip = "Content-Type: application/zip\r\nContent-Transfer-Encoding: base64\r\n\r\nUEsDBBQ!!!AAAAI";
    const remote =
      `Content-Type: message/external-body; access-type=URL; URL="${d.receiver.url}/external"\r\n\r\nx`;
    const strange = await received(
      d,
      multipart([zip, remote, "Content-Type: message/partial; id=a; number=1\r\n\r\nx"]),
    );
    assertEquals([strange.parse_status, strange.attachments.length], ["partial", 3]);
    // The other half of a message/partial makes nothing whole.
    const half = await received(
      d,
      plainMail({ "Content-Type": "message/partial; id=a; number=2; total=2" }, "rest\r\n"),
    );
    assertEquals([half.text, half.attachments.length], [null, 1]);
    assert(d.receiver.requests.every(({ method, path }) => method === "POST" && path === "/webhook"));

    const twice = await received(
      d,
      "Subject: one\r\nSubject: two\r\n" + plainMail({}).replace(/Subject: .*\r\n/, ""),
    );
    assertEquals([twice.parse_status, twice.subject], ["partial", "one"]);
    // Each time the same: what is first counts, and the payload says that there is more.
    const doubled: [mail: string, shown: Record<string, unknown>][] = [
      ["From: one@sender.example\r\n" + plainMail(), { from_header: "one@sender.example", text: "Hello.\n" }],
      [
        "Content-Type: text/html\r\n" + plainMail({ "Content-Type": "text/plain" }, "<p>x</p>\r\n"),
        { html: "<p>x</p>\n", text: null },
      ],
      ["Message-ID: <one@x>\r\n" + plainMail({ "Message-ID": "<two@x>" }), { message_id: "<one@x>" }],
      ["Content-Type: multipart/mixed; boundary=z\r\n" + multipart(["\r\nx"]), { text: null }],
    ];
    for (const [mail, shown] of doubled) {
      for (let i = 0; i < 2; i++) {
        const payload = await received(d, mail);
        const names = Object.keys(shown);
        assertEquals(Object.fromEntries(names.map((name) => [name, payload[name]])), shown);
        assertEquals(payload.parse_status, "partial");
      }
    }
    const words: [subject: string, shown: string][] = [
      ["=?utf-8?q?=3D=3Futf-8=3Fq=3Fx=3F=3D?=", "=?utf-8?q?x?="],
      ["=?utf-8?q?=C3?= =?utf-8?q?=BC?=", "\u00fc"],
      ["=?utf-8?q?a=0D=0A=0D=0Ab?=", "a b"],
      ["=?utf-8?x?abc?= =?utf-8?q?", "=?utf-8?x?abc?= =?utf-8?q?"],
    ];
    for (const [subject, shown] of words) {
      assertEquals((await received(d, plainMail({ Subject: subject }))).subject.replace(/ +/g, " "), shown);
    }
    const bom = String.fromCharCode(0xef, 0xbb, 0xbf);
    for (
      const odd of [
        "",
        "\r\n",
        "Subject: header only\r\n",
        "\r\nbody only\r\n",
        "From a@b Mon Jan  1\r\n" + plainMail(),
      ]
    ) {
      await received(d, odd);
    }
    const id = idOf(await d.send(bom + plainMail()));
    assertEquals((await d.payload(id)).id, id);
  }));
