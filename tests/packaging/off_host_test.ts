/**
 * How backups leave the host, as the page about disasters has it: a host that fetches, by rsync, with a key for which
 * sshd runs rrsync. Both are the real ones; sshd is a script that does what sshd does with the line of that key.
 */

import { assert, assertEquals, assertNotEquals } from "@std/assert";
import {
  type Candidate,
  expendable,
  isWithinDays,
  parseDays,
  parseKeep,
} from "../../src/store/backup/keep.ts";
import { commandsIn } from "../monitoring/runbooks.ts";
import { hasProgram, run } from "../support/program.ts";
import { test, testIf, withTempDir } from "../support/test.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const page = await Deno.readTextFile(`${ROOT}packaging/doc/disaster-recovery.md`);
const FOLDER = "/var/backups/gomail";

/** What sshd runs for the key, whatever it is asked for. */
const forced = /^restrict,command="([^"]+)" PUBLICKEY$/m.exec(page)?.[1] ?? "none";
const fetching = commandsIn(page).find(({ text }) => /^rsync .* \S+:\//.test(text))?.text ?? "none";
const missing = ["rsync", "rrsync", "python3"].filter((name) => !hasProgram(name));

/** sshd and ssh: the forced command, in a place that gomail can't look into, and what was asked for beside it. */
const SSH = (command: string) =>
  `#!/bin/sh\nwhile [ "$1" != rsync ]; do shift; done\ncd /root 2> /dev/null\n` +
  `SSH_ORIGINAL_COMMAND="$*" exec sh -c '${command}'\n`;

interface Hosts {
  /** What the page types, with another path, or another way. */
  fetch(from?: string): Promise<number>;
  push(): Promise<number>;
  copies: string;
  folder: string;
}

/** A folder of backups, whose owner has no shell where the test may choose one, and one for copies. */
async function withHosts(use: (hosts: Hosts) => Promise<void>): Promise<void> {
  await withTempDir(async (dir) => {
    const [folder, copies] = [`${dir}/backups`, `${dir}/copies`];
    await Deno.mkdir(`${folder}/.gomail-backup-1`, { recursive: true });
    for (const name of ["1.tar", "1.tar.json", "2.tar.age", ".gomail-backup-1/x"]) {
      await Deno.writeTextFile(`${folder}/${name}`, name, { mode: 0o600 });
    }
    await Deno.chmod(folder, 0o700);
    let command = forced.replace(FOLDER, folder);
    if (Deno.uid() === 0) {
      await Deno.chmod(dir, 0o711);
      assertEquals((await run("chown", ["-R", "nobody:", folder])).code, 0);
      command = command.replace("-u gomail", "-u nobody");
    } else command = command.replace("/usr/sbin/runuser -u gomail -- ", "");
    await Deno.writeTextFile(`${dir}/ssh`, SSH(command), { mode: 0o755 });
    const rsync = async (typed: string) =>
      (await run("sh", ["-c", typed.replace("rsync ", `rsync -e ${dir}/ssh `)], { cwd: dir })).code;
    const there = fetching.replace("COPIES", copies);
    await use({
      fetch: (from = "/") => rsync(there.replace(":/ ", `:${from} `)),
      push: () => rsync(`rsync -a ${copies}/ root@mx.example.com:/`),
      copies,
      folder,
    });
  });
}

const namesIn = (dir: string) => [...Deno.readDirSync(dir)].map(({ name }) => name).sort();

testIf(
  missing.length === 0,
  `no ${missing.join(", no ")}`,
  "By the page's key and command backups leave the host, and nothing else can be done with that key",
  () =>
    withHosts(async ({ fetch, push, copies, folder }) => {
      assertEquals(await fetch(), 0);
      assertEquals(namesIn(copies), ["1.tar", "1.tar.json", "2.tar.age"]);
      assertEquals(await Deno.readTextFile(`${copies}/2.tar.age`), "2.tar.age");
      // Whoever breaks in may write what he likes: a copy stays as it was.
      await Deno.writeTextFile(`${folder}/1.tar`, "overwritten");
      await Deno.remove(`${folder}/1.tar.json`);
      assertEquals(await fetch(), 0);
      assertEquals(await Deno.readTextFile(`${copies}/1.tar`), "1.tar");
      assertEquals(namesIn(copies).length, 3);
      for (const path of [`${FOLDER}/`, "/../", "/etc/passwd"]) assertNotEquals(await fetch(path), 0, path);
      await Deno.writeTextFile(`${copies}/3.tar`, "");
      assertNotEquals(await push(), 0);
      assertEquals(namesIn(folder).includes("3.tar"), false);
    }),
);

/** How many full backups and files a rule keeps, night by night, for a year, once it has had more than half of one. */
function keptBy(full: string, rule: string) {
  const [nights, from] = [580, 200];
  const [kept, files]: [number[], number[]] = [[], []];
  let whileMade = 0;
  const fulls = (all: Candidate[]) => all.filter(({ summary }) => summary.chain.length === 1).length;
  // Which day of the week full ones are made on makes a difference.
  for (let start = 1; start <= 7; start++) {
    let all: Candidate[] = [];
    let chain: string[] = [];
    let since = 0;
    for (let night = 0; night < nights; night++) {
      // Between half past three and half past five.
      const at = Date.UTC(2026, 0, start + night, 3, 30 + (night * 47) % 120);
      const id = String(night).padStart(3, "0");
      const isFull = chain.length === 0 || !isWithinDays(since, parseDays(full)!, at);
      if (isFull) since = at;
      chain = isFull ? [id] : [...chain, id];
      all.push({ file: id, bytes: 1, summary: { id, chain, created_at: new Date(at).toISOString() } });
      const made = fulls(all);
      const gone = new Set(expendable(all, parseKeep(rule)!, id));
      all = all.filter((one) => !gone.has(one));
      if (night < from) continue;
      whileMade = Math.max(whileMade, made);
      kept.push(fulls(all));
      files.push(all.length);
    }
  }
  const range = (of: number[]) => [Math.min(...of), Math.max(...of)] as const;
  return { full: range(kept), files: range(files), whileMade };
}

test("Backups take the room that page and README say", async () => {
  const unit = await Deno.readTextFile(`${ROOT}systemd/gomail-backup.service`);
  const [, full, rule] = / --full-every (\S+) --keep ([^\s"]+)"/.exec(unit)!;
  const kept = keptBy(full!, rule!);
  const range = kept.full.join(" to ");
  assert(kept.files[0] >= 18 && kept.files[1] <= 55, kept.files.join());
  assertEquals([keptBy(full!, "7d,4w").full, keptBy(full!, "7d").full], [[3, 4], [1, 2]]);
  const readme = await Deno.readTextFile(`${ROOT}README.md`);
  const said: [string, string][] = [
    [page, `\`--full-every ${full} --keep ${rule}\`, keeps ${range} full backups`],
    [page, `while a new one is made, ${kept.whileMade})`],
    [page, "some 20 to 55 files"],
    [page, "`7d,4w` keeps 3 or 4 full ones, `7d` one or two"],
    [readme, `keeps ${range} full ones`],
  ];
  for (const [text, words] of said) assert(text.replace(/\s+/g, " ").includes(words), words);
});

test("A host for drills hands its mail to nobody, not even to a Postfix of its own", () => {
  const dropIns = [...page.split("## Drills")[1]!.matchAll(/^```ini\n([^]*?)^```$/gm)].map(([, text]) =>
    text
  );
  assertEquals(dropIns, ["[Service]\nIPAddressDeny=any\n"]);
});
