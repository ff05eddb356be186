/** What `validate` and the start say about keys that mail is signed with. */

import { assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import { generateKeyPairSync } from "node:crypto";
import { check } from "../../src/config/check.ts";
import { test } from "../support/test.ts";
import { briefly, loadFrom, loadYaml, okOf, readFrom } from "./support.ts";

const PATH = "/etc/gomail/dkim/k.pem";
const YAML = `dkim_private_key_path: ${PATH}\nprimary_domain: a.test\n`;
const PASSPHRASE = "pK3vZ8qLwT1xN6rY0mBd";

function rsa(bits: number, passphrase?: string): string {
  const { privateKey } = generateKeyPairSync("rsa", { modulusLength: bits });
  const encryption = passphrase === undefined ? {} : { cipher: "aes-256-cbc", passphrase };
  return privateKey.export({ type: "pkcs8", format: "pem", ...encryption }) as string;
}

/** Findings about DKIM alone, by their paths. */
function found(yaml: string, content?: string | Uint8Array | Error, mode = 0o640): string[] {
  const files = content === undefined ? {} : { [PATH]: content };
  const { problems, warnings } = check(okOf(loadYaml(yaml)), {
    readFile: readFrom(files),
    fileMode: () => mode,
    now: () => Date.UTC(2026, 0, 1),
  });
  const about = (kind: string, findings: typeof problems) =>
    briefly(findings).filter((text) => text.startsWith("dkim_")).map((text) => `${kind} ${text}`);
  return [...about("problem", problems), ...about("warning", warnings)];
}

test("a good key file is no finding, and none is looked for where nothing is signed", () => {
  assertEquals(found(YAML, rsa(2048)), []);
  const ed25519 = generateKeyPairSync("ed25519").privateKey.export({
    type: "pkcs8",
    format: "pem",
  }) as string;
  assertEquals(found(YAML, ed25519), []);
  assertEquals(found(`${YAML}dkim_passphrase: ${PASSPHRASE}\n`, rsa(2048, PASSPHRASE)), []);
  assertEquals(found(`${YAML}dkim_sign_outbound: false\n`), []);
  assertEquals(found("primary_domain: a.test\n"), []);
});

test("a key file that can't sign is a problem that names what to do, and never shows what is in it", () => {
  const secret = "c2VjcmV0IGJ5dGVz";
  const cases: [string | Uint8Array | Error | undefined, string][] = [
    [undefined, "names a file that does not exist"],
    [new Deno.errors.PermissionDenied("x"), "names a file that cannot be read: permission denied"],
    [secret, "is not a PEM private key"],
    [`-----BEGIN PRIVATE KEY-----\n${secret}\n-----END PRIVATE KEY-----\n`, "is not a PEM private key"],
    [rsa(2048, "another"), "can't be decrypted with dkim_passphrase"],
    [rsa(768), "has 768 bits: signatures of less than 1024 count as none"],
    [new Uint8Array(70_000), "names a file that is too large"],
    [
      generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({
        type: "pkcs8",
        format: "pem",
      }) as string,
      "is neither an RSA nor an Ed25519 key",
    ],
  ];
  for (const [content, words] of cases) {
    const [first, ...rest] = found(YAML, content);
    assertStringIncludes(first ?? "nothing", `problem dkim_private_key_path: ${words}`);
    assertEquals(rest, []);
    assertNotMatch(first!, new RegExp(secret));
  }
});

test("the first GoMail's default outside the executable's places is a problem that says to remove it", () => {
  const path = "/etc/mailserver/dkim/private.key";
  const outside = new Deno.errors.NotCapable(`Requires read access to "${path}"`);
  const files = { "/c": `dkim_private_key_path: ${path}\n`, [path]: outside };
  const loaded = okOf(loadFrom({ files, configFile: "/c" }));
  const { problems } = check(loaded, { readFile: readFrom(files), fileMode: () => null, now: () => 0 });
  const remedy = problems.find((problem) => problem.path === "dkim_private_key_path")?.remedy;
  assertEquals(remedy, "remove it if there is no such file, or put a copy below /etc/gomail");
});

test("a key that is short, open to all, or of nobody is a warning", () => {
  assertEquals(found(YAML, rsa(1024)), ["warning dkim_private_key_path: has 1024 bits, and 2048 are usual"]);
  assertEquals(found(YAML, rsa(2048), 0o644), [
    "warning dkim_private_key_path: can be read by every user, who could sign mail with it",
  ]);
  assertEquals(found(`dkim_private_key_path: ${PATH}\n`, rsa(2048)), [
    "warning dkim_private_key_path: signs nothing: it is for mail of primary_domain, which is not set",
  ]);
});

test("a passphrase that could be guessed is a problem, read from its file as well, and is not shown", () => {
  const [weak, ...rest] = found("dkim_passphrase: hunter2\n");
  assertEquals([weak, rest], [
    "problem dkim_passphrase: could be guessed: it has fewer than 16 characters",
    [],
  ]);
  assertEquals(found(`dkim_passphrase: ${PASSPHRASE}\n`), []);
  const files = { "/c.yaml": "dkim_passphrase_file: /run/p\n", "/run/p": "hunter2\n" };
  const loaded = okOf(loadFrom({ files, configFile: "/c.yaml" }));
  assertEquals(loaded.config.dkim_passphrase, "hunter2");
  const surroundings = { readFile: readFrom(files), fileMode: () => 0o640, now: () => 0 };
  assertNotMatch(JSON.stringify(check(loaded, surroundings)), /hunter2/);
});
