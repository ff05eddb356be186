/** YAML from people who mean well, and from one who doesn't (BAD-INPUT 61). */

import { assert, assertEquals, assertMatch, assertNotMatch } from "@std/assert";
import { readYaml, YAML_BYTES_MAX } from "../../src/config/yaml.ts";
import { test } from "../support/test.ts";
import { briefly, failedOf, loadYaml, okOf } from "./support.ts";

const bytes = (text: string) => new TextEncoder().encode(text);

function refusal(text: string | Uint8Array): string {
  const result = readYaml(typeof text === "string" ? bytes(text) : text);
  assert("problem" in result, "should be refused");
  return result.problem;
}

test("readYaml() takes an empty file, comments alone and a byte order mark", () => {
  assertEquals(readYaml(bytes("")), { values: {} });
  assertEquals(readYaml(bytes("# nothing\n")), { values: {} });
  assertEquals(readYaml(bytes("\ufeffport: 1\r\n")), { values: { port: 1 } });
});

test("readYaml() refuses aliases before anything expands them", () => {
  let bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n";
  for (let i = 1; i < 12; i++) bomb += `a${i}: &a${i} [${Array(9).fill(`*a${i - 1}`).join(",")}]\n`;
  assertEquals(refusal(bomb), "uses YAML aliases");
  assertEquals(refusal("a: &a {b: 1}\nc: *a"), "uses YAML aliases");
  assertEquals(refusal("a: &a [1]\nc:\n  <<: *a"), "uses YAML aliases");
  assertMatch(refusal("a: &a [*a]"), /uses YAML aliases|not plain YAML/);
});

test("readYaml() refuses tags", () => {
  assertMatch(refusal("a: !!js/function 'x'"), /^is not plain YAML: Cannot resolve unknown tag \(line 1/);
  assertMatch(refusal("a: !!binary aGk="), /unknown tag/);
  assertMatch(refusal("!x a: 1"), /unknown tag/);
});

test("readYaml() refuses duplicate keys, several documents and tabs out of place", () => {
  assertMatch(refusal("port: 1\nport: 2\n"), /duplicated key \(line 2, column 1\)/);
  assertMatch(refusal("port: 1\n---\nport: 2\n"), /more than 1 document/);
  assertMatch(refusal("a: b: c"), /not plain YAML/);
});

test("readYaml() refuses what is no mapping", () => {
  for (const text of ["- a\n- b", "just text", "42", "[a, b]"]) {
    assertEquals(refusal(text), "is not a mapping of keys to values");
  }
});

test("readYaml() refuses invalid UTF-8, NUL and what is too large", () => {
  assertEquals(refusal(new Uint8Array([0x61, 0x3a, 0x20, 0xff])), "is not valid UTF-8");
  assertMatch(refusal("a: \0b"), /not plain YAML/);
  assertMatch(refusal(new Uint8Array(YAML_BYTES_MAX + 1).fill(0x23)), /larger than 1048576 bytes/);
});

test("readYaml() refuses deep nesting without a stack overflow", () => {
  for (const deep of ["a: " + "[".repeat(400_000), "- ".repeat(300_000) + "a", "? ".repeat(300_000) + "a"]) {
    assertEquals(refusal(deep), "is nested too deeply");
  }
});

test("a YAML error never quotes the file: the line may hold a secret", () => {
  for (
    const text of ["bearer_token: s3cr3t x: [\nfoo", 'bearer_token: "s3cr3t', "a: !s3cr3t x", "b: *s3cr3t"]
  ) {
    assertNotMatch(refusal(text), /s3cr3t/);
  }
});

test("a key called __proto__ is an unknown key like any other", () => {
  const failed = failedOf(loadYaml("__proto__: {port: 1}\nconstructor: 2\nport: 3\n"));
  assertEquals(briefly(failed.problems), [
    "__proto__: is not a known key",
    "constructor: is not a known key",
  ]);
  assertEquals(failed.partial.port, 3);
});

test("a file with ten thousand unknown keys names twenty of them", () => {
  const text = Array.from({ length: 10_000 }, (_, i) => `key_number_${i}: ${i}`).join("\n");
  const { problems } = failedOf(loadYaml(text));
  assertEquals(problems.length, 21);
  assertEquals(problems.at(-1)!.problem, "has 9980 more unknown keys");
});

test("a key with nothing after it, or with empty text, is not set", () => {
  const { config, sources } = okOf(loadYaml('webhook_url:\npublic_url: ""\nport:\n'));
  assertEquals([config.webhook_url, config.public_url, config.port], [undefined, undefined, 3000]);
  assertEquals(sources.get("public_url"), "default");
});

test("load() survives any damage to a config: it loads or has problems, and is quick about it", async () => {
  const text = await Deno.readTextFile(new URL("../fixtures/config/first_gomail.yaml", import.meta.url));
  const original = bytes(text);
  // A small generator of our own, so that a failure can be seen again.
  let seed = 20_260_101;
  const random = (below: number) => {
    seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
    return seed % below;
  };
  for (let round = 0; round < 300; round++) {
    const damaged = original.slice();
    for (let i = 0; i <= round % 9; i++) damaged[random(damaged.length)] = random(256);
    const cut = damaged.subarray(0, round % 3 === 0 ? random(damaged.length) : damaged.length);
    const result = loadYaml(cut);
    assert(result.ok || result.problems.length > 0);
    for (const { path, problem, remedy } of result.ok ? [] : result.problems) {
      // deno-lint-ignore no-control-regex -- none may be left
      assertNotMatch(path + problem + remedy, /[\u0000-\u001f\u007f-\u009f]/);
    }
  }
});
