/** Our DKIM signatures, as a verifier sees them; and what breaks them. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import type { MessageBytes } from "../../src/mail/types.ts";
import { KeyCache, SIGNED_FIELDS, signMessage } from "../../src/outbound/sign.ts";
import type { SigningKey } from "../../src/outbound/task_types.ts";
import { mailText, split } from "../support/signed_mail.ts";
import { test, withTempDir } from "../support/test.ts";
import { dkimResults, KEYS, makeSigningKey } from "./support.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const HEADERS = {
  From: "ann@ours.test",
  To: "bob@there.test",
  Subject: "Hello",
  Date: "Thu, 1 Jan 2026 00:00:00 +0000",
};

async function sign(
  mail: string,
  keys: SigningKey[] = KEYS,
  body: MessageBytes = { kind: "memory", bytes: split(mail).body },
): Promise<string> {
  const input = { header: split(mail).header, body, keys, signedAt: Date.UTC(2026, 0, 1) };
  const output = await signMessage(input, new KeyCache());
  if (output.kind !== "made") throw new Error(output.problem);
  return new TextDecoder().decode(output.head) + new TextDecoder().decode(split(mail).body);
}

test("Both keys sign, relaxed and whole, and the signatures verify", async () => {
  const signed = await sign(mailText(HEADERS));
  assertEquals(await dkimResults(signed), ["pass", "pass"]);
  const fields = signed.slice(0, signed.indexOf("\r\nFrom:")).replace(/\r\n /g, " ");
  assertMatch(fields, /^DKIM-Signature: v=1; a=rsa-sha256; c=relaxed\/relaxed; d=ours\.test; h=From: From:/);
  assertMatch(fields, /\r\nDKIM-Signature: v=1; a=ed25519-sha256; c=relaxed\/relaxed; d=ours\.test;/);
  assertEquals(/[; ]l=/.test(fields), false);
  assertEquals(/; t=1767225600;/.test(fields), true);
});

test("Every signed field is listed once more than it is there", async () => {
  const signed = await sign(mailText({ ...HEADERS, "Reply-To": "x@y.test" }), [KEYS[0]!]);
  const listed = /h=([^;]+);/.exec(signed.replace(/\r\n /g, " "))![1]!.split(/: ?/);
  for (const name of SIGNED_FIELDS) {
    const present = Object.hasOwn({ ...HEADERS, "Reply-To": "" }, name);
    assertEquals([name, listed.filter((other) => other === name).length], [name, present ? 2 : 1]);
  }
});

test("A field that somebody adds breaks every signature, on top as below, and so does a change", async () => {
  const mail = mailText({ ...HEADERS, Cc: "cy@there.test" });
  const signed = await sign(mail);
  for (const name of SIGNED_FIELDS) {
    const onTop = `${name}: eve@evil.test\r\n${signed}`;
    assertEquals([name, ...await dkimResults(onTop)], [name, "fail", "fail"]);
    const below = signed.replace("\r\n\r\n", `\r\n${name}: eve@evil.test\r\n\r\n`);
    assertEquals([name, ...await dkimResults(below)], [name, "fail", "fail"]);
  }
  assertEquals(await dkimResults(signed.replace("Subject: Hello", "Subject: Bye")), ["fail", "fail"]);
  assertEquals(await dkimResults(`${signed}More.\r\n`), ["fail", "fail"]);
  // Trace fields of the way are no harm, nor are blanks that a relay changes.
  assertEquals(await dkimResults(`Received: by x\r\n${signed.replace("Hello", " Hello ")}`), [
    "pass",
    "pass",
  ]);
});

test("Fields that are there several times are signed from the last to the first", async () => {
  const mail = "From: a@ours.test\r\nReferences: <1@x>\r\nReferences: <2@x>\r\n\r\nHi\r\n";
  const signed = await sign(mail);
  assertEquals(await dkimResults(signed), ["pass", "pass"]);
  const swapped = signed.replace("<1@x>", "<0@x>").replace("<2@x>", "<1@x>").replace("<0@x>", "<2@x>");
  assertEquals(await dkimResults(swapped), ["fail", "fail"]);
});

test("Bodies of every shape verify, from memory and from a file read in pieces", () =>
  withTempDir(async (dir) => {
    const bodies = {
      empty: "",
      "line ends only": "\r\n\r\n\r\n",
      "no line end": "abc",
      blanks: "a  b\t \r\n \t\r\nc \r\n\r\n",
      utf8: "Grüße 😀\r\n",
      "several pieces": "0123456789abcde \r\n".repeat(20_000) + "end",
    };
    for (const [what, body] of Object.entries(bodies)) {
      const mail = mailText(HEADERS, body);
      assertEquals([what, ...await dkimResults(await sign(mail))], [what, "pass", "pass"]);
      const path = `${dir}/body`;
      await Deno.writeTextFile(path, `xx${body}`);
      const file = { kind: "file" as const, path, offset: 2, length: encode(body).length };
      assertEquals([what, ...await dkimResults(await sign(mail, KEYS, file))], [what, "pass", "pass"]);
    }
  }));

test("A body with long lines or bare line ends is unfit, whether it is signed or not", async () => {
  const bad = {
    "x\ny": "bare",
    "x\ry": "bare",
    "x\r": "bare",
    [`${"x".repeat(999)}\r\n`]: "line of more than 998",
  };
  for (const [body, problem] of Object.entries(bad)) {
    for (const keys of [KEYS, []]) {
      const bytes = encode(body);
      const input = { header: encode("From: a@b\r\n\r\n"), keys, signedAt: 0 };
      const output = await signMessage({ ...input, body: { kind: "memory", bytes } }, new KeyCache());
      assert(output.kind === "unfit" && output.path === "message" && output.problem.includes(problem), body);
    }
  }
  await sign(mailText(HEADERS, `${"x".repeat(998)}\r\n`));
});

test("Without keys the header comes back as it is", async () => {
  const mail = mailText(HEADERS);
  assertEquals(await sign(mail, []), mail);
});

test("A key of another kind than it says, or none at all, is an error and no unsigned mail", async () => {
  const [rsa] = KEYS;
  await assertRejects(
    () => sign(mailText(HEADERS), [{ ...rsa!, algorithm: "ed25519" }]),
    Error,
    "is no ed25519 key",
  );
  await assertRejects(() => sign(mailText(HEADERS), [{ ...rsa!, privateKeyPem: "no key" }]));
});

test("A domain in A-labels signs and verifies", async () => {
  const key = makeSigningKey("ed25519", "s", "xn--bcher-kva.test");
  const signed = await sign(mailText({ ...HEADERS, From: "a@xn--bcher-kva.test" }), [key]);
  assertEquals(await dkimResults(signed, [key]), ["pass"]);
});
