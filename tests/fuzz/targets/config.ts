/**
 * Configuration from everywhere: whatever the file, the environment and the flags say, the result is a config or
 * a list of problems, and neither problems nor `config show` ever tell a secret.
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import type { LoadResult } from "../../../src/config/load.ts";
import type { Problem } from "../../../src/config/problem.ts";
import { CONFIG_KEYS, type ConfigKey, SECRET_KEYS } from "../../../src/config/schema.ts";
import { effectiveConfig, effectiveYaml } from "../../../src/config/show.ts";
import { loadFrom, loadYaml } from "../../config/support.ts";
import { binary, hostile, latin1, mutated, repeated, soup } from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";

/** Every secret is made of this, so that any piece of one is known again. */
export const MARK = "Zq7";
const TOKEN = `${MARK}x${MARK}-${MARK}y1${MARK}.${MARK}`;
const WEBHOOK_SECRET = `whsec_${(MARK + "A").repeat(10)}`;
const SECRET_FILE = "/run/secret";
const NOT_TEXT = latin1(`${MARK}\xff${MARK}`);

const names = [...CONFIG_KEYS.keys()];
const LEGACY = [
  "webhook_retries",
  "http_timeouts",
  "http_timeouts_read",
  "api_endpoint",
  "max_storage_size",
  "do_api_token",
];

const scalar = fc.oneof(
  fc.constantFrom<unknown>(
    true,
    false,
    null,
    "",
    0,
    1,
    -1,
    25,
    65536,
    1.5,
    "30s",
    "1h30m",
    "25MB",
    "off",
    "yes",
    "127.0.0.1",
    "[::]:25",
    "0.0.0.0:25",
    "unix:/x",
    "example.com",
    "b\u00fccher.example",
    "https://app.example.com/x",
    "loopback",
    "10.0.0.0/8",
    "*@example.com",
  ),
  fc.integer(),
  hostile,
);
const value: fc.Arbitrary<unknown> = fc.oneof(
  { weight: 6, arbitrary: scalar },
  { weight: 2, arbitrary: fc.array(scalar, { maxLength: 3 }) },
  {
    weight: 1,
    arbitrary: fc.dictionary(fc.constantFrom("match", "url", "events", "on_reject", "x"), scalar, {
      maxKeys: 3,
    }),
  },
);
export const fitting = (name: ConfigKey) => fc.constantFrom<unknown>(CONFIG_KEYS.get(name)!.example);
const anyName = fc.oneof({ weight: 8, arbitrary: fc.constantFrom<string>(...names, ...LEGACY) }, {
  weight: 1,
  arbitrary: hostile,
});
export const entry = anyName.chain((name) =>
  fc.tuple(
    fc.constant(name),
    CONFIG_KEYS.has(name as ConfigKey) ? fc.oneof(fitting(name as ConfigKey), value) : value,
  )
);

/** A secret in every place that one can stand in, well-formed or not. */
const password = fc.constantFrom(
  TOKEN,
  `${TOKEN}@${TOKEN}`,
  `${TOKEN}:${TOKEN}`,
  `${TOKEN}%40${TOKEN}`,
  `${TOKEN}/${TOKEN}`,
  `${TOKEN} ${TOKEN}`,
);
const secretUrl = fc.tuple(fc.constantFrom("https", "HTTP", "http"), password).map(([scheme, word]) =>
  `${scheme}://user:${word}@app.example.com/hook`
);
const secretText = fc.constantFrom(
  TOKEN,
  MARK,
  WEBHOOK_SECRET,
  `${WEBHOOK_SECRET}!`,
  `${TOKEN}\n${TOKEN}`,
  `"${TOKEN}"`,
  `${TOKEN} ${TOKEN}`,
);
const secretValue: fc.Arbitrary<unknown> = fc.oneof(
  secretText,
  fc.array(secretText, { maxLength: 2 }),
  secretText.map((text) => ({ value: text })),
);
const route = fc.record({
  match: fc.constantFrom("*", "bad"),
  url: fc.constantFrom("https://a.example/", "ftp:"),
  secret: secretText,
}, { requiredKeys: [] });
export const secretEntry: fc.Arbitrary<[string, unknown]> = fc.oneof(
  fc.tuple(fc.constantFrom<string>(...SECRET_KEYS), secretValue),
  fc.tuple(
    fc.constantFrom(
      "bearer_tokn",
      "webhook_secrets",
      "token",
      "WEBHOOK_SECRET",
      "digitalocean_token",
      "do_api_token",
    ),
    secretValue,
  ),
  fc.tuple(fc.constant("routes"), fc.array(route, { maxLength: 2 })),
  fc.tuple(
    fc.constantFrom(...SECRET_KEYS.map((name) => `${name}_file`)),
    fc.constantFrom(SECRET_FILE, "/missing", "/not/text"),
  ),
);
const secretUrlEntry: fc.Arbitrary<[string, unknown]> = fc.oneof(
  fc.tuple(fc.constantFrom("webhook_url", "public_url", "api_endpoint"), secretUrl),
  fc.tuple(
    fc.constant("routes"),
    fc.array(fc.record({ match: fc.constant("*"), url: secretUrl }), { maxLength: 2 }),
  ),
);

const asText = (value: unknown) => typeof value === "string" ? value : JSON.stringify(value);
/** JSON is YAML too. A long key must be announced. */
export const yamlOf = (entries: [string, unknown][]) =>
  entries.map(([name, value]) =>
    `${/^[a-z_]+$/.test(name) ? name : `? ${JSON.stringify(name)}\n`}: ${JSON.stringify(value)}\n`
  ).join("");

export interface Sources {
  yaml: string;
  env: Record<string, string>;
  flags: Record<string, string>;
}

export function sourcesOf(entry: fc.Arbitrary<[string, unknown]>): fc.Arbitrary<Sources> {
  const entries = fc.array(entry, { maxLength: 5 });
  const texts = (list: [string, unknown][], name: (key: string) => string) =>
    Object.fromEntries(
      list.filter(([key]) => /^\w+$/.test(key)).map(([key, value]) => [name(key), asText(value) ?? ""]),
    );
  return fc.record({
    yaml: entries.map(yamlOf),
    env: entries.map((list) => texts(list, (key) => `MAIL_${key.toUpperCase()}`)),
    // The command line knows its flags and refuses others.
    flags: entries.map((list) =>
      texts(list.filter(([key]) => CONFIG_KEYS.has(key as ConfigKey)), (key) => key)
    ),
  });
}

export function loaded({ yaml, env, flags }: Sources, secret = `${TOKEN}\n`): LoadResult {
  const files = { "/c.yaml": yaml, [SECRET_FILE]: secret, "/not/text": NOT_TEXT };
  return loadFrom({ files, env, flags, configFile: "/c.yaml" });
}

function checkProblems(problems: readonly Problem[]): void {
  for (const problem of problems) {
    const { path, problem: what, remedy } = problem;
    assert(path !== "" && what !== "" && remedy !== "", `says too little: ${JSON.stringify(problem)}`);
    for (const text of [path, problem.value ?? "", what, remedy]) {
      assert(text.length <= 1_000 && !/\p{Cc}/u.test(text), `not one line: ${JSON.stringify(text)}`);
    }
  }
}

function checkResult(result: LoadResult): void {
  checkProblems(result.warnings);
  if (!result.ok) {
    assert(result.problems.length > 0, "failed without a problem");
    return checkProblems(result.problems);
  }
  assertEquals(new Set(Object.keys(result.config)), new Set(names));
  assertEquals(result.sources.size, names.length);
}

const anything = property(
  "anything-is-a-config-or-problems",
  sourcesOf(entry),
  (sources) => checkResult(loaded(sources)),
);

const YAML_WORDS = [
  ": ",
  "- ",
  "\n",
  "  ",
  "\t",
  "#",
  "&a ",
  "*a",
  "<<: *a",
  "!!binary ",
  "!<x>",
  "---\n",
  "...\n",
  "{",
  "}",
  "[",
  "]",
  ",",
  '"',
  "'",
  "|\n",
  ">-\n",
  "? ",
  "%YAML 1.1\n",
  "\0",
  "\ufeff",
  "port",
  "routes",
  "log_level: debug\n",
  "__proto__: ",
  "constructor: ",
  "1e400",
  "0o17",
  "2026-01-01",
  "~",
];

const junkYaml = property(
  "any-yaml-is-a-config-or-problems",
  fc.oneof(
    soup(YAML_WORDS, 25),
    mutated(fc.array(entry, { maxLength: 4 }).map(yamlOf), YAML_WORDS),
    binary(60),
    hostile,
  ),
  (yaml) => {
    checkResult(loadYaml(yaml));
    checkResult(loadYaml(latin1(yaml)));
  },
);

const places = fc.array(fc.tuple(fc.nat(), fc.constantFrom(...YAML_WORDS)), { maxLength: 2 });

const secrecy = property(
  "no-secret-is-ever-told",
  fc.oneof(
    fc.record({
      sources: sourcesOf(fc.oneof(secretEntry, secretUrlEntry, entry)),
      twist: fc.constant([]),
      file: secretText,
    }),
    // A broken URL may have its password anywhere: those are left whole.
    fc.record({
      sources: sourcesOf(fc.oneof(secretEntry, secretEntry, entry)),
      twist: places,
      file: secretText,
    }),
  ),
  ({ sources, twist, file }) => {
    let { yaml } = sources;
    // Broken near the secrets, so that the parser's complaint would quote them; the values stay where they are.
    for (const [at, word] of twist) {
      yaml = yaml.slice(0, at % (yaml.length + 1)) + word + yaml.slice(at % (yaml.length + 1));
    }
    const result = loaded({ ...sources, yaml }, file);
    const told = result.ok
      ? effectiveYaml(result) + JSON.stringify(effectiveConfig(result))
      : JSON.stringify(result.problems);
    for (const text of [told, JSON.stringify(result.warnings)]) {
      assert(
        !text.includes(MARK),
        `tells ${text.slice(Math.max(0, text.indexOf(MARK) - 120), text.indexOf(MARK) + 60)}`,
      );
    }
  },
);

export const openNames = names.filter((name) => !SECRET_KEYS.includes(name) && !name.endsWith("_file"));
export const openEntry: fc.Arbitrary<[string, unknown]> = fc.constantFrom<ConfigKey>(...openNames).chain((
  name,
) => fc.tuple(fc.constant(name), fc.oneof(fitting(name), value)));

const shown = property("what-is-shown-loads-again", sourcesOf(openEntry), (sources) => {
  const first = loaded(sources);
  if (!first.ok || first.config.routes.some(({ secret }) => secret !== undefined)) return;
  const yaml = effectiveYaml(first);
  const again = loadYaml(yaml);
  assert(again.ok, `${JSON.stringify(again.ok || again.problems)} in ${yaml}`);
  assertEquals(again.config, first.config);
});

const large = largeProperty(
  "a-large-file-ends",
  repeated([...YAML_WORDS, "a: 1\n", "- a\n", '"a'], 2 ** 20),
  (yaml) => {
    checkResult(loadYaml(yaml));
  },
);

export function open(): FuzzTarget {
  return { properties: [anything, junkYaml, secrecy, shown, large] };
}
