/** The world that the authenticate target plays in: domains in memory, a key, and mails that lie about both. */

import { createHash, createPrivateKey, createPublicKey } from "node:crypto";
import fc from "fast-check";
import { DnsError } from "../../../src/base/resolver.ts";
import { hostile, soup } from "../arbitraries.ts";

/** The one address that strict.test and signed.test send from. */
export const HOME = "192.0.2.10";
/** TXT records by name. */
export type Zone = Record<string, string[]>;

// The key is made from a fixed seed, so that a run can be repeated: PKCS#8 (RFC 8410 7) is a prefix and 32 bytes.
const seed = createHash("sha256").update("a key for fuzzing").digest();
const der = Uint8Array.from([...Uint8Array.fromHex("302e020100300506032b657004220420"), ...seed]);
const key = createPrivateKey({
  key: btoa(String.fromCharCode(...der)),
  format: "der",
  type: "pkcs8",
  encoding: "base64",
});

export const PRIVATE_KEY = key.export({ type: "pkcs8", format: "pem" }) as string;
const publicKey = createPublicKey(key).export({ type: "spki", format: "der" }) as Uint8Array;
export const KEY_RECORD = `v=DKIM1; k=ed25519; p=${Uint8Array.from(publicKey.subarray(-32)).toBase64()}`;

export const ZONE: Zone = {
  "strict.test": [`v=spf1 ip4:${HOME} -all`],
  "_dmarc.strict.test": ["v=DMARC1; p=reject; adkim=s; aspf=s"],
  "signed.test": [`v=spf1 ip4:${HOME} -all`],
  "_dmarc.signed.test": ["v=DMARC1; p=reject"],
  "s1._domainkey.signed.test": [KEY_RECORD],
  "s1._domainkey.strict.test": [KEY_RECORD.replace("p=", "p=AAAA")],
  "open.test": ["v=spf1 +all"],
  "_dmarc.open.test": ["v=DMARC1; p=none"],
};

/** Answers from memory; names in `sick` fail as a sick name server does. */
export function zoneResolver(zone: Zone, sick: readonly string[] = []) {
  return {
    async nodeStyle(name: string, type: string): Promise<unknown> {
      const plain = name.toLowerCase().replace(/\.$/, "");
      if (sick.includes(plain)) throw new DnsError("ESERVFAIL");
      const texts = Object.hasOwn(zone, plain) ? zone[plain]! : null;
      if (!texts) throw new DnsError(plain.length > 253 ? "EBADNAME" : "ENOTFOUND");
      if (type !== "TXT") throw new DnsError("ENODATA");
      return texts.map((text) => text.match(/[^]{1,255}/g) ?? [""]);
    },
  };
}

const TAGS = [
  "v=1; ",
  "a=ed25519-sha256; ",
  "a=rsa-sha256; ",
  "a=rsa-sha1; ",
  "c=relaxed/relaxed; ",
  "c=/; ",
  "c=simple; ",
  "d=strict.test; ",
  "d=signed.test; ",
  "d=; ",
  "d=a.test (; ",
  'd="x"; ',
  "d=__proto__; ",
  "s=s1; ",
  "s=\0; ",
  "s=..; ",
  "h=From; ",
  "h=from:from:subject; ",
  "h=:; ",
  "bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=; ",
  "bh=!; ",
  "b=AAAA; ",
  "b=; ",
  "b=A=B; ",
  "l=0; ",
  "l=99999999999999999999; ",
  "l=-1; ",
  "t=1; ",
  "x=0; ",
  "t=99999999999; ",
  "i=@strict.test; ",
  "i=a@b@c; ",
  "i=1; ",
  "i=2; ",
  "i=51; ",
  "cv=none; ",
  "cv=pass; ",
  "q=dns/txt; ",
  "z=From:x; ",
  ";;",
  "=",
  "\r\n ",
  "\t",
];
const tags = soup(TAGS, 14);
const authors = [
  "a@strict.test",
  "A <a@strict.test>",
  '"a@open.test" <a@strict.test>',
  '"a@strict.test" <b@open.test>',
  "a@open.test",
  "a@sub.strict.test",
  "a@strict.test, b@open.test",
  "a@open.test, b@strict.test",
  "Group: a@strict.test;",
  "Group: a@open.test, a@strict.test;",
  "<a@open.test> <a@strict.test>",
  "a@strict.test (b@open.test)",
  "(a@strict.test) b@open.test",
  "=?utf-8?q?a=40strict=2Etest?= <b@open.test>",
  "=?utf-8?q?a=40open=2Etest?=",
  "a@STRICT.test.",
  "a@[192.0.2.10]",
  "@strict.test",
  "a@",
  "<>",
  "",
  "a@strict\u3002test",
  "a@b@strict.test",
  '"" <a@strict.test',
  "a@open.test\0@strict.test",
  "a@open.test\r\n @strict.test",
  "a@open.test\r\n (",
  "a@signed.test",
];
export const author = fc.oneof({ weight: 6, arbitrary: fc.constantFrom(...authors) }, {
  weight: 1,
  arbitrary: hostile,
});

const field = fc.oneof(
  { weight: 4, arbitrary: tags.map((value) => `DKIM-Signature: ${value}`) },
  { weight: 1, arbitrary: tags.map((value) => `DKIM-Signature\r\n: ${value}`) },
  { weight: 1, arbitrary: tags.map((value) => `ARC-Seal: ${value}`) },
  { weight: 1, arbitrary: tags.map((value) => `ARC-Message-Signature: ${value}`) },
  {
    weight: 1,
    arbitrary: tags.map((value) =>
      `ARC-Authentication-Results: ${value}mx.us.test; dmarc=pass header.from=strict.test`
    ),
  },
  {
    weight: 1,
    arbitrary: fc.integer({ min: 1, max: 3 }).chain((i) =>
      fc.tuple(tags, tags).map(([a, b]) =>
        `ARC-Seal: i=${i}; cv=none; a=rsa-sha256; d=signed.test; s=s1; ${a}\r\n` +
        `ARC-Message-Signature: i=${i}; a=ed25519-sha256; d=signed.test; s=s1; h=from; ${b}\r\n` +
        `ARC-Authentication-Results: i=${i}; mx.us.test; dmarc=pass header.from=strict.test`
      )
    ),
  },
  { weight: 2, arbitrary: author.map((value) => `From: ${value}`) },
  { weight: 1, arbitrary: hostile.map((value) => `Authentication-Results: mx.us.test; dmarc=pass ${value}`) },
  { weight: 1, arbitrary: hostile.map((value) => `Subject: ${value}`) },
  {
    weight: 1,
    arbitrary: fc.constantFrom(
      "Sender: a@open.test",
      "To: b@us.test",
      "Date: x",
      "no field",
      "From",
      ": x",
      "Received-SPF: pass",
    ),
  },
);

/** A header block with its empty line; one that has no bare CR or LF, as the doors see to. */
export const headerText: fc.Arbitrary<string> = fc.tuple(
  fc.array(field, { maxLength: 6 }),
  fc.option(author),
  fc.nat(20),
)
  .map(([fields, from, copies]) => {
    const first = from === null ? [] : [`From: ${from}`];
    const flood = copies === 20
      ? new Array(30).fill("DKIM-Signature: v=1; a=rsa-sha256; d=strict.test; s=s1; h=from; bh=x; b=x")
      : [];
    const text = [...flood, ...first, ...fields].map((line) => line + "\r\n").join("");
    return text.replace(/\r(?!\n)|(?<!\r)\n/g, " ").replace(/(?:\r\n){2,}/g, "\r\n") + "\r\n";
  });

const RECORD_WORDS = [
  "v=spf1 ",
  "v=spf1",
  "v=DMARC1; ",
  "v=DKIM1; ",
  "p=reject; ",
  "p=none; ",
  "p=quarantine; ",
  "p=; ",
  "p=AAAA; ",
  "sp=reject; ",
  "np=x; ",
  "psd=y; ",
  "psd=u; ",
  "t=y; ",
  "pct=0; ",
  "adkim=s; ",
  "rua=mailto:a@b; ",
  "k=rsa; ",
  "k=ed25519; ",
  "t=s; ",
  "h=sha1; ",
  "s=x; ",
  "+all ",
  "-all ",
  "?all ",
  "~all ",
  "ip4:192.0.2.0/24 ",
  "ip4:999.1.1.1 ",
  "ip6:::/0 ",
  "ip4:0.0.0.0/0",
  "include:junk.test ",
  "include:open.test ",
  "include:%{i}.junk.test ",
  "redirect=junk.test ",
  "redirect=",
  "exists:%{l}.%{d2r-}.junk.test ",
  "exp=junk.test ",
  "a:junk.test/0 ",
  "mx ",
  "ptr ",
  "%{",
  "%%",
  "%{s}%{h}%{p}",
  "=",
  ";",
  "\0",
  "\xff",
  "x".repeat(300),
];

/** Records that nobody should publish, on every name that is asked for. */
export const junkZone: fc.Arbitrary<Zone> = fc.tuple(
  ...["junk.test", "_dmarc.junk.test", "s1._domainkey.junk.test", "sub.junk.test", "test", "_dmarc.test"].map(
    (name) =>
      fc.array(soup(RECORD_WORDS, 10), { maxLength: 3 }).map((texts): [string, string[]] => [name, texts]),
  ),
).map((entries) => Object.fromEntries(entries.filter(([, texts]) => texts.length > 0)));
