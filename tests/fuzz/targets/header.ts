/**
 * The header block and what is written on top of it: splitting loses no byte and agrees with the library that
 * verifies, our trace fields are two fields whatever a stranger put into their values, and all else is kept.
 */

import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import fc from "fast-check";
import { parseHeaders } from "mailauth/lib/tools.js";
import { resultsValue } from "../../../src/inbound/auth_results.ts";
import { forgedResults, traceHead, type TraceInput } from "../../../src/inbound/trace.ts";
import { HeaderBlock, summaryText } from "../../../src/mail/header.ts";
import { parseFields } from "../../../src/mail/fields.ts";
import type { Authentication, Connection, Envelope, Protocol } from "../../../src/mail/types.ts";
import { hostile, join, latin1, latin1Text, repeated, soup } from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";

const WORDS = [
  "From: a@b.example\r\n",
  "From : c@d.example\r\n",
  "From\r\n : e@f.example\r\n",
  "from:\r\n folded@b.example\r\n",
  "Subject: =?utf-8?q?a=0d=0a?=\r\n",
  "Received: x\r\n",
  "Authentication-Results: mx.us.test; spf=pass\r\n",
  'Authentication-Results: (c) "MX.us.test." 1; dkim=pass\r\n',
  "Authentication-Results: other.example; spf=pass\r\n",
  "X:",
  ":",
  " ",
  "\t",
  "\r\n",
  "\r\n ",
  "\r\n\r\n",
  "\n",
  "\r",
  "From x Thu Jan 1\r\n",
  "no field\r\n",
  "\0",
  "\xa0",
  "\xc3\xbc",
  "body\r\n",
];
/** The doors let no more in. */
const HEADER_CHARS_MAX = 256 * 1024;
const block = soup(WORDS, 25);

/** No bare CR or LF: no door lets such mail in. */
const lines = block.map((text) => text.replace(/\r(?!\n)|(?<!\r)\n/g, " "));

const splitting = property(
  "splitting-keeps-every-byte",
  fc.record({ block, picks: fc.infiniteStream(fc.boolean()) }),
  ({ block, picks }) => {
    const bytes = latin1(block);
    const header = new HeaderBlock(bytes);
    let at = 0;
    for (const { name, start, valueStart, end } of header.fields) {
      assertEquals(start, at, "a gap between fields");
      assert(valueStart <= end && (end > start), "an empty field");
      if (name !== "") {
        assert(
          /^[!-9;-~]+[ \t]*(?:\r?\n[ \t]*)*:$/.test(block.slice(start, valueStart)),
          "a name with more in it",
        );
      }
      assert(!/^\r?\n/.test(block.slice(end)) || end === header.fieldsEnd, "a field over the empty line");
      at = end;
    }
    assertEquals(header.fieldsEnd, at);
    assert(at === bytes.length || /^\r?\n/.test(block.slice(at)), "ends where no empty line is");
    const removed = header.fields.filter(() => picks.next().value);
    const kept = header.fields.filter((field) => !removed.includes(field)).map(({ start, end }) =>
      bytes.subarray(start, end)
    );
    assertEquals(latin1Text(header.without(removed)), latin1Text(join([...kept, bytes.subarray(at)])));
  },
);

/** Field names as the verifying library reads them: a field that only one of the two sees could hide there. */
const agreement = property("the-verifier-sees-the-same-fields", lines, (block) => {
  const header = new HeaderBlock(latin1(block));
  const fields = header.fields.filter(({ name }) => name !== "");
  // Before the first field the library has a row of its own, which is nobody's name.
  const start = fields[0]?.start ?? header.fieldsEnd;
  const rows = parseHeaders(Buffer.from(header.bytes.subarray(start, header.fieldsEnd))).parsed;
  assertEquals(fields.map(({ name }) => name), rows.map(({ casedKey }: { casedKey: string }) => casedKey));
  assertEquals(parseFields(header.bytes).fields.map(({ name }) => name), fields.map(({ name }) => name));
});

const listings = property(
  "a-listing-is-one-clean-line",
  fc.oneof(
    hostile,
    soup(["=?utf-8?", "q?", "b?", "?=", "=0d", "=?utf-8?b?DQo=?=", " ", "\r\n ", "\ud83d", "a"]),
  ),
  (text) => {
    const listed = summaryText(text);
    assert(listed.length <= 998);
    // deno-lint-ignore no-control-regex -- that there are none is the point
    assert(!/[\u0000-\u001f\u007f-\u009f\u2028\u2029]/.test(listed), "control characters");
  },
);

// --- what we write on top

const HOSTNAME = "mx.us.test";
const nullable = fc.option(hostile);
const token = fc.oneof(
  fc.constantFrom("good.test", "s1", "rsa-sha256", "192.0.2.1", "2001:db8::1", "[IPv6:::1]"),
  hostile,
);
const connection: fc.Arbitrary<Connection> = fc.record({
  client_address: fc.option(token),
  client_hostname: fc.option(token),
  client_helo: fc.option(token),
  tls: fc.option(fc.record({ version: token, cipher: token })),
});
const envelope: fc.Arbitrary<Envelope> = fc.record({
  mailFrom: hostile,
  recipients: fc.array(fc.oneof(hostile, fc.constant("b@us.test")), { maxLength: 2 }),
  smtpUtf8: fc.boolean(),
});
const signature = fc.record({
  domain: token,
  selector: token,
  algorithm: token,
  valid: fc.boolean(),
  aligned: fc.boolean(),
});
const authentication: fc.Arbitrary<Authentication> = fc.record({
  spf: fc.record({
    result: fc.constant("pass" as const),
    client_ip: nullable,
    mail_from: hostile,
    helo_domain: nullable,
    received_spf_header: nullable,
  }),
  dkim: fc.record({
    result: fc.constant("fail" as const),
    signatures: fc.array(signature, { maxLength: 3 }),
    from_domain: fc.option(token),
    signed_by: fc.constant([]),
  }),
  dmarc: fc.record({
    result: fc.constant("none" as const),
    policy: fc.option(token),
    from_header: nullable,
    return_path: hostile,
    spf_alignment: fc.boolean(),
    dkim_alignment: fc.boolean(),
    authentication_results: fc.constant(""),
  }),
  arc: fc.record({ result: fc.constant("none" as const), chain: fc.array(hostile, { maxLength: 2 }) }),
});
const shownSignatures = fc.array(fc.record({ result: fc.constant("fail" as const), tag: nullable }), {
  maxLength: 3,
});

const trace = property(
  "our-fields-are-two-and-the-rest-is-kept",
  fc.record({
    block,
    connection,
    envelope,
    authentication,
    shownSignatures,
    spfDomain: fc.option(token),
    protocol: fc.constantFrom<Protocol>("SMTP", "ESMTP", "LMTP", "HTTP"),
    receivedAt: fc.date({ min: new Date(0), max: new Date("9999-12-31"), noInvalidDate: true }),
  }),
  ({ block, authentication, shownSignatures, spfDomain, receivedAt, ...rest }) => {
    const authenticationResults = resultsValue(HOSTNAME, authentication, spfDomain, shownSignatures);
    const input: TraceInput = {
      hostname: HOSTNAME,
      id: "01JD0000000000000000000000",
      ...rest,
      receivedAt: receivedAt.getTime(),
      authenticationResults,
    };
    const received = new HeaderBlock(latin1(block));
    const head = traceHead(received, input);
    const kept = received.without(forgedResults(received, HOSTNAME));
    assertEquals(latin1Text(head.subarray(head.length - kept.length)), latin1Text(kept));
    const ours = head.subarray(0, head.length - kept.length);
    const text = new TextDecoder("utf-8", { fatal: true }).decode(ours);
    const fields = new HeaderBlock(ours);
    assertEquals(fields.fields.map(({ name }) => name), ["Authentication-Results", "Received"]);
    assertEquals(fields.fieldsEnd, ours.length);
    for (const line of text.slice(0, -2).split("\r\n")) {
      assert(line.length <= 998 && !/[\p{Cc}\u2028\u2029]/u.test(line), "a line with control characters");
      assert(line.trim() !== "", "an empty line");
    }
    // What is left in our name is the one on top.
    const whole = new HeaderBlock(head);
    assertEquals(forgedResults(whole, HOSTNAME).map(({ start }) => start), [0]);
  },
);

const large = largeProperty(
  "a-large-header-ends",
  repeated([...WORDS, "(", '"', "\\", "=?utf-8?q?=", "?=", "Authentication-Results: ("], HEADER_CHARS_MAX),
  (block) => {
    const header = new HeaderBlock(latin1(block));
    for (const { name } of header.fields.slice(0, 10)) header.summary(name);
    assert(header.without(forgedResults(header, HOSTNAME)).length <= block.length);
    parseFields(header.bytes);
  },
);

export function open(): FuzzTarget {
  return { properties: [splitting, agreement, listings, trace, large] };
}
