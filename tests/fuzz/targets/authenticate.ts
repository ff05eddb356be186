/**
 * Verification of hostile mail: it always ends, with a complete verdict and one clean Authentication-Results, and
 * never with a pass that nobody proved. No mail here has a valid signature but those of the last property.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { dkimSign } from "mailauth/lib/dkim/sign.js";
import fc from "fast-check";
import { systemClock } from "../../../src/base/clock.ts";
import { authenticate } from "../../../src/inbound/authenticate.ts";
import type { AuthenticationOutcome } from "../../../src/inbound/auth_types.ts";
import { traceHead } from "../../../src/inbound/trace.ts";
import { HeaderBlock } from "../../../src/mail/header.ts";
import { inputFor, type Overrides } from "../../support/verify.ts";
import { hostile, mutated, repeated, soup } from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";
import {
  author,
  headerText,
  HOME,
  junkZone,
  PRIVATE_KEY,
  ZONE,
  type Zone,
  zoneResolver,
} from "./auth_world.ts";
import { authenticationShape } from "./payload_shape.ts";

const HOSTNAME = "mx.us.test";
/** Ten, and a first line without a colon that the library takes for one more. */
const SIGNATURES_MAX = 11;
const RESULTS_CHARS_MAX = 12_000;

async function verify(mail: string, overrides: Overrides, zone: Zone = ZONE, sick: readonly string[] = []) {
  const resolver = zoneResolver(zone, sick);
  const outcome = await authenticate(inputFor(mail, overrides), { resolver, clock: systemClock });
  checkComplete(mail, outcome);
  return outcome;
}

function checkComplete(mail: string, { authentication, fromProblem }: AuthenticationOutcome): void {
  // It crosses to another thread, and is kept as JSON.
  authenticationShape(JSON.parse(JSON.stringify(authentication)), "authentication");
  const { dkim, dmarc } = authentication;
  const text = dmarc.authentication_results;
  assertMatch(
    text,
    /^mx\.us\.test(?:; (?:spf|dkim|dmarc|arc)=[a-z]+(?: (?:smtp|header|policy)\.[a-z]+=[\w.-]+)*)+$/,
  );
  assert(text.length <= RESULTS_CHARS_MAX && dkim.signatures.length <= SIGNATURES_MAX);
  for (const { reason } of dkim.signatures) assert(reason === undefined || !/\p{Cc}/u.test(reason));
  if (fromProblem !== null) assertEquals(dmarc.result, "permerror");
  const head = traceHead(new HeaderBlock(new TextEncoder().encode(mail)), {
    hostname: HOSTNAME,
    id: "01JD0000000000000000000000",
    protocol: "ESMTP",
    envelope: { mailFrom: "", recipients: [], smtpUtf8: false },
    connection: { client_address: null, client_hostname: null, client_helo: null, tls: null },
    receivedAt: 0,
    authenticationResults: text,
  });
  const [own, received] = new HeaderBlock(head).fields;
  assertEquals([own!.name, received!.name, own!.start], ["Authentication-Results", "Received", 0]);
}

/** Text that was bytes once. */
const text = hostile.map((text) => text.toWellFormed());
const mailFrom = fc.oneof(
  fc.constantFrom(
    "",
    "a@strict.test",
    "a@open.test",
    "a@sub.open.test",
    "a@signed.test",
    "a@junk.test",
    '"a b"@junk.test',
  ),
  text.map((text) => `${text}@junk.test`),
  text,
);
const envelope = fc.record({
  mailFrom,
  clientAddress: fc.constantFrom(null, HOME, "192.0.2.1", "2001:db8::1"),
  helo: fc.oneof(fc.constantFrom(null, "mx.open.test", "open.test", "strict.test", "[192.0.2.1]"), text),
});
const SICK = [
  "strict.test",
  "_dmarc.strict.test",
  "s1._domainkey.strict.test",
  "s1._domainkey.signed.test",
  "open.test",
  "_dmarc.open.test",
  "_dmarc.test",
];
const sick = fc.oneof(fc.constant<string[]>([]), fc.constant<string[]>(["strict.test"]), fc.subarray(SICK));

const unsigned = property(
  "nothing-passes-that-was-not-proven",
  fc.record({ headerText, envelope, sick, body: text }),
  async ({ headerText, envelope, sick, body }) => {
    const { authentication, fromProblem, arcVouches } = await verify(
      headerText + body,
      { ...envelope, config: { arc_trusted_sealers: ["signed.test"] } },
      ZONE,
      sick,
    );
    const { spf, dkim, dmarc, arc } = authentication;
    assert(
      dkim.result !== "pass" && dkim.signed_by.length === 0 && !dkim.signatures.some(({ valid }) => valid),
      "a signature from nowhere",
    );
    assert(arc.result !== "pass" && !arcVouches, "a chain from nowhere");
    if (envelope.clientAddress === null) assertEquals(spf.result, "none");
    const author = dkim.from_domain ?? "";
    const atHome = envelope.clientAddress === HOME;
    if (dmarc.result === "pass") {
      assert(spf.result === "pass" && dmarc.spf_alignment, "a pass without SPF");
      assert(
        /(^|\.)open\.test$/.test(author) || (atHome && /(^|\.)(strict|signed)\.test$/.test(author)),
        `a pass for ${author}`,
      );
    }
    if (author === "strict.test" && fromProblem === null && dmarc.result !== "pass") {
      const known = !sick.includes("_dmarc.strict.test");
      assert(
        dmarc.result === "fail" && known || dmarc.result === "temperror" && sick.length > 0,
        `${dmarc.result} for strict.test`,
      );
      if (known) assertEquals(dmarc.policy, "reject");
      // SPF might have carried it, had it been answered.
      const open = spf.result === "temperror" && envelope.mailFrom === "a@strict.test";
      if (known && open) assertEquals(dmarc.result, "temperror");
    }
  },
);

const everyFrom = property(
  "one-author-or-none",
  fc.record({ author, envelope }),
  async ({ author, envelope }) => {
    const clean = author.replace(/\r(?!\n)|(?<!\r)\n/g, " ").replace(/(?:\r\n)+(?![ \t])/g, " ");
    const { authentication, fromProblem } = await verify(`From: ${clean}\r\n\r\n`, {
      ...envelope,
      clientAddress: "192.0.2.1",
    });
    const { dmarc } = authentication;
    // Our open.test passes from anywhere; whoever shows strict.test as an author must not.
    const shown = clean.replace(/"(?:[^"\\]|\\.)*"|\([^()]*\)|=\?[^ ]*\?=/g, "");
    if (dmarc.result === "pass") assert(!/strict/.test(shown) && fromProblem === null, `a pass for ${clean}`);
  },
);

const junkDns = property(
  "junk-in-the-dns-is-a-verdict",
  fc.record({
    zone: junkZone,
    tags: soup(["a=rsa-sha256; ", "a=ed25519-sha256; ", "l=1; ", "i=@junk.test; ", "c=relaxed; "], 4),
    envelope,
    at: fc.constantFrom("junk.test", "sub.junk.test", "a.b.c.d.e.f.g.h.i.junk.test"),
  }),
  async ({ zone, tags, envelope, at }) => {
    const mail =
      `DKIM-Signature: v=1; d=junk.test; s=s1; h=from; bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; b=AAAA; ${tags}\r\nFrom: a@${at}\r\n\r\n`;
    const { authentication: { spf, dkim, dmarc } } = await verify(mail, envelope, { ...ZONE, ...zone });
    assert(dkim.result !== "pass");
    if (dmarc.result === "pass") assert(spf.result === "pass" && dmarc.spf_alignment, "a pass without SPF");
    if (spf.result === "pass") assert(envelope.clientAddress !== null);
  },
);

const LETTERS = [
  "From: A <a@signed.test>",
  "To: b@us.test",
  "Subject: Hello",
  "Date: Thu, 1 Jan 2026 00:00:00 +0000",
];
const MAIL = LETTERS.join("\r\n") + "\r\n\r\nSome text.\r\nMore of it.\r\n";
const changes = fc.oneof(
  fc.record({ at: fc.nat(MAIL.length - 1), letter: fc.constantFrom("Q", "\xe9") }).map(({ at, letter }) =>
    /[a-zA-Z0-9]/.test(MAIL[at]!) ? MAIL.slice(0, at) + letter + MAIL.slice(at + 1) : null
  ),
  fc.constantFrom("text", "<p>More</p>", "\r\n.").map((more) => `${MAIL}${more}\r\n`),
  fc.constant(null),
);

const changed = (signature: string) =>
  property(
    "a-signed-mail-that-was-changed-never-passes",
    fc.record({
      change: changes,
      before: mutated(headerText.map((text) => text.slice(0, -2)), ["\r\nX: y"]),
    }),
    async ({ change, before }) => {
      const overrides = { mailFrom: "a@signed.test", clientAddress: "192.0.2.1" };
      const { authentication: { dkim, dmarc } } = await verify(signature + (change ?? MAIL), overrides);
      assertEquals(
        [dkim.result === "pass", dmarc.result === "pass"],
        [change === null, change === null],
        change ?? "",
      );
      // Whatever is put on top: the text that passes is still the one that was signed, and has one author.
      const top = before.replace(/\r(?!\n)|(?<!\r)\n/g, " ").replace(/(?:\r\n){2,}/g, "\r\n").replace(
        /^\r\n|\r\n$/g,
        "",
      );
      const mail = (top === "" ? "" : `${top}\r\n`) + signature + (change ?? MAIL);
      const { authentication: both } = await verify(mail, overrides);
      if (change !== null) assert(both.dmarc.result !== "pass", "a changed mail passes");
      if (/(^|\n)from[ \t]*:/i.test(top)) assert(both.dmarc.result !== "pass", "two authors pass");
    },
  );

const LINES = [
  "DKIM-Signature: ",
  "ARC-Seal: i=1; ",
  "ARC-Message-Signature: i=1; ",
  "ARC-Authentication-Results: i=1; ",
  "From: ",
];
const PIECES = [
  ...LINES,
  "v=1; a=rsa-sha256; d=signed.test; s=s1; h=from; bh=x; b=x",
  "\r\n",
  "\r\n ",
  "a@strict.test, ",
  "(",
  '"',
  "<",
  ";",
  "=",
  "\t",
  "x",
  "\\",
  ":",
];

/** What the doors let in at most: 256 KiB and 5,000 lines of header. */
const large = largeProperty(
  "a-large-header-ends",
  fc.tuple(repeated(PIECES, 256 * 1024), envelope),
  async ([header, envelope]) => {
    const lines = header.replace(/(?:\r\n)+/g, "\r\n").split("\r\n").slice(0, 4_990).join("\r\n");
    const { authentication: { dkim, dmarc } } = await verify(`From: a@strict.test\r\n${lines}\r\n\r\n`, {
      ...envelope,
      clientAddress: "192.0.2.1",
    });
    assert(dkim.result !== "pass" && dmarc.result !== "pass");
  },
);

export async function open(): Promise<FuzzTarget> {
  const data = {
    signingDomain: "signed.test",
    selector: "s1",
    privateKey: PRIVATE_KEY,
    algorithm: "ed25519-sha256",
    signTime: new Date("2026-01-01"),
  };
  const { signatures, errors } = await dkimSign(MAIL, { ...data, signatureData: [data] });
  if (errors.length > 0) throw errors[0]!.err ?? new Error("Cannot sign the mail");
  return { properties: [unsigned, everyFrom, junkDns, large, changed(signatures.trimEnd() + "\r\n")] };
}
