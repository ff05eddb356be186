/**
 * Delivery status notifications as we write them: golden files that a person can read (tests/golden/dsn), what our
 * own reader of reports makes of them, what Python's email package does, and that nothing a stranger wrote becomes
 * a field of ours. After a change that is meant, GOLDEN_UPDATE=1 writes the golden files anew.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import fc from "fast-check";
import { parseMailbox } from "../../src/mail/address.ts";
import { type DsnInput, writeDsn } from "../../src/mail/dsn.ts";
import { parseFields } from "../../src/mail/fields.ts";
import { isAutomatic, readReport } from "../../src/mail/report.ts";
import { hasProgram, run } from "../support/program.ts";
import { test, testIf } from "../support/test.ts";

const DIR = new URL("../golden/dsn/", import.meta.url);
const encode = (text: string) => new TextEncoder().encode(text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

const ORIGINAL = [
  "Received: from client.example by mx.ours.example; Thu, 01 Jan 2026 00:00:00 +0000",
  "From: Alice <alice@sender.example>",
  "To: bob@ours.example, eve@ours.example",
  "Subject: Offer",
  "Message-ID: <offer-7@sender.example>",
  "",
  "",
].join("\r\n");

function inputOf(values: Partial<DsnInput> = {}): DsnInput {
  return {
    messageId: "<01j00000000000000000000002@ours.example>",
    boundary: "=_01J00000000000000000000002",
    at: Date.UTC(2026, 0, 1, 0, 0, 5),
    fromDomain: "ours.example",
    reportingMta: "mx.ours.example",
    to: "alice@sender.example",
    recipients: ["bob@ours.example", "eve@ours.example"],
    arrivedAt: Date.UTC(2026, 0, 1),
    original: encode(ORIGINAL),
    status: "5.7.1",
    reason: "The application that takes mail for this address refused the message",
    ...values,
  };
}

const CASES: Record<string, Partial<DsnInput>> = {
  plain: {},
  utf8: {
    to: "ж\u00f6rg@sender.example",
    recipients: ["b\u00f6b+a=b@ours.example", "eve@ours.example"],
    original: encode(ORIGINAL.replace("Offer", "\u00dcber uns").replace("<offer-7@", "<\u00fc@")),
  },
};

for (const [name, values] of Object.entries(CASES)) {
  test(`The notification ${name}.eml is as written down`, async () => {
    const { head, body } = writeDsn(inputOf(values));
    const golden = new URL(`${name}.eml`, DIR);
    // A person's editor has LF.
    const actual = decode(new Uint8Array([...head, ...body])).replaceAll("\r\n", "\n");
    if (Deno.env.get("GOLDEN_UPDATE") === "1") await Deno.writeTextFile(golden, actual);
    assertEquals(actual, await Deno.readTextFile(golden));
  });
}

/** What readReport() finds in the notification. */
async function read(input: DsnInput) {
  const { head, body } = writeDsn(input);
  const finding = await readReport({ head, body: { kind: "memory", bytes: body } });
  assert(finding?.kind === "delivery");
  return finding;
}

test("Our own reader finds each recipient failed, whatever script it is written in", async () => {
  for (const values of Object.values(CASES)) {
    const input = inputOf(values);
    const { reporter, recipients } = await read(input);
    assertEquals(reporter, "mx.ours.example");
    assertEquals(recipients.map(({ addresses }) => addresses), input.recipients.map((address) => [address]));
    for (const { action, status, code, text } of recipients) {
      assertEquals([action, status, code], ["failed", "5.7.1", 550]);
      assertStringIncludes(text, "refused the message");
    }
    assert(isAutomatic(writeDsn(input).head));
  }
});

const PYTHON = `
import sys, email, email.policy, json
m = email.message_from_bytes(sys.stdin.buffer.read(), policy=email.policy.default)
text, status, original = m.iter_parts()
groups = [dict(g.items()) for g in status.get_payload()]
headers = email.message_from_bytes(original.get_payload(decode=True), policy=email.policy.default)
print(json.dumps({"type": m.get_content_type(), "report": m.get_param("report-type"),
  "auto": m["auto-submitted"], "reply": m["in-reply-to"], "defects": [str(d) for d in m.defects],
  "parts": [p.get_content_type() for p in (text, status, original)],
  "text": text.get_content(), "groups": groups, "subject": headers["subject"]}))
`;

testIf(hasProgram("python3"), "no python3", "Python's email package reads it the same way", async () => {
  for (const [name, values] of Object.entries(CASES)) {
    const { head, body } = writeDsn(inputOf(values));
    const input = decode(new Uint8Array([...head, ...body]));
    const { out } = await run("python3", ["-c", PYTHON], { input, env: { PYTHONUTF8: "1" } });
    const found = JSON.parse(out);
    assertEquals([found.type, found.report, found.auto], [
      "multipart/report",
      "delivery-status",
      "auto-replied",
    ]);
    assertEquals(found.parts, ["text/plain", "message/delivery-status", "text/rfc822-headers"]);
    assertEquals(found.defects, []);
    assertEquals(found.groups.length, 3);
    assertEquals(found.groups[0]["Reporting-MTA"], "dns; mx.ours.example");
    assertEquals(found.groups[2]["Final-Recipient"], "rfc822; eve@ours.example");
    assertEquals([found.groups[1].Action, found.groups[1].Status], ["failed", "5.7.1"]);
    const utf8 = name === "utf8";
    assertEquals(found.reply, utf8 ? null : "<offer-7@sender.example>");
    assertEquals(found.subject, utf8 ? "\u00dcber uns" : "Offer");
    assertStringIncludes(found.text, utf8 ? "<b\u00f6b+a=b@ours.example>" : "<bob@ours.example>");
  }
});

test("Of a long header whole fields are kept, and a line that is too long is encoded", () => {
  const fields = Array.from({ length: 2_000 }, (_, i) => `X-Field-${i}: ${"y".repeat(40)}\r\n`).join("");
  const text = decode(writeDsn(inputOf({ original: encode(`${fields}\r\n`) })).body);
  assert(text.length < 40_000);
  assertMatch(text, /\r\nX-Field-\d+: y{40}\r\n\r\n--=_01J00000000000000000000002--\r\n$/);
  const long = decode(writeDsn(inputOf({ original: encode(`Subject: ${"z".repeat(5_000)}\r\n\r\n`) })).body);
  assertStringIncludes(long, "Content-Transfer-Encoding: quoted-printable");
  for (const line of [...text.split("\r\n"), ...long.split("\r\n")]) assert(line.length <= 998);
});

/** What might make a field, a line or a part of its own. */
const NASTY = fc.array(
  fc.oneof(
    fc.constantFrom(
      "\r\n",
      "\r",
      "\n",
      "\r\n\r\n",
      "\u0085",
      "\u2028",
      "\0",
      "\r\nBcc: x@y.example",
      "\r\n--=_01J00000000000000000000001--",
      " ",
      "<",
      ">",
      '"',
      "\\",
      "@",
      "a",
    ),
    fc.string({ maxLength: 5, unit: "binary" }),
  ),
  { maxLength: 12 },
).map((parts) => parts.join(""));

const FIELDS = [
  "Date",
  "From",
  "To",
  "Subject",
  "Message-ID",
  "Auto-Submitted",
  "MIME-Version",
  "Content-Type",
  "Content-Transfer-Encoding",
];

test("Nothing that a sender wrote becomes a field of ours, a recipient or a part", async () => {
  const mailbox = fc.tuple(NASTY, fc.constantFrom("s.example", "[192.0.2.1]"), fc.boolean()).map(
    ([local, domain, quoted]) => `${quoted ? `"${local}"` : local}@${domain}`,
  );
  await fc.assert(
    fc.asyncProperty(NASTY, NASTY, mailbox, mailbox, async (subject, id, to, recipient) => {
      const valid = (address: string) => !("problem" in parseMailbox(address, { smtpUtf8: true }));
      const input = inputOf({
        to: valid(to) ? to : "alice@sender.example",
        recipients: [valid(recipient) ? recipient : "bob@ours.example", "last@ours.example"],
        original: encode(`Subject: ${subject}\r\nMessage-ID: <${id}@x.example>\r\n\r\n`),
      });
      const { head, body } = writeDsn(input);
      const names = parseFields(head).fields.map(({ name }) => name);
      assertEquals(names.filter((name) => !["In-Reply-To", "References"].includes(name)), FIELDS);
      assertEquals(names.length === FIELDS.length || names.length === FIELDS.length + 2, true);
      assertEquals(decode(head).split("\r\n\r\n").length, 2);
      const text = decode(body);
      assertEquals(text.split(`--${input.boundary}`).length, 5);
      assertEquals(/[^\r]\n|\r[^\n]|\0/.test(text), false);
      const { recipients } = await read(input);
      assertEquals(recipients.length, 2);
      assertEquals(recipients.map(({ action }) => action), ["failed", "failed"]);
    }),
    { numRuns: 300 },
  );
});
