/**
 * packaging/kubernetes/README.md on backups, followed to the letter: its commands are typed in a shell where `kubectl exec`
 * runs the program from source with the ConfigMap's own config, and the volume is a folder that is lost in between.
 */

import { DatabaseSync } from "node:sqlite";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { COMMANDS } from "../../src/cli/commands.ts";
import { hasProgram, run } from "../support/program.ts";
import { test, testIf, withTempDir } from "../support/test.ts";
import { makeStore } from "../store/backup/support.ts";
import { CONFIG_FILE, FOLDER } from "./kubernetes/manifests.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const readme = await Deno.readTextFile(`${FOLDER}README.md`);
const TOKEN = "q7Vw2nRk-94xTfLc0ZsYbE";
const SECRET = "whsec_" + btoa("0123456789abcdefghijklmnopqrstuv");

/** The blocks of commands below a heading. */
function blocks(heading: string): string[] {
  const part = readme.split(`\n${heading}\n`)[1]?.split(/\n##+ /)[0] ?? "";
  return [...part.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block]) => block!);
}

const [backup] = blocks("## Backups");
const [, newSecret, restore, start] = blocks("### A lost volume");

/** What is a cluster's alone is done; `exec` runs what is behind `--`, with stdin only where it is asked for. */
const KUBECTL = `
kubectl() {
  input=/dev/null
  for word do
    case "$word" in -i) input=/dev/stdin;; -t|-it|--tty) return 9;; --) break;; esac
    case "$word" in create) cat bearer_token webhook_secret > secret;; esac
  done
  while [ $# -gt 0 ] && [ "$1" != -- ]; do shift; done
  [ $# -eq 0 ] && return 0
  shift
  "$@" < $input
}
gomail() { "$DENO" run -A --no-check "$MAIN" "$@"; }
`;

interface Cluster {
  dir: string;
  /** Where the operator is. */
  out: string;
  type(block: string, more?: string): ReturnType<typeof run>;
}

/** A replica's config and Secret, a store of three mails on its volume, and an operator's shell. */
function withCluster(use: (cluster: Cluster) => Promise<void>): Promise<void> {
  return withTempDir(async (dir) => {
    for (const name of ["etc", "volume", "out"]) await Deno.mkdir(`${dir}/${name}`);
    await makeStore(`${dir}/volume/data`);
    const config = (await Deno.readTextFile(FOLDER + CONFIG_FILE))
      .replaceAll("/var/lib/gomail", `${dir}/volume`).replaceAll("/etc/gomail", `${dir}/etc`);
    const files = { [CONFIG_FILE]: config, bearer_token: TOKEN, webhook_secret: SECRET };
    for (const [name, text] of Object.entries(files)) await Deno.writeTextFile(`${dir}/etc/${name}`, text);
    const env = { DENO: Deno.execPath(), MAIN, MAIL_CONFIG: `${dir}/etc/${CONFIG_FILE}` };
    const out = `${dir}/out`;
    const type = (block: string, more = "") =>
      run("bash", ["-euc", `${KUBECTL}${more}\n${block}`], { cwd: out, env });
    await use({ dir, out, type });
  });
}

function mailsIn(dataDir: string): unknown[] {
  const db = new DatabaseSync(`${dataDir}/gomail.db`, { readOnly: true });
  try {
    return db.prepare("SELECT id FROM messages ORDER BY seq").all();
  } finally {
    db.close();
  }
}

const HAS = hasProgram("bash") && hasProgram("tar");

testIf(
  HAS,
  "no bash or tar",
  "Kubernetes: the README's backup comes back into a new volume",
  () =>
    withCluster(async ({ dir, out, type }) => {
      const made = await type(backup!);
      assertEquals(made.code, 0, made.err);
      assertMatch(made.out, /^sound: full backup of .*, 3 messages, /);
      assertEquals([...Deno.readDirSync(out)].map(({ name }) => name), ["gomail-0.tar"]);
      assertEquals(Deno.statSync(`${out}/gomail-0.tar`).mode! & 0o777, 0o600);
      const mails = mailsIn(`${dir}/volume/data`);
      assertEquals(mails.length, 3);
      await Deno.remove(`${dir}/volume`, { recursive: true });
      await Deno.mkdir(`${dir}/volume/lost+found`, { recursive: true });
      const secret = await type(newSecret!);
      assertEquals([secret.code, secret.err], [0, ""]);
      assertEquals(await Deno.readTextFile(`${out}/secret`), TOKEN + SECRET);
      const back = await type(restore!);
      assertEquals(back.code, 0, back.err);
      assertStringIncludes(back.out, `restored to ${dir}/volume/data: backup of `);
      assertEquals(mailsIn(`${dir}/volume/data`), mails);
      // Once more it would go over a store.
      assertEquals((await type(restore!)).code, 1);
    }),
);

testIf(
  HAS,
  "no bash or tar",
  "Kubernetes: a stream that breaks off is no backup",
  () =>
    withCluster(async ({ out, type }) => {
      const cut =
        'gomail() { if [ "$2" = create ]; then "$DENO" run -A --no-check "$MAIN" "$@" | head -c 100000; ' +
        'else "$DENO" run -A --no-check "$MAIN" "$@"; fi; }';
      const made = await type(backup!, cut);
      assert(made.code !== 0, made.out);
      assertMatch(made.err, /^gomail: Cannot /m);
      assertEquals([...Deno.readDirSync(out)].map(({ name }) => name), ["gomail-0.part"]);
    }),
);

test("Kubernetes: every gomail command of the README is one, with flags that it has", () => {
  const lines = [...readme.matchAll(/-- gomail ([^\n`|<>#&]*)/g)].map(([, words]) => words!.trim());
  assert(lines.length >= 8, `${lines.length}`);
  for (const line of lines) {
    const command = COMMANDS.find(({ name }) => line === name || line.startsWith(`${name} `));
    assert(command, line);
    const known = command.flags.map(({ name }) => name);
    const given = [...line.matchAll(/(?<= )--([a-z-]+)/g)].map(([, name]) => name!);
    assertEquals(given.filter((name) => !known.includes(name)), [], line);
    const words = line.slice(command.name.length).split(" ").filter((word) => word !== "");
    const args = words.filter((word, i) => !word.startsWith("--") && !words[i - 1]?.startsWith("--"));
    const { min, max } = command.args ?? { min: 0, max: 0 };
    assert(args.length >= min && args.length <= max, line);
  }
});

test("Kubernetes: a restore begins without a server and ends with one", () => {
  assertMatch(
    readme,
    /Then put `components\/restore` into[^]*gomail restore - <[^]*Take `components\/restore` out/,
  );
  assertEquals(start!.split("\n")[0], "kubectl apply -k .");
});
