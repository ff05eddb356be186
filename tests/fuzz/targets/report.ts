/**
 * Reports: what is written in any of the ways that reporters have is read back exactly, and what a stranger makes
 * up gives a finding that is safe to keep, to show and to send, or none; of bounded size, in bounded time.
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { readReport, type ReportFinding } from "../../../src/mail/report.ts";
import type { MailSource } from "../../../src/mail/source.ts";
import { findVerps, readVerp, verpAddress } from "../../../src/mail/verp.ts";
import { latin1, mutated, repeated, soup } from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";

const KEY = "5e".repeat(32);
const VERP = verpAddress(KEY, { messageId: "01JD0000000000000000000001", index: 35 }, "us.test");

function sourceOf(text: string): MailSource {
  const bytes = latin1(text);
  return { head: bytes.slice(0, 50), body: { kind: "memory", bytes: bytes.slice(50) } };
}

// --- reports as they are written

interface Written {
  address: string;
  action: "failed" | "delayed" | "delivered";
  status: string;
  code: number | null;
  text: string;
  remote: string | null;
}

const word = fc.stringMatching(/^[A-Za-z]{1,12}$/);
const written: fc.Arbitrary<Written> = fc.record({
  address: fc.tuple(word, word).map(([local, domain]) => `${local}@${domain}.example`),
  action: fc.constantFrom("failed", "delayed", "delivered"),
  status: fc.constantFrom("5.1.1", "4.2.2", "5.7.133", "2.1.5"),
  code: fc.option(fc.constantFrom(550, 421, 250)),
  text: fc.array(word, { minLength: 1, maxLength: 12 }).map((words) => words.join(" ")),
  remote: fc.option(word.map((name) => `${name}.example`)),
});

/** How a reporter writes; none of it changes what is meant. */
const manner = fc.record({
  upper: fc.boolean(),
  typeSpace: fc.constantFrom("", " ", "\r\n "),
  folded: fc.boolean(),
  actionFirst: fc.boolean(),
  blankLines: fc.constantFrom("\r\n", "\r\n\r\n", "  \r\n"),
  lineEnd: fc.constantFrom("\r\n", "\n"),
  base64: fc.boolean(),
  wrapped: fc.boolean(),
});
type Manner = typeof manner extends fc.Arbitrary<infer T> ? T : never;

function group(status: Written, { upper, typeSpace, folded, actionFirst }: Manner): string {
  const field = (name: string, value: string) => `${upper ? name.toUpperCase() : name}: ${value}\r\n`;
  const said = `${status.code === null ? "" : `${status.code} ${status.status} `}${status.text}`;
  const recipient = field("Final-Recipient", `rfc822;${typeSpace}${status.address}`);
  const action = field("Action", upper ? status.action.toUpperCase() : status.action);
  return (actionFirst ? action + recipient : recipient + action) + field("Status", status.status) +
    (status.remote === null ? "" : field("Remote-MTA", `dns;${typeSpace}${status.remote} (192.0.2.1)`)) +
    field("Diagnostic-Code", `smtp; ${folded ? said.replaceAll(" ", "\r\n ") : said}`);
}

function reportOf(statuses: Written[], how: Manner): string {
  const content = [
    "Reporting-MTA: dns; mx.example\r\n",
    ...statuses.map((status) => group(status, how)),
  ].join(how.blankLines).replaceAll("\r\n", how.lineEnd);
  const encoded = how.base64
    ? `Content-Transfer-Encoding: base64\r\n\r\n${latin1(content).toBase64().replace(/.{60}/g, "$&\r\n")}\r\n`
    : `\r\n${content}`;
  const report = 'Content-Type: multipart/report; report-type=delivery-status; boundary="r"\r\n\r\n' +
    `--r\r\n\r\nIt failed.\r\n--r\r\nContent-Type: message/delivery-status\r\n${encoded}\r\n--r--\r\n`;
  if (!how.wrapped) return report;
  return `Content-Type: multipart/mixed; boundary=w\r\n\r\n--w\r\n${report}\r\n--w\r\n\r\nfooter\r\n--w--\r\n`;
}

const reading = property(
  "a-report-is-read-however-it-is-written",
  fc.record({ statuses: fc.array(written, { minLength: 1, maxLength: 5 }), manner }),
  async ({ statuses, manner }) => {
    const finding = await readReport(sourceOf(reportOf(statuses, manner)));
    assertEquals(finding, {
      kind: "delivery",
      reporter: "mx.example",
      recipients: statuses.map(({ address, action, status, code, text, remote }) => ({
        addresses: [address],
        action,
        status,
        code,
        text,
        remote,
        atRcpt: false,
      })),
    });
  },
);

// --- and as they are made up

const WORDS = [
  "Content-Type: multipart/report; report-type=delivery-status; boundary=r\r\n\r\n",
  "Content-Type: multipart/report; report-type=feedback-report; boundary=r\r\n\r\n",
  "--r\r\n",
  "Content-Type: message/delivery-status\r\n\r\n",
  "Content-Type: message/feedback-report\r\n\r\n",
  "Content-Type: message/rfc822\r\n\r\n",
  "Content-Transfer-Encoding: base64\r\n",
  "X-Failed-Recipients: a@b.example, c@d.example\r\n",
  "Auto-Submitted: auto-replied\r\n",
  "From: staff@hotmail.com\r\n",
  "X-HmXmrOriginalRecipient: a@b.example\r\n",
  "Hi. This is the qmail-send program.\r\n\r\n",
  "<a@b.example>:\r\n",
  "192.0.2.1 does not like recipient.\r\nRemote host said: 550-5.1.1 no\r\n550 5.1.1 no\r\n",
  "Final-Recipient: rfc822; a@b.example\r\n",
  "Original-Recipient: utf-8;\\x{E4}\\x{110000}\\x{D800}@b.example\r\n",
  "Action: failed\r\n",
  "Action: delayed\r\n",
  "Status: 5.1.1\r\n",
  "Status: 5.0.0\r\n",
  "Diagnostic-Code: smtp; 550 5.1.1 \x1b[2J\u0085no\r\n",
  "Diagnostic-Code: x; host said: 450\r\n",
  "Remote-MTA: dns; b.example\r\n",
  "Feedback-Type: abuse\r\n",
  `Original-Mail-From: <${VERP}>\r\n`,
  "Return-Path: bounces+01jd0000000000000000000001-0-000000000000@us.test\r\n",
  "\r\n",
  "\n",
  " ",
  ";",
  "\0",
  "\xff",
];

function checkText(text: string, charsMax: number): void {
  assert(text.length <= charsMax && text.isWellFormed(), "too long, or half a character");
  assert(!/[\p{Cc}\u2028-\u202e\u2066-\u2069]/u.test(text), `not one safe line: ${JSON.stringify(text)}`);
}

function checkName(name: string | null): void {
  assert(name === null || /^[A-Za-z0-9.:_[\]-]{1,255}$/.test(name), `not a name: ${name}`);
}

function checkFinding(finding: ReportFinding | null): void {
  if (finding?.kind === "feedback") {
    checkName(finding.reporter);
    assert(/^[\w-]{0,40}$/.test(finding.type) && finding.senders.length <= 10);
    for (const sender of finding.senders) assertEquals(findVerps(sender), [sender]);
  }
  if (finding?.kind !== "delivery") return;
  checkName(finding.reporter);
  assert(finding.recipients.length >= 1 && finding.recipients.length <= 200);
  for (const { addresses, status, code, text, remote } of finding.recipients) {
    assert(addresses.length <= 2);
    for (const address of addresses) checkText(address, 768);
    assert(status === null || /^[245]\.\d{1,3}\.\d{1,3}$/.test(status), `status ${status}`);
    assert(code === null || /^[245]\d\d$/.test(String(code)), `code ${code}`);
    checkText(text, 500);
    checkName(remote);
  }
}

const made = fc.oneof(
  soup(WORDS, 30),
  soup(WORDS, 25).map((text) => `${WORDS[0]}--r\r\nContent-Type: message/delivery-status\r\n\r\n${text}`),
  mutated(
    fc.tuple(fc.array(written, { minLength: 1, maxLength: 3 }), manner).map(([all, how]) =>
      reportOf(all, how)
    ),
    WORDS,
  ),
);

const safety = property("whatever-comes-the-finding-is-safe", made, async (mail) => {
  const finding = await readReport(sourceOf(mail));
  checkFinding(finding);
  // It crosses to another thread.
  assertEquals(structuredClone(finding), finding);
});

const signatures = property(
  "only-our-own-signature-is-read",
  fc.record({ index: fc.nat(36 ** 3), at: fc.nat(100), char: fc.constantFrom(..."0123456789abcdefgz+-@") }),
  ({ index, at, char }) => {
    const place = { messageId: "01JD0000000000000000000001", index };
    const address = verpAddress(KEY, place, "us.test");
    assertEquals(readVerp(KEY, address.toUpperCase()), place);
    assertEquals(findVerps(`<${address}>`), [address]);
    const local = address.indexOf("@");
    const changed = address.slice(0, at % local) + char + address.slice(at % local + 1);
    if (changed !== address) assertEquals(readVerp(KEY, changed), null);
  },
);

const large = largeProperty("a-large-report-ends", repeated(WORDS, 2 ** 20), async (mail) => {
  checkFinding(await readReport(sourceOf(mail)));
  checkFinding(
    await readReport(sourceOf(`${WORDS[0]}--r\r\nContent-Type: message/delivery-status\r\n\r\n${mail}`)),
  );
});

export function open(): FuzzTarget {
  return { properties: [reading, safety, signatures, large] };
}
