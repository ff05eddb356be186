/** A DKIM key's life, in DNS, on disk and in the rows, and what mail is signed with at each point of it. */

import { assert, assertEquals, assertNotMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { generateKeyPairSync } from "node:crypto";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import type { DnsRecord, SigningKey } from "../../src/outbound/types.ts";
import { mailText, signature } from "../support/signed_mail.ts";
import { test } from "../support/test.ts";
import { signingSelectors, withDkim } from "./dkim_support.ts";

const RSA = "gm202611a-rsa";
const ED25519 = "gm202611a-ed25519";
const PASSPHRASE = "pK3vZ8qLwT1xN6rY0mBd";

const pem = (options: { bits?: number; passphrase?: string } = {}) => {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: options.bits ?? 2048 });
  const { passphrase } = options;
  const encryption = passphrase === undefined ? {} : { cipher: "aes-256-cbc", passphrase };
  return privateKey.export({ type: "pkcs8", format: "pem", ...encryption }) as string;
};

const selectorsOf = (keys: readonly SigningKey[]) => keys.map(({ selector }) => selector).sort();
const modeOf = async (path: string) => (await Deno.stat(path)).mode! & 0o777;

test("generate() makes a pending RSA and Ed25519 key, each in a file of its own that only we can read", () =>
  withDkim({}, async ({ dkim, path, store, dir, log }) => {
    const made = await dkim.generate("OURS.test");
    assert(made.kind === "made");
    assertEquals(made.keys.map(({ selector, algorithm, state }) => [selector, algorithm, state]), [
      [RSA, "rsa", "pending"],
      [ED25519, "ed25519", "pending"],
    ]);
    assertEquals([...store.rows.keys()], [`ours.test ${RSA}`, `ours.test ${ED25519}`]);
    for (const selector of [RSA, ED25519]) {
      assertEquals(await modeOf(path("ours.test", selector)), 0o600);
      assertStringIncludes(
        await Deno.readTextFile(path("ours.test", selector)),
        "-----BEGIN PRIVATE KEY-----",
      );
    }
    assertEquals([await modeOf(`${dir}/dkim`), await modeOf(`${dir}/dkim/ours.test`)], [0o700, 0o700]);
    const names = [...Deno.readDirSync(`${dir}/dkim/ours.test`)].map(({ name }) => name).sort();
    assertEquals(names, [`${ED25519}.pem`, `${RSA}.pem`]);
    // RFC 8463 4: the 32 bytes alone. RSA-2048 as SubjectPublicKeyInfo has 294.
    assertEquals(made.keys.map(({ publicKey }) => atob(publicKey).length), [294, 32]);
    assertEquals(await dkim.signingKeys("ours.test"), []);
    assertNotMatch(log() + JSON.stringify(made), /PRIVATE|"[A-Za-z0-9+/=]{500,}"/);
  }));

test("a second pair in the same month gets the next letter, whatever became of the first", () =>
  withDkim({}, async ({ dkim, path, clock }) => {
    const bases = async () => {
      const made = await dkim.generate("ours.test");
      return made.kind === "made" ? made.keys[0]!.selector : made.kind;
    };
    assertEquals([await bases(), await bases()], ["gm202611a-rsa", "gm202611b-rsa"]);
    await dkim.retire("ours.test", "gm202611b-rsa", false);
    // What a crash between the file and its row leaves.
    await Deno.writeTextFile(path("ours.test", "gm202611c-ed25519"), "an orphan");
    assertEquals(await bases(), "gm202611d-rsa");
    assertEquals(await Deno.readTextFile(path("ours.test", "gm202611c-ed25519")), "an orphan");
    await clock.advance(30 * 86_400_000);
    assertEquals(await bases(), "gm202612a-rsa");
  }));

test("two generate() at once choose different selectors, and each row has the key of its file", () =>
  withDkim({}, async ({ dkim }) => {
    await Promise.all([dkim.generate("ours.test"), dkim.generate("ours.test")]);
    assertEquals((await dkim.list("ours.test")).length, 4);
    for (const { selector } of await dkim.list("ours.test")) {
      assertEquals((await dkim.activate("ours.test", selector, true)).kind, "activated", selector);
    }
  }));

test("generate() makes keys for our domains alone, and not without end", () =>
  withDkim({}, async ({ dkim, dir, store }) => {
    for (
      const domain of ["other.test", "sub.ours.test", "", "..", "../x", "ours.test/..", "a\0b", "ours.test."]
    ) {
      assertEquals((await dkim.generate(domain)).kind, "foreign_domain", domain);
    }
    assertEquals([...Deno.readDirSync(dir)], []);
    assertEquals((await dkim.generate("bücher.test")).kind, "made");
    const long = `${"a.".repeat(70)}ours.test`;
    assertEquals([long.length, (await dkim.generate(`b${long.slice(1)}`)).kind], [149, "made"]);
    assertEquals(await dkim.generate(`bcd${long.slice(1)}`), { kind: "too_long", max: 150 });
    await dkim.generate("second.test");
    const row = store.rows.get(`second.test ${RSA}`)!;
    for (let i = 0; i < 18; i++) store.rows.set(`${i}`, { ...row, selector: `imported${i}` });
    assertEquals(await dkim.generate("second.test"), { kind: "too_many", max: 20 });
    await dkim.retire("second.test", "gm202611a-rsa", false);
    await dkim.retire("second.test", "gm202611a-ed25519", false);
    assertEquals((await dkim.generate("second.test")).kind, "made");
  }));

test("a row never names a missing file: the files are there when the rows come", () =>
  withDkim({}, async ({ dkim, store, path }) => {
    const seen: boolean[] = [];
    store.onWrite = async (verb, keys) => {
      for (const { domain, selector } of keys) {
        const isThere = await Deno.stat(path(domain, selector)).then(() => true, () => false);
        seen.push(isThere);
        if (verb === "add") throw new Error("the disk is gone");
      }
    };
    await assertRejects(() => dkim.generate("ours.test"), Error, "the disk is gone");
    assertEquals([seen, [...store.rows]], [[true], []]);
    store.onWrite = () => {};
    const [selector] = await signingSelectors(dkim, "ours.test");
    seen.length = 0;
    store.onWrite = async (_, keys) => {
      for (const key of keys) seen.push((await Deno.stat(path(key.domain, key.selector))).isFile);
    };
    await dkim.retire("ours.test", selector!, true);
    assertEquals(seen, [true]);
    await assertRejects(() => Deno.stat(path("ours.test", selector!)), Deno.errors.NotFound);
  }));

test("activate() looks at DNS first, says what is there instead, and changes nothing until it is right", () =>
  withDkim({}, async ({ dkim, zone, publish, store }) => {
    await dkim.generate("ours.test");
    const [rsa, ed25519] = await dkim.records("ours.test") as [DnsRecord, DnsRecord];
    assertEquals([rsa.name, rsa.type], [`${RSA}._domainkey.ours.test`, "TXT"]);
    const before = await dkim.activate("ours.test", null, false);
    assertEquals(before, {
      kind: "not_published",
      missing: [{ record: rsa, found: "no TXT record" }, { record: ed25519, found: "no TXT record" }],
    });
    // Published now: no earlier answer may be remembered.
    publish([rsa]);
    zone.set(ed25519.name, { TXT: [rsa.value] });
    const halfway = await dkim.activate("ours.test", null, false);
    assert(halfway.kind === "not_published");
    assertEquals(halfway.missing.map(({ record }) => record.name), [ed25519.name]);
    assertStringIncludes(halfway.missing[0]!.found, "k=rsa, not k=ed25519");
    assertEquals([...store.rows.values()].map(({ state }) => state), ["pending", "pending"]);
    publish([ed25519]);
    const done = await dkim.activate("ours.test", null, false);
    assert(done.kind === "activated");
    assertEquals(done.keys.map(({ selector, state, activatedAt }) => [selector, state, activatedAt]), [
      [RSA, "active", Date.UTC(2026, 10, 4, 12)],
      [ED25519, "active", Date.UTC(2026, 10, 4, 12)],
    ]);
    assertEquals(selectorsOf(await dkim.signingKeys("ours.test")), [ED25519, RSA]);
  }));

test("a DNS failure is said to be one, and is no reason to activate", () =>
  withDkim({}, async ({ dkim, zone }) => {
    await dkim.generate("ours.test");
    zone.behave("*", { rcode: "SERVFAIL" });
    const result = await dkim.activate("ours.test", RSA, false);
    assert(result.kind === "not_published");
    const [missing] = result.missing;
    assertStringIncludes(missing!.found, "not known: DNS gave no answer for");
    assertStringIncludes(missing!.found, "(ESERVFAIL); try again");
    assertEquals((await dkim.activate("ours.test", RSA, true)).kind, "activated");
  }));

test("a new key of the same algorithm makes the old one retiring, and one of them may come back", () =>
  withDkim({}, async ({ dkim, clock }) => {
    await signingSelectors(dkim, "ours.test");
    const states = async () =>
      Object.fromEntries((await dkim.list("ours.test")).map(({ selector, state }) => [selector, state]));
    await dkim.signingKeys("ours.test");
    await clock.advance(1000);
    await dkim.generate("ours.test");
    await dkim.activate("ours.test", "gm202611b-rsa", true);
    assertEquals(await states(), {
      [RSA]: "retiring",
      [ED25519]: "active",
      "gm202611b-rsa": "active",
      "gm202611b-ed25519": "pending",
    });
    // What was kept in memory is not used any more.
    assertEquals(selectorsOf(await dkim.signingKeys("ours.test")), [ED25519, "gm202611b-rsa"]);
    const stopped = (await dkim.list("ours.test")).find(({ selector }) => selector === RSA);
    assertEquals(stopped!.stoppedAt, clock.now());
    assertEquals((await dkim.records("ours.test")).length, 4);
    await dkim.activate("ours.test", RSA, true);
    assertEquals([(await states())[RSA], (await states())["gm202611b-rsa"]], ["active", "retiring"]);
    assertEquals((await dkim.list("ours.test")).find(({ selector }) => selector === RSA)!.stoppedAt, null);
  }));

test("activate() of two pending pairs takes the newer one; of nothing it says so", () =>
  withDkim({}, async ({ dkim, clock }) => {
    assertEquals(await dkim.activate("ours.test", null, true), { kind: "unknown" });
    await dkim.generate("ours.test");
    await clock.advance(1);
    await dkim.generate("ours.test");
    const result = await dkim.activate("ours.test", null, true);
    assert(result.kind === "activated");
    assertEquals(result.keys.map(({ selector }) => selector), ["gm202611b-rsa", "gm202611b-ed25519"]);
    assertEquals(await dkim.activate("ours.test", "../../x", true), { kind: "unknown" });
    assertEquals(await dkim.activate("other.test", RSA, true), { kind: "unknown" });
    // Again is fine, and changes nothing.
    const again = await dkim.activate("ours.test", "gm202611b-rsa", true);
    assert(again.kind === "activated" && again.keys[0]!.activatedAt === clock.now());
    assertEquals((await dkim.activate("ours.test", RSA, true)).kind, "activated");
    await dkim.retire("ours.test", "gm202611b-rsa", true);
    assertEquals(await dkim.activate("ours.test", "gm202611b-rsa", true), { kind: "unknown" });
  }));

test("retire() refuses a key that signs, and one whose mail is unsent, unless it is forced", () =>
  withDkim({}, async ({ dkim, store, clock, path }) => {
    await signingSelectors(dkim, "ours.test");
    assertEquals(await dkim.retire("ours.test", RSA, false), { kind: "signing" });
    await dkim.generate("ours.test");
    await dkim.activate("ours.test", null, true);
    const stoppedAt = clock.now();
    await clock.advance(3_600_000);
    store.unsent = 3;
    assertEquals(await dkim.retire("ours.test", RSA, false), { kind: "unsent", count: 3 });
    // A mail that had its keys before they changed may be queued a little after.
    assertEquals(store.unsentAsked, [["ours.test", stoppedAt + 60_000]]);
    assertEquals((await Deno.stat(path("ours.test", RSA))).isFile, true);
    store.unsent = 0;
    assertEquals(await dkim.retire("ours.test", RSA, false), { kind: "retired" });
    store.unsent = 3;
    assertEquals(await dkim.retire("ours.test", ED25519, true), { kind: "retired" });
    for (const selector of [RSA, ED25519]) {
      await assertRejects(() => Deno.stat(path("ours.test", selector)), Deno.errors.NotFound);
    }
    assertEquals((await dkim.records("ours.test")).map(({ name }) => name.split(".")[0]), [
      "gm202611b-rsa",
      "gm202611b-ed25519",
    ]);
    assertEquals(await dkim.retire("ours.test", RSA, false), { kind: "retired" });
    for (const selector of ["nothing", "..", "../../webhook_secret", ""]) {
      assertEquals(await dkim.retire("ours.test", selector, true), { kind: "unknown" }, selector);
    }
    assertEquals(await dkim.retire("../dkim", RSA, true), { kind: "unknown" });
  }));

test("the key that signs may be forced out, and then nothing signs", () =>
  withDkim({}, async ({ dkim }) => {
    await signingSelectors(dkim, "ours.test");
    await dkim.signingKeys("ours.test");
    assertEquals(await dkim.retire("ours.test", RSA, true), { kind: "retired" });
    assertEquals(selectorsOf(await dkim.signingKeys("ours.test")), [ED25519]);
  }));

test("mail signed with the keys made here is verified by another library with the records made here", () =>
  withDkim({}, async ({ dkim, publish, newResolver }) => {
    await dkim.generate("ours.test");
    publish(await dkim.records("ours.test"));
    assertEquals((await dkim.activate("ours.test", null, false)).kind, "activated");
    const mail = mailText({
      From: "a@ours.test",
      To: "b@there.test",
      Subject: "Hello",
      Date: "Wed, 4 Nov 2026 12:00:00 +0000",
    });
    let fields = "";
    for (const { domain, selector, privateKeyPem, algorithm } of await dkim.signingKeys("ours.test")) {
      const key = { domain, selector, privateKey: privateKeyPem, name: "", record: "" };
      fields += await signature(mail, key, { algorithm: `${algorithm}-sha256` });
    }
    const resolver = newResolver();
    try {
      const lookup = (name: string, type: string) => resolver.nodeStyle(name, type) as Promise<string[]>;
      const { results } = await dkimVerify(fields + mail, { resolver: lookup });
      const seen = results.map(({ status, selector, signingDomain, algo }) =>
        [status?.result, selector, signingDomain, algo].join(" ")
      );
      assertEquals(seen.sort(), [
        `pass ${ED25519} ours.test ed25519-sha256`,
        `pass ${RSA} ours.test rsa-sha256`,
      ]);
    } finally {
      resolver.close();
    }
  }));

test("signing asks neither the store nor the disk again until something changes", () =>
  withDkim({}, async ({ dkim, store, path, configure }) => {
    await signingSelectors(dkim, "ours.test");
    const before = store.lists;
    await Promise.all([dkim.signingKeys("ours.test"), dkim.signingKeys("ours.test")]);
    await Deno.remove(path("ours.test", RSA));
    assertEquals(selectorsOf(await dkim.signingKeys("OURS.TEST")), [ED25519, RSA]);
    assertEquals(store.lists - before, 1);
    configure({});
    await assertRejects(
      () => dkim.signingKeys("ours.test"),
      Error,
      `${RSA}.pem is missing: restore it, or retire`,
    );
  }));

test("a key that can't be read keeps its mail from going out unsigned, and a repair is seen at once", () =>
  withDkim({ dkim_passphrase: PASSPHRASE }, async ({ dkim, path, configure }) => {
    await signingSelectors(dkim, "ours.test");
    const text = await Deno.readTextFile(path("ours.test", ED25519));
    assertStringIncludes(text, "-----BEGIN ENCRYPTED PRIVATE KEY-----");
    assertEquals((await dkim.signingKeys("ours.test")).length, 2);
    configure({ dkim_passphrase: "another passphrase 17" });
    await assertRejects(
      () => dkim.signingKeys("ours.test"),
      Error,
      "can't be decrypted: set dkim_passphrase to what it was when the key was made",
    );
    configure({ dkim_passphrase: undefined });
    await assertRejects(
      () => dkim.signingKeys("ours.test"),
      Error,
      "is encrypted, and dkim_passphrase is not set",
    );
    configure({ dkim_passphrase: PASSPHRASE });
    assertEquals((await dkim.signingKeys("ours.test")).length, 2);
    // Repaired without a reload: what failed is not remembered.
    configure({});
    await Deno.writeTextFile(path("ours.test", ED25519), "-----BEGIN PRIVATE KEY-----\nAAAA\n");
    await assertRejects(() => dkim.signingKeys("ours.test"), Error, "is no private key in PEM");
    await Deno.writeTextFile(path("ours.test", ED25519), text);
    assertEquals((await dkim.signingKeys("ours.test")).length, 2);
  }));

test("a file with another key than the published one signs nothing, and is not activated", () =>
  withDkim({}, async ({ dkim, path }) => {
    await dkim.generate("ours.test");
    await Deno.writeTextFile(path("ours.test", RSA), pem());
    const result = await dkim.activate("ours.test", RSA, true);
    assert(result.kind === "unreadable");
    assertStringIncludes(result.problem, `the file of ${RSA} holds another key than the one published`);
    assertNotMatch(result.problem, /BEGIN/);
    assertEquals(await dkim.signingKeys("ours.test"), []);
  }));

test("nothing signs for domains that are none of ours, for subdomains, or with dkim_sign_outbound off", () =>
  withDkim({}, async ({ dkim, configure }) => {
    await signingSelectors(dkim, "ours.test");
    for (const domain of ["sub.ours.test", "other.test", "second.test", "..", ""]) {
      assertEquals(await dkim.signingKeys(domain), [], domain);
    }
    configure({ dkim_sign_outbound: false });
    assertEquals(await dkim.signingKeys("ours.test"), []);
  }));

test("the config's key signs for the primary domain until a key of ours is active there", () =>
  withDkim({}, async ({ dkim, dir, configure }) => {
    const file = `${dir}/old.pem`;
    await Deno.writeTextFile(file, pem({ bits: 1024 }));
    configure({ dkim_private_key_path: file, dkim_selector: "default" });
    const [key, ...rest] = await dkim.signingKeys("ours.test");
    assertEquals([key!.selector, key!.domain, key!.algorithm, rest], ["default", "ours.test", "rsa", []]);
    assertEquals(await dkim.signingKeys("second.test"), []);
    const listed = await dkim.list();
    assertEquals(listed.map(({ selector, state, source }) => [selector, state, source]), [[
      "default",
      "active",
      "config",
    ]]);
    assertEquals((await dkim.records("ours.test")).map(({ name }) => name), ["default._domainkey.ours.test"]);
    assertEquals(await dkim.retire("ours.test", "default", true), { kind: "unknown" });
    await dkim.generate("ours.test");
    assertEquals(selectorsOf(await dkim.signingKeys("ours.test")), ["default"]);
    await dkim.activate("ours.test", null, true);
    assertEquals(selectorsOf(await dkim.signingKeys("ours.test")), [ED25519, RSA]);
    assertEquals((await dkim.list("ours.test")).every(({ source }) => source === "store"), true);
  }));

test("a config key that is missing, no key, too short or encrypted for another makes mail wait", () =>
  withDkim({}, async ({ dkim, dir, configure }) => {
    const file = `${dir}/old.pem`;
    const problemWith = async (text: string | null, passphrase?: string) => {
      if (text !== null) await Deno.writeTextFile(file, text);
      configure({ dkim_private_key_path: file, dkim_passphrase: passphrase });
      return (await assertRejects(() => dkim.signingKeys("ours.test"), Error)).message.replace(dir, "");
    };
    const start = "Cannot sign for ours.test: dkim_private_key_path /old.pem";
    assertEquals(await problemWith(null), `${start} is missing`);
    assertEquals(await problemWith("not PEM"), `${start} is no private key in PEM`);
    assertEquals(await problemWith(pem({ bits: 768 })), `${start} has 768 bits, and 1024 are the least`);
    assertStringIncludes(
      await problemWith(pem({ passphrase: "x" })),
      `${start} is encrypted, and dkim_passphrase`,
    );
    assertStringIncludes(await problemWith(null, "y"), `${start} can't be decrypted`);
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const ec = privateKey.export({ type: "pkcs8", format: "pem" }) as string;
    assertEquals(await problemWith(ec), `${start} is neither an RSA nor an Ed25519 key`);
    assertEquals(await dkim.list("ours.test"), []);
    configure({ dkim_private_key_path: file, dkim_passphrase: "x" });
    await Deno.writeTextFile(file, pem({ passphrase: "x" }));
    assertEquals((await dkim.signingKeys("ours.test")).length, 1);
  }));

test("inspect() encrypts what was made without a passphrase, removes what is retired and warns of the rest", () =>
  withDkim({}, async ({ dkim, path, configure, log, store }) => {
    await signingSelectors(dkim, "ours.test");
    await signingSelectors(dkim, "second.test");
    await dkim.inspect();
    assertNotMatch(log(), /encrypted now|of no use/);
    configure({ dkim_passphrase: PASSPHRASE });
    await Deno.remove(path("second.test", RSA));
    // A crash after the row said so, and before the file was gone.
    store.rows.get(`second.test ${ED25519}`)!.state = "retired";
    await dkim.inspect();
    for (const selector of [RSA, ED25519]) {
      assertStringIncludes(
        await Deno.readTextFile(path("ours.test", selector)),
        "BEGIN ENCRYPTED PRIVATE KEY",
      );
      assertEquals(await modeOf(path("ours.test", selector)), 0o600);
    }
    await assertRejects(() => Deno.stat(path("second.test", ED25519)), Deno.errors.NotFound);
    assertStringIncludes(log(), `${RSA}.pem is missing`);
    assertEquals((await dkim.signingKeys("ours.test")).length, 2);
    const lines = log().split("\n").length;
    configure({ dkim_private_key_path: "/nowhere.pem" });
    await dkim.inspect();
    // Encrypted already: only what is of no use is said again, and the config's key.
    assertEquals(log().split("\n").length - lines, 2);
    assertNotMatch(log(), /BEGIN/);
  }));
