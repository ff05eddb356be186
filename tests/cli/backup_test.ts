/** The backup commands: what they print, what they refuse, encryption, and whose the files are that root makes. */

import { DatabaseSync } from "node:sqlite";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { permissionFlags } from "../../packaging/build/permissions.ts";
import { hasProgram, run as runProgram } from "../support/program.ts";
import { test, testIf } from "../support/test.ts";
import { withStore } from "./backup_support.ts";
import { gomail, type Ran } from "./support.ts";

const IDENTITY = "AGE-SECRET-KEY-1GFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPYYSJZGFPQ4EGAEX";
const RECIPIENT = "age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj";

/** All rows of a database, by table, but those that SQLite keeps for itself. */
function rowsOf(path: string): Map<string, unknown[]> {
  const db = new DatabaseSync(path);
  try {
    const tables = db.prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'",
    );
    return new Map(tables.all().map(({ name }) => [String(name), db.prepare(`SELECT * FROM ${name}`).all()]));
  } finally {
    db.close();
  }
}

test("create prints the path alone; list, verify and restore say what is in it", () =>
  withStore(async ({ dir, run }) => {
    const made = await run("backup create --dir @/out");
    assertMatch(made.out, new RegExp(`^${dir}/out/gomail-20260101T000000Z-[0-9a-f]{16}\\.full\\.tar\\n$`));
    assertMatch(made.err, /^full backup, 3 messages, the last big-1 of 2026-\S+, [\d.]+ KB\n$/);
    const path = made.out.trim();
    const [head, line] = (await run("backup list --dir @/out")).out.split("\n");
    assertMatch(head!, /^CREATED +KIND +SIZE +ENCRYPTED +MESSAGES +LAST MESSAGE +FILE$/);
    assertMatch(line!, /^2026-01-01T00:00:00.000Z +full +[\d.]+ KB +no +3 +2026-/);
    assertEquals(JSON.parse((await run("backup list --dir @/out --json")).out).items[0].path, path);
    assertMatch((await run(`backup verify ${path}`)).out, /^sound: full backup of .*, 3 messages, /);
    assertEquals(JSON.parse((await run(`backup verify ${path} --json`)).out).messages, 3);
    const tried = await run(`restore ${path} --verify-only`);
    assertMatch(tried.out, /^can be restored: /);
    const restored = await run(`restore ${path} --data-dir @/new`);
    assertStringIncludes(restored.out, `restored to ${dir}/new: backup of `);
    assertStringIncludes(restored.out, "whatever was acknowledged after 2026-");
  }));

test("A manifest beside that is not the archive's, and a chain with a hole, are told of", () =>
  withStore(async ({ run }) => {
    const full = (await run("backup create --dir @/out")).out.trim();
    const increment = (await run("backup create --dir @/out --incremental")).out.trim();
    await Deno.copyFile(`${increment}.manifest.json`, `${full}.manifest.json`);
    const ran = await run(`backup verify ${full}`);
    assertEquals([ran.code, ran.out], [1, ""]);
    assertMatch(ran.err, /^gomail: Cannot trust \S+\.manifest\.json: [^\n]+\n$/);
    for (const end of ["", ".manifest.json"]) await Deno.remove(full + end);
    assertMatch((await run("backup list --dir @/out")).out, /incremental, useless: [0-9a-f]{16} is missing/);
  }));

test("- is stdout and stdin", () =>
  withStore(async ({ dir, run }) => {
    const made = await run("backup create --output -");
    assertEquals([made.code, made.out], [0, ""]);
    const io = { inputStream: () => ReadableStream.from([made.bytes]) };
    const env = { MAIL_CONFIG: "/dev/null", MAIL_DATA_DIR: `${dir}/new` };
    assertMatch((await gomail("backup verify -", { env, io })).out, /^sound: /);
    assertMatch((await gomail("restore -", { env, io })).out, /^restored to /);
  }));

test("A backup is not written to a terminal, and nothing is made of it", () =>
  withStore(async ({ dir }) => {
    const env = { MAIL_CONFIG: "/dev/null", MAIL_DATA_DIR: `${dir}/data`, MAIL_DISK_RESERVE: "0" };
    const ran = await gomail("backup create --output -", { env, io: { outIsTerminal: () => true } });
    assertEquals([ran.code, ran.out, ran.bytes.length], [2, "", 0]);
    assertMatch(
      ran.err,
      /^gomail: .*--output - is not for a terminal: send it elsewhere, as in > gomail\.tar/m,
    );
    assertEquals([...Deno.readDirSync(`${dir}/data`)].some(({ name }) => name === "last_backup.json"), false);
  }));

test("A config and the secrets that it names come along; of what can't be read it is said so", () =>
  withStore(async ({ dir }) => {
    await Deno.writeTextFile(`${dir}/token`, "t0ken-4f9c1b7e2d-Qx\n");
    const config =
      `data_dir: ${dir}/data\nbearer_token_file: ${dir}/token\ndkim_private_key_path: ${dir}/nowhere\nroutes:\n` +
      `  - {match: "a@b.example", url: "https://a.example/"}\n` +
      `  - {match: "*", url: "https://a.example/", secret_file: ${dir}/route}\n`;
    const secret = `whsec_${btoa("x".repeat(32))}\n`;
    await Deno.writeTextFile(`${dir}/route`, secret);
    await Deno.writeTextFile(`${dir}/gomail.yaml`, config);
    const made = await gomail(`backup create --output ${dir}/b.tar --config ${dir}/gomail.yaml`);
    assertEquals(made.code, 0, made.err);
    assertStringIncludes(made.err, `${dir}/nowhere is not in the backup: no such file`);
    const restored = await gomail(`restore ${dir}/b.tar --data-dir ${dir}/new`, {
      env: { MAIL_CONFIG: "/dev/null" },
    });
    assertStringIncludes(restored.out, `Its config is in ${dir}/new/restored-config, `);
    assertEquals(await Deno.readTextFile(`${dir}/new/restored-config/gomail.yaml`), config);
    assertEquals(
      await Deno.readTextFile(`${dir}/new/restored-config/bearer_token_file`),
      "t0ken-4f9c1b7e2d-Qx\n",
    );
    assertEquals(await Deno.readTextFile(`${dir}/new/restored-config/routes_secret_file_1`), secret);
  }));

test("Encrypted for a recipient: increments need no identity, reading does, and another one is refused", () =>
  withStore(async ({ dir, run }) => {
    await Deno.writeTextFile(`${dir}/key`, `# created: today\n${IDENTITY}\n`, { mode: 0o600 });
    const full = (await run(`backup create --dir @/out --recipient ${RECIPIENT}`)).out.trim();
    const increment = (await run(`backup create --dir @/out --recipient ${RECIPIENT} --incremental`)).out
      .trim();
    assertMatch(increment, /\.incremental\.tar\.age$/);
    assertStringIncludes((await run("backup list --dir @/out")).out, "yes");
    for (const path of [full, increment]) {
      const plain = new TextDecoder("latin1").decode(await Deno.readFile(path));
      assert(plain.startsWith("age-encryption.org/v1\n") && !plain.includes("gomail.db"));
      assertStringIncludes((await run(`backup verify ${path}`)).err, "it is encrypted: --identity F");
      assertMatch((await run(`backup verify ${path} --identity @/key`)).out, /^sound: /);
    }
    await Deno.writeTextFile(`${dir}/word`, "something else\n");
    const wrong = await run(`restore ${increment} --data-dir @/new --passphrase-file @/word`);
    assertEquals([wrong.code, wrong.out], [1, ""]);
    assertStringIncludes(wrong.err, "it can't be decrypted");
    const bytes = await Deno.readFile(full);
    for (
      const bad of [bytes.subarray(0, bytes.length - 100), bytes.with(bytes.length - 9, bytes.at(-9)! ^ 1)]
    ) {
      await Deno.writeFile(`${dir}/bad.tar.age`, bad);
      const ran = await run(`restore @/bad.tar.age --data-dir @/new --identity @/key`);
      assertMatch(
        ran.err,
        /^gomail: Cannot use \S+: it is cut off or was changed: its encryption does not hold\n$/,
      );
      assertEquals(await Deno.lstat(`${dir}/new`).catch(() => null), null);
    }
    assertEquals((await run(`restore ${increment} --data-dir @/new --identity @/key`)).code, 0);
  }));

/** In a process of its own: deriving a key takes a second, and a minute where coverage is counted. */
async function runApart(dir: string, args: string): Promise<Pick<Ran, "code" | "out" | "err">> {
  const { DENO_COVERAGE_DIR: _, ...host } = Deno.env.toObject();
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "main.ts", ...args.replaceAll("@", dir).split(" ")],
    cwd: new URL("../../", import.meta.url),
    env: { ...host, MAIL_CONFIG: "/dev/null", MAIL_DATA_DIR: `${dir}/data`, MAIL_DISK_RESERVE: "0" },
    clearEnv: true,
  }).output();
  const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
  return { code, out: out!, err: err! };
}

test("Encrypted by a passphrase, which comes from a file and never from the command line", () =>
  withStore(async ({ dir, run }) => {
    await Deno.writeTextFile(`${dir}/word`, "correct horse\n", { mode: 0o600 });
    const made = await runApart(dir, "backup create --output @/b.tar.age --passphrase-file @/word");
    assertEquals(made.code, 0, made.err);
    assertMatch((await runApart(dir, "backup verify @/b.tar.age --passphrase-file @/word")).out, /^sound: /);
    assertEquals((await run("backup create --passphrase x")).code, 2);
    await Deno.writeTextFile(`${dir}/word`, "");
    assertMatch(
      (await run("backup verify @/b.tar.age --passphrase-file @/word")).err,
      /one line with the passphrase/,
    );
  }));

testIf(
  hasProgram("age"),
  "age is not installed",
  "Debian's age and tar open what we encrypt",
  () =>
    withStore(async ({ dir, run }) => {
      await Deno.writeTextFile(`${dir}/key`, `${IDENTITY}\n`, { mode: 0o600 });
      await run(`backup create --output @/b.tar.age --recipient ${RECIPIENT}`);
      const decrypted = await runProgram("age", [
        "-d",
        "-i",
        `${dir}/key`,
        "-o",
        `${dir}/b.tar`,
        `${dir}/b.tar.age`,
      ]);
      assertEquals(decrypted.code, 0, decrypted.err);
      await Deno.mkdir(`${dir}/x`);
      assertEquals((await runProgram("tar", ["xf", `${dir}/b.tar`, "-C", `${dir}/x`])).err, "");
      const sums = await runProgram("sha256sum", ["-c", "manifest.sha256"], { cwd: `${dir}/x` });
      assertEquals(sums.out, "manifest.json: OK\n");
      const joined = await runProgram("sh", ["-c", "cat gomail.db/* > ../joined.db"], { cwd: `${dir}/x` });
      assertEquals([joined.code, joined.err], [0, ""]);
      await run("restore @/b.tar --data-dir @/y");
      const rows = rowsOf(`${dir}/joined.db`);
      assertEquals(rows.get("messages")?.length, 3);
      // A restore lets the numbers of events go on from the time; all else is as it was.
      assertEquals(rowsOf(`${dir}/y/gomail.db`), rows);
    }),
);

test("Wrongly used: exit 2, and nothing is made", () =>
  withStore(async ({ dir, run }) => {
    const wrong = [
      "backup create --output @/x --dir @/out",
      "backup create --output - --incremental",
      "backup create --output - --json",
      "backup create --dir @/out --keep 7x",
      "backup create --output @/x --keep 7d",
      "backup create --dir @/out --dry-run",
      `backup create --dir @/out --recipient ${RECIPIENT} --passphrase-file @/x --keep 0d`,
      "backup create x",
      "backup verify",
      "restore",
      "restore a b",
    ];
    for (const args of wrong) assertEquals((await run(args)).code, 2, args);
    const failed: [args: string, why: string][] = [
      [
        "backup create --dir @/out --recipient age1x",
        "Cannot encrypt: a --recipient is no age recipient (age1...)",
      ],
      ["backup verify @/nowhere", "Cannot use @/nowhere: no such file"],
      ["backup verify @/nowhere/x", "Cannot use @/nowhere/x: no such file"],
      ["backup verify @", "Cannot use @: it is no file"],
      ["restore @/nowhere --data-dir @/new", "Cannot use @/nowhere: no such file"],
      ["restore @/nowhere/x --verify-only", "Cannot use @/nowhere/x: no such file"],
      ["restore @", "Cannot use @: it is no file"],
      [
        "restore @/data/gomail.db --data-dir @/no/such",
        "Cannot restore to @/no/such: there is no directory @/no; make it first",
      ],
      [
        "restore @/data/gomail.db --data-dir @/data/url_key",
        "Cannot restore to @/data/url_key: it is no directory",
      ],
      [
        "backup create --dir @/no/folder",
        "Cannot make a backup in @/no/folder: there is no directory @/no; make it first",
      ],
      [
        "backup create --dir @/data/url_key",
        "Cannot make a backup in @/data/url_key: there is no such directory",
      ],
      ["backup create --output @/no/x.tar", "Cannot make a backup in @/no: there is no such directory"],
      ["backup verify @/x --identity @/nowhere", "Cannot use --identity @/nowhere: no such file"],
    ];
    for (const [args, why] of failed) {
      const ran = await run(args);
      assertEquals([ran.code, ran.out, ran.err], [1, "", `gomail: ${why.replaceAll("@", dir)}\n`], args);
    }
    assertEquals([...Deno.readDirSync(dir)].map(({ name }) => name), ["data"]);
  }));

test("--keep --dry-run makes and removes nothing, and says what would go", () =>
  withStore(async ({ dir, run }) => {
    const first = (await run("backup create --dir @/out")).out.trim().slice(dir.length + 5);
    // The clock of these commands stands, so that both are of one day.
    await new Promise((resolve) => setTimeout(resolve, 5));
    await run("backup create --dir @/out");
    const count = () => [...Deno.readDirSync(`${dir}/out`)].length;
    const dry = await run("backup create --dir @/out --keep 1d --dry-run");
    assertMatch(dry.err, /^would remove gomail-\S+, [\d.]+ KB\n$/);
    assertEquals(count(), 4);
    assertEquals((await run("backup create --dir @/out --keep 1d")).code, 0);
    assertEquals(count(), 2);
    assert(first.length > 0);
  }));

/** The commands of some day of 2026, counted from 0. */
const onDay = (dir: string) => (day: number, args: string) =>
  gomail(args.replaceAll("@", dir), {
    env: { MAIL_CONFIG: "/dev/null", MAIL_DATA_DIR: `${dir}/data`, MAIL_DISK_RESERVE: "0" },
    io: { now: () => Date.UTC(2026, 0, 1 + day, 4) },
  });

test("Every day with --full-every and --keep: a full one each week, and whole chains go", () =>
  withStore(async ({ dir }) => {
    const run = onDay(dir);
    const files = () => [...Deno.readDirSync(`${dir}/out`)].map(({ name }) => name).sort();
    for (let day = 0; day < 20; day++) {
      const ran = await run(day, "backup create --dir @/out --incremental --full-every 7d --keep 3d");
      assertEquals(ran.code, 0, ran.err);
    }
    const made = files().filter((name) => name.endsWith(".tar")).map((name) => name.split(/[-T.]/)).map((
      parts,
    ) => `${parts[1]} ${parts[4]}`);
    assertEquals(made, [
      "20260115 full",
      ...["20260116", "20260117", "20260118", "20260119", "20260120"].map((date) => `${date} incremental`),
    ]);
    assertEquals(files().length, 12);
    for (const args of ["--full-every 7d", "--incremental --full-every 7", "--incremental --full-every 1m"]) {
      assertEquals((await run(21, `backup create --dir @/out ${args}`)).code, 2, args);
    }
    assertEquals(files().length, 12);
  }));

test("--keep removes nothing while the newest is not sound, and says so; a full one mends it", () =>
  withStore(async ({ dir }) => {
    const run = onDay(dir);
    const count = () => [...Deno.readDirSync(`${dir}/out`)].length;
    const sound = (await run(0, "backup create --dir @/out")).out.trim();
    const base = (await run(5, "backup create --dir @/out")).out.trim();
    const note = () => Deno.readTextFileSync(`${dir}/data/last_backup.json`);
    const noted = note();
    // As a disk does it: the end, which is looked at to find a base, is as it was.
    using file = await Deno.open(base, { write: true });
    await file.seek(4096, Deno.SeekMode.Start);
    await file.write(new Uint8Array([1, 2, 3]));
    const ran = await run(6, "backup create --dir @/out --incremental --keep 1d");
    assertEquals(ran.code, 1);
    assertStringIncludes(
      ran.err,
      `gomail: Cannot rely on the new backup, and nothing was removed: Cannot use ${base}: `,
    );
    assertMatch(ran.err, /; make a full one, without --incremental\n$/);
    // It was made all the same, and does not count.
    assertMatch(ran.out, /\.incremental\.tar\n$/);
    assertEquals([count(), note()], [6, noted]);
    const idle = await run(7, "backup create --dir @/out --incremental --keep 99d");
    assertEquals([idle.code, count(), note()], [1, 8, noted]);
    assertMatch((await run(6, `backup verify ${sound}`)).out, /^sound: /);
    const mended = await run(8, "backup create --dir @/out --keep 1d");
    assertEquals([mended.code, count(), note() === noted], [0, 2, false], mended.err);
  }));

test("A store that a restore would refuse is backed up all the same, told of, and no reason to remove what is older", () =>
  withStore(async ({ dir }) => {
    const run = onDay(dir);
    const files = () => [...Deno.readDirSync(`${dir}/out`)].map(({ name }) => name).sort();
    const note = () => Deno.readTextFileSync(`${dir}/data/last_backup.json`);
    const change = (sql: string) => {
      const db = new DatabaseSync(`${dir}/data/gomail.db`);
      db.exec(sql);
      db.close();
    };
    const why = "its database has a value in messages.mail_from that GoMail does not write";
    await run(0, "backup create --dir @/out");
    const noted = note();
    change("UPDATE messages SET mail_from = 'a' || char(0) WHERE id = 'small-2'");
    const ran = await run(5, "backup create --dir @/out --keep 1d");
    assertEquals([ran.code, files().length, note()], [1, 4, noted]);
    assertEquals(
      ran.err.split("\n").at(-2),
      `gomail: The backup is made, but a restore would refuse it: ${why}; nothing older was removed. ` +
        "disaster-recovery.md says what to do",
    );
    const path = ran.out.trim();
    assert(files().includes(path.slice(`${dir}/out/`.length)), path);
    const refused = await run(5, `restore ${path} --data-dir @/again`);
    assertEquals([refused.code, refused.err], [1, `gomail: Cannot use the backup: ${why}\n`]);
    const json = await run(5, "backup create --dir @/out --incremental --json");
    assertEquals([json.code, JSON.parse(json.out).problem], [1, why]);
    // By hand everything is to be had.
    const tar =
      `cd ${dir}/out && mkdir beside && tar -xf ${path} -C beside && cat beside/gomail.db/* > store.db`;
    const byHand = await runProgram("sh", ["-c", tar]);
    assertEquals([byHand.code, byHand.err], [0, ""]);
    const taken = rowsOf(`${dir}/out/store.db`).get("messages")!.length;
    assertEquals(taken, 3);
    change("UPDATE messages SET mail_from = '' WHERE id = 'small-2'");
    const mended = await run(6, "backup create --dir @/out --keep 1d --json");
    assertEquals([mended.code, JSON.parse(mended.out).problem, note() === noted], [0, null, false]);
    assertEquals((await run(6, `restore ${JSON.parse(mended.out).path} --data-dir @/again`)).code, 0);
  }));

testIf(
  Deno.uid() === 0,
  "not root",
  "What root makes in a folder of the daemon's is the daemon's",
  () =>
    withStore(async ({ dir, run }) => {
      const uid = 12_345;
      await Deno.mkdir(`${dir}/out`);
      const give = async (path: string): Promise<void> => {
        await Deno.chown(path, uid, uid);
        if (!(await Deno.stat(path)).isDirectory) return;
        for await (const { name } of Deno.readDir(path)) await give(`${path}/${name}`);
      };
      const strangers = async (path: string): Promise<string[]> => {
        const info = await Deno.lstat(path);
        const inside = info.isDirectory ? await Array.fromAsync(Deno.readDir(path)) : [];
        const below = await Promise.all(inside.map(({ name }) => strangers(`${path}/${name}`)));
        return [...(info.uid === uid ? [] : [path]), ...below.flat()];
      };
      for (const name of ["data", "out"]) await give(`${dir}/${name}`);
      const path = (await run("backup create --dir @/out")).out.trim();
      await run("backup create --dir @/out --incremental");
      await Deno.mkdir(`${dir}/new`);
      await Deno.chown(`${dir}/new`, uid, uid);
      assertEquals((await run(`restore ${path} --data-dir @/new`)).code, 0);
      for (const name of ["data", "out", "new"]) assertEquals(await strangers(`${dir}/${name}`), []);
    }),
);

test("The executable's permissions are enough, within its places", () =>
  withStore(async ({ dir }) => {
    const main = new URL("../../main.ts", import.meta.url).pathname;
    const gomailHere = (...args: string[]) =>
      runProgram(Deno.execPath(), [
        "run",
        "--no-check",
        "--unstable-net",
        // From source, the program reads itself as well.
        ...permissionFlags(),
        main,
        ...args,
      ], {
        cwd: dir,
        env: { MAIL_CONFIG: "/dev/null", MAIL_DATA_DIR: `${dir}/data`, MAIL_DISK_RESERVE: "0" },
      });
    const made = await gomailHere("backup", "create", "--dir", `${dir}/out`);
    assertEquals(made.code, 0, made.err);
    const restored = await gomailHere("restore", made.out.trim(), "--data-dir", `${dir}/new`);
    assertEquals(restored.code, 0, restored.err);
    const outside = await gomailHere("backup", "create", "--output", "/var/log/gomail-test.tar");
    assertEquals(outside.code, 1);
    assertMatch(
      outside.err,
      /^gomail: Cannot do it: \/var\/log\S* is outside the places [^\n]+: use [^\n]+\/var\/backups\/gomail for backups[^\n]+\n$/,
    );
  }));
