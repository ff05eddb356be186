/** Our trace fields, and what is taken out of a stranger's header and what is not. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { forgedResults, receivedField, traceHead, type TraceInput } from "../../src/inbound/trace.ts";
import { HeaderBlock } from "../../src/mail/header.ts";
import { test } from "../support/test.ts";

const RESULTS = "mx.us.test; spf=pass smtp.mailfrom=good.test; dkim=pass header.d=good.test header.s=s1 " +
  "header.a=rsa-sha256 header.b=abcdefgh; dmarc=pass policy.dmarc=reject header.from=good.test; arc=none";

function inputOf(overrides: Partial<TraceInput> = {}): TraceInput {
  return {
    hostname: "mx.us.test",
    id: "01JD0000000000000000000000",
    protocol: "ESMTP",
    envelope: { mailFrom: "a@good.test", recipients: ["b@us.test"], smtpUtf8: false },
    connection: {
      client_address: "192.0.2.1",
      client_hostname: "out.good.test",
      client_helo: "mx.good.test",
      tls: { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" },
    },
    receivedAt: Date.UTC(2026, 0, 2, 3, 4, 5),
    authenticationResults: RESULTS,
    ...overrides,
  };
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const block = (header: string) => new HeaderBlock(new TextEncoder().encode(header));

test("The head is our results, our Received, then the header as it came", () => {
  assertEquals(
    text(traceHead(block("From: a@good.test\r\n\r\n"), inputOf())),
    [
      "Authentication-Results: mx.us.test;",
      " spf=pass smtp.mailfrom=good.test;",
      " dkim=pass header.d=good.test header.s=s1 header.a=rsa-sha256",
      " header.b=abcdefgh;",
      " dmarc=pass policy.dmarc=reject header.from=good.test;",
      " arc=none",
      "Received: from mx.good.test (out.good.test [192.0.2.1])",
      " by mx.us.test (GoMail) with ESMTPS",
      " id 01JD0000000000000000000000",
      " (TLSv1.3 TLS_AES_256_GCM_SHA384)",
      " for <b@us.test>;",
      " Fri, 02 Jan 2026 03:04:05 +0000",
      "From: a@good.test",
      "",
      "",
    ].join("\r\n"),
  );
});

test("Received names the protocol as RFC 3848 and RFC 6531 do", () => {
  const cases: [TraceInput["protocol"], boolean, boolean, string][] = [
    ["SMTP", false, false, "SMTP"],
    ["ESMTP", false, false, "ESMTP"],
    ["ESMTP", true, false, "ESMTPS"],
    ["ESMTP", false, true, "UTF8SMTP"],
    ["ESMTP", true, true, "UTF8SMTPS"],
    ["LMTP", false, false, "LMTP"],
    ["LMTP", false, true, "UTF8LMTP"],
    ["HTTP", false, true, "HTTP"],
  ];
  for (const [protocol, secure, smtpUtf8, expected] of cases) {
    const base = inputOf();
    const tls = secure ? base.connection.tls : null;
    const field = receivedField({
      ...base,
      protocol,
      envelope: { ...base.envelope, smtpUtf8 },
      connection: { ...base.connection, tls },
    });
    assertStringIncludes(field, ` with ${expected}\r\n`);
  }
});

test("Several recipients are not told of each other", () => {
  const envelope = { mailFrom: "", recipients: ["b@us.test", "c@us.test"], smtpUtf8: false };
  assert(!receivedField(inputOf({ envelope })).includes("us.test>"));
});

test("What nobody told us is not in Received", () => {
  const connection = { client_address: null, client_hostname: null, client_helo: null, tls: null };
  assertMatch(
    receivedField(inputOf({ connection, protocol: "HTTP" })),
    /^Received: by mx\.us\.test \(GoMail\) with HTTP\r\n/,
  );
});

test("Hostile names are left out of Received", () => {
  for (
    const evil of [
      "x (y",
      "a\r\nEvil: 1",
      'a"b',
      "a;b",
      "\u0000",
      "a\\b",
      "<x>",
      "[1.2.3.4",
      "[x]",
      "ä",
      "x".repeat(300),
    ]
  ) {
    const base = inputOf();
    const connection = {
      client_helo: evil,
      client_hostname: evil,
      client_address: evil,
      tls: { version: evil, cipher: evil },
    };
    const envelope = { ...base.envelope, recipients: [`${evil}>@us.test`] };
    const field = receivedField({ ...base, connection, envelope });
    assertEquals(
      field,
      "Received: from unknown\r\n by mx.us.test (GoMail) with ESMTPS\r\n id 01JD0000000000000000000000;\r\n" +
        " Fri, 02 Jan 2026 03:04:05 +0000\r\n",
    );
  }
});

test("A HELO literal and an IPv6 client are written as RFC 5321 4.1.3 has them", () => {
  const connection = {
    client_address: "2001:db8::1",
    client_hostname: null,
    client_helo: "[IPv6:2001:db8::1]",
    tls: null,
  };
  assertStringIncludes(
    receivedField(inputOf({ connection })),
    "from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n",
  );
});

test("A UTF-8 recipient is named only when the mail came with SMTPUTF8", () => {
  const named = (smtpUtf8: boolean) =>
    receivedField(inputOf({ envelope: { mailFrom: "", recipients: ["jörg@us.test"], smtpUtf8 } })).includes(
      "jörg",
    );
  assertEquals([named(true), named(false)], [true, false]);
});

const FORGED = [
  "mx.us.test; dkim=pass",
  "MX.US.Test; dkim=pass",
  "mx.us.test.; dkim=pass",
  "mx.us.test 1; dkim=pass",
  "mx.us.test/1; dkim=pass",
  "mx.us.test",
  "(x) mx.us.test (y); dkim=pass",
  "(a (nested\\) one)) mx.us.test; dkim=pass",
  '"mx.us.test"; dkim=pass',
  '"mx\\.us.test"; dkim=pass',
  "\r\n mx.us.test;\r\n dkim=pass",
  "mx.us.test(c);dkim=pass",
  "(never closed mx.us.test; dkim=pass",
  '"never closed mx.us.test; dkim=pass',
];
for (const value of FORGED) {
  test(`A forged Authentication-Results goes: ${JSON.stringify(value)}`, () => {
    const header = block(`A: 1\r\nAuthentication-Results: ${value}\r\nB: 2\r\n\r\n`);
    assertEquals(text(header.without(forgedResults(header, "mx.us.test"))), "A: 1\r\nB: 2\r\n\r\n");
  });
}

test("A field of a hundred thousand words is looked at in one pass", () => {
  const start = performance.now();
  for (const word of ["a ", "(x) a", "\u00e9 "]) {
    const header = block(`Authentication-Results: ${word.repeat(100_000)}\r\n\r\n`);
    assertEquals(forgedResults(header, "mx.us.test"), []);
  }
  // Linear, that is a third of a second; quadratic, it was more than a minute. The margin is for a busy machine.
  assert(performance.now() - start < 30_000);
});

test("Our name is ours in Unicode as well", () => {
  for (const name of ["mx.bücher.test", "(c)MX.BÜCHER.Test.", '"mx.bu\u0308cher.test"']) {
    const header = block(`Authentication-Results: ${name}; dkim=pass\r\n\r\n`);
    assertEquals(forgedResults(header, "mx.xn--bcher-kva.test").length, 1, name);
    assertEquals(forgedResults(header, "mx.us.test").length, 0, name);
  }
});

test("Results of others stay, and so do fields that only look alike", () => {
  const header = block(
    "Authentication-Results: mx.other.test; dkim=pass\r\nAuthentication-Results: xmx.us.test; a=b\r\n" +
      "Authentication-Results: other.test (mx.us.test); spf=pass\r\nX-Authentication-Results: mx.us.test; x=y\r\n" +
      "ARC-Authentication-Results: i=1; mx.us.test; spf=pass\r\nReturn-Path: <x@y.test>\r\n\r\n",
  );
  assertEquals(forgedResults(header, "mx.us.test"), []);
});

test("A header without its empty line, and one that starts with a fold, keep their bytes", () => {
  for (const header of ["Subject: x", " folded: first\r\nTo: y\r\n\r\n", "", "\r\nbody"]) {
    const head = text(traceHead(block(header), inputOf()));
    assert(head.endsWith(`+0000\r\n${header}`));
    assert(head.startsWith("Authentication-Results: mx.us.test;\r\n"));
  }
});

test("No line of ours is over 998 octets, whatever is in it", () => {
  const long = `mx.us.test; ${
    Array.from({ length: 10 }, () => `dkim=fail header.d=${"d".repeat(250)} header.s=${"s".repeat(250)}`)
      .join("; ")
  }`;
  const head = text(traceHead(block("\r\n"), inputOf({ authenticationResults: long })));
  assert(head.split("\r\n").every((line) => line.length <= 998));
});
