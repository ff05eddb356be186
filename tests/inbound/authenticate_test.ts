/** DKIM, DMARC and ARC on really signed mail, with a real name server on loopback. SPF has its own file. */

import { assert, assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import fc from "fast-check";
import {
  arcSet,
  mailText,
  makeKey,
  senderZone,
  signature,
  signed,
  type SigningKey,
  split,
} from "../support/signed_mail.ts";
import { test, withTempDir } from "../support/test.ts";
import { inputFor, withBench } from "../support/verify.ts";

const key = makeKey("good.test");
const zoneOf = (policy: string | null = "v=DMARC1; p=reject") => senderZone(key, "192.0.2.1", policy);
const MAIL = mailText({
  From: "A <a@good.test>",
  To: "b@us.test",
  Subject: "Hi",
  Date: "Thu, 1 Jan 2026 00:00:00 +0000",
});
const ELSEWHERE = { clientAddress: "203.0.113.9" };

test("A signed mail from its domain's own host passes everything", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    const { authentication: a, fromProblem, arcVouches } = await verify(await signed(MAIL, key));
    assertEquals([a.spf.result, a.dkim.result, a.dmarc.result, a.arc.result], [
      "pass",
      "pass",
      "pass",
      "none",
    ]);
    assertEquals([fromProblem, arcVouches], [null, false]);
    assertEquals(a.dkim.signed_by, ["good.test"]);
    assertEquals(a.dkim.from_domain, "good.test");
    assertEquals([a.dmarc.policy, a.dmarc.spf_alignment, a.dmarc.dkim_alignment], ["reject", true, true]);
    assertEquals(a.dkim.signatures[0]!.aligned, true);
    assertMatch(
      a.dmarc.authentication_results,
      /^mx\.us\.test; spf=pass smtp\.mailfrom=good\.test; dkim=pass header\.d=good\.test header\.s=s1 header\.a=rsa-sha256 header\.b=\w+; dmarc=pass policy\.dmarc=reject header\.from=good\.test; arc=none$/,
    );
  });
});

test("A forged mail fails SPF, DKIM and DMARC", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    const mail = (await signed(MAIL, key)).replace("Hello", "Hullo");
    const { authentication: a } = await verify(mail, ELSEWHERE);
    assertEquals([a.spf.result, a.dkim.result, a.dmarc.result], ["fail", "fail", "fail"]);
    assertMatch(a.dkim.signatures[0]!.reason!, /body hash/);
    assertEquals(a.dkim.signed_by, []);
  });
});

test("An unsigned mail has dkim=none", async () => {
  await withBench(zoneOf(null), async ({ verify }) => {
    const { authentication: a } = await verify(MAIL);
    assertEquals([a.dkim.result, a.dmarc.result, a.dmarc.policy], ["none", "none", null]);
    assertMatch(a.dmarc.authentication_results, /dkim=none;/);
  });
});

for (
  const [what, behaviour] of [["SERVFAIL", { rcode: "SERVFAIL" }], ["silence", { silent: true }]] as const
) {
  test(`A key server that answers with ${what} is temperror for DKIM and for DMARC, never a fail`, async () => {
    await withBench(zoneOf(), async ({ zone, verify }) => {
      zone.behave(key.name, behaviour);
      const { authentication: a } = await verify(await signed(MAIL, key), ELSEWHERE);
      assertEquals([a.spf.result, a.dkim.result, a.dmarc.result], ["fail", "temperror", "temperror"]);
      assertEquals(a.dmarc.policy, "reject");
    }, 1000);
  });
}

test("A temperror that could not have aligned leaves DMARC at fail", async () => {
  const other = makeKey("other.test");
  await withBench(zoneOf(), async ({ zone, verify }) => {
    zone.behave(other.name, { rcode: "SERVFAIL" });
    const { authentication: a } = await verify(await signed(MAIL, other), ELSEWHERE);
    assertEquals([a.dkim.result, a.dmarc.result], ["temperror", "fail"]);
  });
});

test("DNS that is dead gives temperror everywhere", async () => {
  await withBench(zoneOf(), async ({ zone, verify }) => {
    zone.behave("*", { silent: true });
    const { authentication: a } = await verify(await signed(MAIL, key));
    assertEquals([a.spf.result, a.dkim.result, a.dmarc.result], ["temperror", "temperror", "temperror"]);
    assertEquals(a.dmarc.policy, null);
  }, 100);
});

test("A missing, revoked or broken key is no pass and no temperror", async () => {
  for (
    const record of [
      null,
      "v=DKIM1; k=rsa; p=",
      "v=DKIM1; p=!!!!",
      "v=DKIM1; k=rsa; p=AAAA",
      "v=DKIM9; p=AAAA",
    ]
  ) {
    const zone = { ...zoneOf(), [key.name]: record === null ? {} : { TXT: [record] } };
    await withBench(zone, async ({ verify }) => {
      const { authentication: a } = await verify(await signed(MAIL, key), ELSEWHERE);
      assertEquals([record, a.dkim.result, a.dmarc.result], [record, "neutral", "fail"]);
    });
  }
});

test("Keys under 1024 bits are not a pass", async () => {
  const weak = makeKey("good.test", "weak", 512);
  await withBench({ ...zoneOf(), [weak.name]: { TXT: [weak.record] } }, async ({ verify }) => {
    const { authentication: a } = await verify(await signed(MAIL, weak), ELSEWHERE);
    assertEquals([a.dkim.result, a.dmarc.result], ["policy", "fail"]);
    assertEquals(a.dkim.signatures[0]!.reason, "weak key");
  });
});

test("rsa-sha1 is not a pass", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    const { authentication: a } = await verify(await signed(MAIL, key, { algorithm: "rsa-sha1" }), ELSEWHERE);
    assertEquals([a.dkim.result, a.dmarc.result], ["policy", "fail"]);
  });
});

test("A giant key costs bounded time", async () => {
  const giant = `v=DKIM1; k=rsa; p=${btoa("\x30\x82\xff\xff" + "\x02".repeat(40_000))}`;
  await withBench({ ...zoneOf(), [key.name]: { TXT: [giant] } }, async ({ verify }) => {
    const { authentication: a } = await verify(await signed(MAIL, key), ELSEWHERE);
    assert(a.dkim.result !== "pass");
  });
});

test("l= says how much of the body nobody signed", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    const mail = await signed(MAIL, key, { maxBodyLength: 8 });
    const { authentication: a } = await verify(mail + "Pay here.\r\n");
    assertEquals(a.dkim.result, "pass");
    assertMatch(a.dkim.signatures[0]!.reason!, /l= leaves the last \d+ bytes of the body unsigned/);
  });
});

test("A signature that does not cover From is not a pass", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    const mail = (await signed(MAIL, key)).replace(/(\bh=[^;]*?)\bFrom\b/i, "$1X-None");
    const { authentication: a } = await verify(mail, ELSEWHERE);
    assert(a.dkim.result !== "pass");
    assertEquals(a.dkim.signatures[0]!.valid, false);
  });
});

test("An expired signature is not a pass", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    const past = { signTime: new Date("2020-01-01"), expires: new Date("2020-02-01") };
    const { authentication: a } = await verify(await signed(MAIL, key, past), ELSEWHERE);
    assertEquals(a.dkim.result, "neutral");
    assertEquals(a.dkim.signatures[0]!.reason, "expired");
  });
});

test("Of 200 signatures ten are looked at, and that is said", async () => {
  await withBench(zoneOf(), async ({ zone, verify }) => {
    const one = await signature(MAIL, key);
    const many = Array.from({ length: 200 }, (_, i) => one.replace("s=s1", `s=x${i}`)).join("");
    const { authentication: a } = await verify(many + MAIL);
    assertEquals(a.dkim.signatures.length, 10);
    assertEquals(a.dkim.reason, "190 more signatures ignored");
    assertEquals(zone.queries("x10._domainkey.good.test"), 0);
  });
});

test("Hostile names in d= and s= inject nothing into Authentication-Results", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    const one = await signature(MAIL, key);
    for (
      const evil of ["a\0b", '";dkim=pass', "x(y", "x) ; dmarc=pass (", "e=vil", "..", "a".repeat(70), "ä"]
    ) {
      const field = one.replace("d=good.test", `d=${evil}`).replace("s=s1", `s=${evil}`);
      const { authentication: a } = await verify(new TextEncoder().encode(field + MAIL), ELSEWHERE);
      assertMatch(
        a.dmarc.authentication_results,
        /^mx\.us\.test; spf=fail smtp\.mailfrom=good\.test(; dkim=\w+( header\.[dsab]=[\w.-]+)*)+; dmarc=fail policy\.dmarc=reject header\.from=good\.test; arc=none$/,
      );
      assertNotMatch(a.dmarc.authentication_results, /dkim=pass|dmarc=pass/);
      assert(a.dkim.result !== "temperror", evil);
    }
  });
});

const FROM_CASES: [string, string, string][] = [
  ["no From", "To: b@us.test\r\n", "missing"],
  ["an empty From", "From: \r\n", "missing"],
  ["two From fields", "From: a@good.test\r\nFrom: a@good.test\r\n", "repeated"],
  ["a second From that hides behind a fold", "From: a@good.test\r\nFrom\r\n : b@evil.test\r\n", "repeated"],
  ["authors of two domains", "From: a@good.test, b@evil.test\r\n", "several_domains"],
  ["a group", "From: friends: a@good.test;\r\n", "group"],
  ["an empty group", "From: undisclosed-recipients:;\r\n", "group"],
  ["no address", "From: somebody\r\n", "missing"],
  ["two @", "From: a@good.test@evil.test\r\n", "invalid"],
  ["two addresses and no comma", "From: a@good.test\r\n b@evil.test\r\n", "invalid"],
];
for (const [what, from, problem] of FROM_CASES) {
  test(`DMARC with ${what} is a permerror and never an aligned pass`, async () => {
    await withBench(zoneOf(), async ({ verify }) => {
      const { authentication: a, fromProblem } = await verify(`${from}Subject: x\r\n\r\nBody\r\n`);
      assertEquals([a.dmarc.result, fromProblem], ["permerror", problem]);
      assertEquals([a.dmarc.spf_alignment, a.dmarc.dkim_alignment], [false, false]);
    });
  });
}

test("Two authors of one domain are one author domain; a colon in a quoted name makes no group", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    for (
      const from of ["a@good.test, b@good.test", '"Re: you; me" <a@good.test>', "a@good.test (at: work)"]
    ) {
      const { authentication: a, fromProblem } = await verify(mailText({ From: from }));
      assertEquals([from, fromProblem, a.dmarc.result], [from, null, "pass"]);
    }
  });
});

const DMARC_CASES: [string, Record<string, string>, string, string, string | null][] = [
  ["p=none", { "_dmarc.good.test": "v=DMARC1; p=none" }, "good.test", "fail", "none"],
  ["p=quarantine", { "_dmarc.good.test": "v=DMARC1; p=quarantine" }, "good.test", "fail", "quarantine"],
  [
    "sp for an existing subdomain",
    { "_dmarc.good.test": "v=DMARC1; p=reject; sp=none" },
    "sub.good.test",
    "fail",
    "none",
  ],
  [
    "np for a missing subdomain",
    { "_dmarc.good.test": "v=DMARC1; p=none; np=reject" },
    "no.good.test",
    "fail",
    "reject",
  ],
  [
    "t=y, one step down",
    { "_dmarc.good.test": "v=DMARC1; p=reject; t=y" },
    "good.test",
    "fail",
    "quarantine",
  ],
  ["psd=y above", { "_dmarc.test": "v=DMARC1; p=reject; psd=y" }, "good.test", "fail", "reject"],
  ["a broken p", { "_dmarc.good.test": "v=DMARC1; p=bogus" }, "good.test", "none", null],
  ["two records", { "_dmarc.good.test": "v=DMARC1; p=reject|v=DMARC1; p=none" }, "good.test", "none", null],
  ["no record", {}, "good.test", "none", null],
];
for (const [what, records, author, result, policy] of DMARC_CASES) {
  test(`DMARC with ${what} gives ${result}, policy ${policy}`, async () => {
    const zone: Parameters<typeof withBench>[0] = {
      "good.test": { A: ["192.0.2.1"] },
      "sub.good.test": { A: ["192.0.2.1"] },
    };
    for (const [name, text] of Object.entries(records)) zone[name] = { TXT: text.split("|") };
    await withBench(zone, async ({ verify }) => {
      const { authentication: a } = await verify(mailText({ From: `a@${author}` }), ELSEWHERE);
      assertEquals([a.dmarc.result, a.dmarc.policy], [result, policy]);
    });
  });
}

test("The tree walk asks at most eight names for one author domain", async () => {
  const author = Array.from({ length: 30 }, (_, i) => `l${i}`).join(".") + ".good.test";
  await withBench({}, async ({ zone, verify }) => {
    await verify(mailText({ From: `a@${author}` }), { mailFrom: "", helo: null });
    assert(zone.queries() <= 8, `${zone.queries()} queries`);
  });
});

test("Disabled checks say so, and are none", async () => {
  await withBench(zoneOf(), async ({ zone, verify }) => {
    const config = { spf_enabled: false, dkim_enabled: false, dmarc_enabled: false };
    const { authentication: a } = await verify(await signed(MAIL, key), { config });
    assertEquals([a.spf.result, a.dkim.result, a.dmarc.result, a.arc.result], [
      "none",
      "none",
      "none",
      "none",
    ]);
    assertEquals([a.spf.reason, a.dkim.reason, a.dmarc.reason], [
      "SPF is disabled",
      "DKIM is disabled",
      "DMARC is disabled",
    ]);
    assertEquals(zone.queries(), 0);
  });
});

test("A body in a file is streamed from its offset and verifies like one in memory", async () => {
  await withTempDir(async (dir) => {
    const mail = await signed(mailText({ From: "a@good.test" }, "A line of text.\r\n".repeat(20_000)), key);
    const { body } = split(mail);
    const path = `${dir}/body`;
    await Deno.writeFile(path, new Uint8Array([1, 2, 3, ...body]));
    await withBench(zoneOf(), async ({ verify }) => {
      const file = { kind: "file" as const, path, offset: 3, length: body.length };
      assertEquals((await verify(mail, { body: file })).authentication.dkim.result, "pass");
      let failure: unknown;
      await verify(mail, { body: { ...file, length: body.length + 1 } }).catch((error) => failure = error);
      assertMatch(String(failure), /shorter than recorded/);
    });
  });
});

const sealer = makeKey("list.test", "arc");
const second = makeKey("hop.test", "arc");

/** A mail whose DKIM a list broke, sealed by the list (and another hop) on the way. */
async function forwarded(results: string, hops: SigningKey[] = [sealer]): Promise<string> {
  let mail = (await signed(MAIL, key)).replace("Subject: Hi", "Subject: [list] Hi");
  for (const [i, hop] of hops.entries()) {
    mail = await arcSet(mail, hop, results, i === 0 ? "none" : "pass") + mail;
  }
  return mail;
}

const SEALED = "list.test; dmarc=pass header.from=good.test";
const arcZone = {
  ...zoneOf(),
  [sealer.name]: { TXT: [sealer.record] },
  [second.name]: { TXT: [second.record] },
};

test("A trusted sealer's chain vouches for a mail that fails DMARC", async () => {
  await withBench(arcZone, async ({ verify }) => {
    const trust = { ...ELSEWHERE, config: { arc_trusted_sealers: ["LIST.test"] } };
    const { authentication: a, arcVouches } = await verify(await forwarded(SEALED), trust);
    assertEquals([a.dmarc.result, a.arc.result, a.arc.chain], ["fail", "pass", ["list.test"]]);
    assertEquals(arcVouches, true);
  });
});

test("A chain vouches for nothing when a sealer is not trusted, or saw no DMARC pass, or another author", async () => {
  await withBench(arcZone, async ({ verify }) => {
    const trust = { ...ELSEWHERE, config: { arc_trusted_sealers: ["list.test"] } };
    const cases: [string, { arcVouches: boolean }][] = [
      ["untrusted", await verify(await forwarded(SEALED), ELSEWHERE)],
      ["second hop", await verify(await forwarded(SEALED, [sealer, second]), trust)],
      ["dmarc=fail", await verify(await forwarded("list.test; dmarc=fail header.from=good.test"), trust)],
      ["no dmarc", await verify(await forwarded("list.test; spf=pass"), trust)],
      ["other author", await verify(await forwarded("list.test; dmarc=pass header.from=evil.test"), trust)],
      ["body changed after", await verify((await forwarded(SEALED)).replace("Hello", "Hullo"), trust)],
    ];
    assertEquals(cases.filter(([, outcome]) => outcome.arcVouches).map(([what]) => what), []);
  });
});

test("A chain of two trusted hops vouches", async () => {
  await withBench(arcZone, async ({ verify }) => {
    const trust = { ...ELSEWHERE, config: { arc_trusted_sealers: ["list.test", "hop.test"] } };
    const { authentication: a, arcVouches } = await verify(await forwarded(SEALED, [sealer, second]), trust);
    assertEquals([a.arc.result, a.arc.chain, arcVouches], ["pass", ["list.test", "hop.test"], true]);
  });
});

test("ARC with a gap, a duplicate or over 50 sets fails; a dead key server makes it temperror", async () => {
  await withBench(arcZone, async ({ verify }) => {
    const mail = await forwarded(SEALED);
    const set = mail.slice(0, mail.indexOf("DKIM-Signature:"));
    const rest = mail.slice(set.length);
    const gap = set.replace(/i=1;/g, "i=3;") + mail;
    const over = Array.from({ length: 51 }, (_, i) => set.replace(/i=1;/g, `i=${i + 1};`)).join("") + rest;
    for (const broken of [gap, set + mail, over]) {
      assertEquals((await verify(broken)).authentication.arc.result, "fail");
    }
  });
  await withBench(arcZone, async ({ zone, verify }) => {
    zone.behave(sealer.name, { rcode: "SERVFAIL" });
    assertEquals((await verify(await forwarded(SEALED))).authentication.arc.result, "temperror");
  });
});

test("Mail without any header, or with header only, gets defined verdicts", async () => {
  await withBench({}, async ({ verify }) => {
    for (
      const mail of [
        "",
        "\r\n",
        "\r\nbody only\r\n",
        "Subject: no empty line\r\n",
        "\ufeffFrom: a@good.test\r\n\r\n",
      ]
    ) {
      const { authentication: a } = await verify(mail);
      assertEquals([a.dkim.result, a.dmarc.result], ["none", "permerror"]);
    }
  });
});

test("A signature that the library throws at is a permerror; the author is judged all the same", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    const mail = (await signed(MAIL, key)).replace("c=relaxed/relaxed", "c=/");
    const own = (await verify(mail)).authentication;
    assertEquals([own.dkim.result, own.dkim.signed_by, own.dmarc.result], ["permerror", [], "pass"]);
    assertMatch(own.dmarc.authentication_results, /; dkim=permerror; /);
    const forged = (await verify(mail, ELSEWHERE)).authentication;
    assertEquals([forged.dkim.reason, forged.dmarc.result], ["a signature can't be evaluated", "fail"]);
  });
});

test("A body file that is gone is our trouble and throws", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    const body = { kind: "file" as const, path: "/nonexistent/body", offset: 0, length: 1 };
    const failure = await verify(await signed(MAIL, key), { body }).then(
      () => null,
      (error: Error) => error.name,
    );
    assertEquals(failure, "BodyError");
  });
});

test("An author domain in UTF-8 is reported as its A-label", async () => {
  const idn = makeKey("xn--bcher-kva.test");
  await withBench(senderZone(idn, "192.0.2.1", "v=DMARC1; p=reject"), async ({ verify }) => {
    const mail = await signed(mailText({ From: "a@bücher.test" }), idn);
    const { authentication: a } = await verify(mail, ELSEWHERE);
    assertEquals([a.dmarc.result, a.dkim.from_domain], ["pass", "xn--bcher-kva.test"]);
    assertMatch(a.dmarc.authentication_results, /header\.from=xn--bcher-kva\.test/);
  });
});

test("An author domain in letters that mean others has the policy of the domain that readers see", async () => {
  await withBench(zoneOf(), async ({ verify }) => {
    for (const domain of ["ｇｏｏｄ.test", "go\u00adod.test", "good\u3002test"]) {
      const { authentication: a } = await verify(mailText({ From: `a@${domain}` }), ELSEWHERE);
      assertEquals([domain, a.dmarc.result, a.dmarc.policy], [domain, "fail", "reject"]);
    }
  });
});

test("No header, however garbled, makes verification throw or write anything but clean tokens", async () => {
  const field = fc.constantFrom(
    "From",
    "DKIM-Signature",
    "ARC-Seal",
    "ARC-Message-Signature",
    "ARC-Authentication-Results",
    "Content-Type",
    "Return-Path",
    "Received",
  );
  const part = fc.constantFrom(
    ...[
      "v=1",
      "a=rsa-sha256",
      "a=ed25519-sha256",
      "a=x",
      "b=AAAA",
      "b=",
      "bh=AAAA",
      "c=relaxed/simple",
      "c=/",
      "h=from",
    ],
    ...[
      "h=From:From",
      "d=good.test",
      "d=\0",
      "d=(",
      'd="',
      "s=s1",
      "s=..",
      "i=1",
      "i=@evil",
      "i=99",
      "l=0",
      "l=-1",
      "l=9e9",
    ],
    ...[
      "t=99999999999999",
      "x=1",
      "cv=none",
      "cv=pass",
      "q=y",
      ";",
      "\r\n ",
      "a@good.test",
      "<",
      ">",
      "(",
      ")",
      ",",
      ":",
    ],
  );
  const line = fc.tuple(field, fc.array(part, { maxLength: 14 })).map(([name, parts]) =>
    `${name}: ${parts.join(";")}\r\n`
  );
  await withBench(zoneOf(), async ({ verify }) => {
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 8 }), async (lines) => {
        const { authentication: a } = await verify(`${lines.join("")}\r\nBody\r\n`);
        assertMatch(
          a.dmarc.authentication_results,
          /^mx\.us\.test(; (spf|dkim|dmarc|arc)=\w+( [\w.]+=[\w.-]+)*)+$/,
        );
        assert(a.dkim.result !== "pass");
      }),
      { numRuns: Number(Deno.env.get("FUZZ_RUNS") ?? 150) },
    );
  });
});

test("The input of a mail is plain data that survives a worker's border", () => {
  assertEquals(structuredClone(inputFor(MAIL)), inputFor(MAIL));
});
