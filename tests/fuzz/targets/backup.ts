/**
 * Archives of a backup, harmed by an accident or by somebody who keeps the sums in order. Verify and restore either
 * take one or say in a line why not; what is refused leaves nothing behind, and what is taken is the store that was
 * backed up, or, where the sums were made to fit, one that can be read.
 */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import {
  createBackup,
  listBackups,
  NOWHERE,
  readBackup,
  restoreBackup,
  type Source,
  tryRestore,
} from "../../../src/store/backup/mod.ts";
import { knownName } from "../../../src/store/backup/names.ts";
import {
  archiveOf,
  entriesOf,
  joined,
  lying,
  options,
  type Raw,
  rawEntry,
  streamOf,
  withDatabaseBytes,
} from "../../store/backup/support.ts";
import { openTestStore, T0 } from "../../store/support.ts";
import { binary, latin1, mutated } from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";
import { filesIn, makeWorld, namesIn, reading, refusal, sumOf, type World } from "./backup_world.ts";

// --- accidents

const edit = fc.record({
  kind: fc.constantFrom("flip", "cut", "truncate", "zero", "insert", "double", "swap", "splice"),
  at: fc.nat(),
  to: fc.nat(),
  length: fc.oneof(fc.nat(16), fc.nat(2_000), fc.nat(200_000)),
  /** A disk loses blocks, a transfer loses anything. */
  blocks: fc.boolean(),
});
type Edit = typeof edit extends fc.Arbitrary<infer T> ? T : never;

/** `donor`: another file, of which a part may get into this one. */
function edited(bytes: Uint8Array, { kind, at, to, length, blocks }: Edit, donor: Uint8Array): Uint8Array {
  const whole = bytes.length;
  const unit = blocks ? 512 : 1;
  const place = (number: number) => Math.floor((number % (whole + 1)) / unit) * unit;
  const from = place(at);
  const end = Math.min(whole, from + Math.ceil(Math.min(length + 1, whole >> 1) / unit) * unit);
  const [before, part, after] = [bytes.subarray(0, from), bytes.subarray(from, end), bytes.subarray(end)];
  const join = (...parts: Uint8Array[]) => joined(parts);
  switch (kind) {
    case "flip":
      return from < whole ? bytes.with(from, bytes[from]! ^ (1 << (to % 8))) : bytes;
    case "cut":
      return join(before, after);
    case "truncate":
      return before.slice();
    case "zero":
      return bytes.slice().fill(0, from, end);
    case "insert":
      return join(before, new Uint8Array(part.length).fill(to), part, after);
    case "double":
      return join(before, part, part, after);
    case "swap": {
      const other = place(to);
      const rest = join(before, after);
      const target = Math.min(other, rest.length);
      return join(rest.subarray(0, target), part, rest.subarray(target));
    }
    default:
      return join(before, donor.subarray(from, end), after);
  }
}

const accident = fc.record({
  kind: fc.constantFrom("full" as const, "chain" as const),
  seal: fc.constantFrom("plain" as const, "sealed" as const),
  file: fc.nat(2),
  edits: fc.array(edit, { maxLength: 3 }),
});

function accidents({ dir, chains }: World) {
  return property("what-was-harmed-is-refused-whole", accident, async ({ kind, seal, file, edits }) => {
    const { files, sum } = chains[kind][seal];
    const [name, good] = files[file % files.length]!;
    // Never a full one for a full one: with all that differs it would be the other, and sound.
    const donor = chains.chain[seal].files[kind === "full" ? 1 + file % 2 : (file + 1) % 3]![1];
    const bytes = edits.reduce((bytes, edit) => edited(bytes, edit, donor), good);
    const isSame = bytes.length === good.length && bytes.every((byte, at) => byte === good[at]);
    const folder = `${dir}/out`;
    await Deno.mkdir(folder);
    try {
      for (const [other, content] of files) {
        await Deno.writeFile(`${folder}/${other}`, other === name ? bytes : content);
      }
      const before = filesIn(dir);
      const source: Source = { kind: "file", path: `${folder}/${files.at(-1)![0]}` };
      const target = `${dir}/new`;
      const answers = [
        await refusal(() => readBackup({ ...reading(source), sink: NOWHERE })),
        await refusal(() => tryRestore(folder, reading(source))),
        await refusal(() => restoreBackup(target, { ...reading(source), now: T0, places: [] })),
      ];
      for (const answer of answers) assertEquals(answer === null, isSame, answer ?? "it was taken");
      if (isSame) assertEquals(sumOf(target), sum);
      assertEquals(filesIn(dir).filter((path) => !isSame || !path.startsWith("/new/")), before);
      assertEquals(namesIn(dir), isSame ? ["new", "out"] : ["out"]);
    } finally {
      // Also after a failure: a smaller input is looked for in the same place.
      for (const name of namesIn(dir)) await Deno.remove(`${dir}/${name}`, { recursive: true });
    }
  });
}

// --- malice

const NAMES = [
  "../x",
  "/tmp/gomail-fuzzed",
  "blobs/2026-01/01/x",
  "blobs/2026-01/01/../../../x",
  "dkim/a.example/s.pem",
  "dkim/../x.pem",
  "config/gomail.yaml",
  "config/../x",
  "url_key",
  "webhook_secret_next",
  "gomail.db",
  "gomail.db/000000000000000",
  "gomail.db/000000000065536",
  "manifest.json",
  "lock",
  ".gomail-restore/x",
];

const step = fc.record({
  kind: fc.constantFrom("drop", "double", "move", "rename", "retype", "resize", "refill"),
  at: fc.nat(30),
  to: fc.nat(30),
  name: fc.oneof(fc.constantFrom(...NAMES), binary(20)),
  type: fc.constantFrom("0", "1", "2", "3", "5", "6", "7", "L", "S", "g", "x", "\0"),
  size: fc.oneof(fc.nat(3_000), fc.constantFrom(0, 2 ** 20, 2 ** 20 + 1, 2 ** 32, 8 ** 11 - 1)),
});
type Step = typeof step extends fc.Arbitrary<infer T> ? T : never;

/** With a header that is in order, whatever it says. */
function stepped(entries: Raw[], { kind, at, to, name, type, size }: Step): Raw[] {
  if (entries.length === 0) return entries;
  const place = at % entries.length;
  const entry = entries[place]!;
  const put = (changed: Parameters<typeof rawEntry>[1]) => entries.with(place, rawEntry(entry, changed));
  switch (kind) {
    case "drop":
      return entries.toSpliced(place, 1);
    case "double":
      return entries.toSpliced(place, 0, entry);
    case "move":
      return entries.toSpliced(place, 1).toSpliced(to % entries.length, 0, entry);
    case "rename":
      return put({ name });
    case "retype":
      return put({ type, link: name });
    case "resize":
      return put({ size });
    default:
      return put({ bytes: new Uint8Array(size % 3_000).fill(to) });
  }
}

const WORDS = [
  '"',
  ":",
  ",",
  "[",
  "]",
  "{",
  "}",
  "0",
  "-1",
  "1e99",
  "9007199254740993",
  "null",
  "true",
  "..",
  "/",
  "full",
  "link",
];

/** What was taken can be read from end to end, and is nothing but a data directory. */
async function readAll(dir: string): Promise<void> {
  for (const path of filesIn(dir)) {
    const name = path.slice(1);
    const isKnown = ["gomail.db", "lock"].includes(name) ||
      knownName(name.replace(/^restored-config\//, "config/")) !== null;
    assert(isKnown, `${name} was made`);
  }
  const store = await openTestStore(dir);
  try {
    const page = { limit: 100 };
    for (const { id } of (await store.listMessages({}, page)).items) await store.readRaw(id);
    await store.listJobs({}, page);
    await store.listEvents(page);
    await store.countQueue();
    await store.probe();
  } finally {
    await store.close();
  }
}

/** The answer of a restore from standard input, with the proof that it is honest. */
async function restoreHonestly({ dir }: World, archive: Uint8Array): Promise<void> {
  const target = `${dir}/new`;
  const source = (): Source => ({ kind: "stream", stream: streamOf(archive) });
  const verified = await refusal(() => readBackup({ ...reading(source()), sink: NOWHERE }));
  const refused = await refusal(() => restoreBackup(target, { ...reading(source()), now: T0, places: [] }));
  // A database is only looked into when it is restored.
  if (verified !== null) assertEquals(refused, verified);
  try {
    assertEquals(namesIn(dir), refused === null ? ["new"] : []);
    if (refused === null) await readAll(target);
  } finally {
    for (const name of namesIn(dir)) await Deno.remove(`${dir}/${name}`, { recursive: true });
  }
}

function forgeries(world: World) {
  const entries = entriesOf(world.chains.full.plain.files[0]![1]);
  const inputs = fc.record({ steps: fc.array(step, { minLength: 1, maxLength: 3 }) });
  return property("entries-of-any-kind-stay-in-their-place", inputs, async ({ steps }) => {
    await restoreHonestly(world, archiveOf(steps.reduce(stepped, entries)));
  });
}

function lies(world: World) {
  const entries = entriesOf(world.chains.full.plain.files[0]![1]);
  const manifest = entries.find(({ name }) => name === "manifest.json")!;
  const text = new TextDecoder().decode(manifest.bytes);
  return property("a-manifest-that-lies-gets-nowhere", mutated(fc.constant(text), WORDS), async (lie) => {
    await restoreHonestly(world, archiveOf(lying(entries, () => lie)));
  });
}

function databases(world: World) {
  const archive = world.chains.full.plain.files[0]![1];
  const change = fc.record({
    /** Anywhere, or in the first pages, where the schema and the rows are. */
    at: fc.oneof(fc.nat(), fc.nat(100_000)),
    with: binary(8),
  });
  const inputs = fc.array(change, { minLength: 1, maxLength: 4 });
  return largeProperty("a-database-is-readable-or-refused", inputs, async (changes) => {
    const harmed = await withDatabaseBytes(archive, (bytes) => {
      const database = bytes.slice();
      for (const { at, with: text } of changes) {
        const place = at % database.length;
        database.set(latin1(text).subarray(0, database.length - place), place);
      }
      return database;
    });
    await restoreHonestly(world, harmed);
  });
}

/** The manifest beside an archive is for lists and increments, and believed as little. */
function hints(world: World) {
  const { dir, dataDir, chains } = world;
  const [name, archive] = chains.full.plain.files[0]!;
  const manifest = entriesOf(archive).find((entry) => entry.name === "manifest.json")!;
  const text = new TextDecoder().decode(manifest.bytes);
  const inputs = fc.record({ sealed: fc.boolean(), hint: mutated(fc.constant(text), WORDS) });
  return largeProperty("a-manifest-beside-is-a-hint", inputs, async ({ sealed, hint }) => {
    const folder = `${dir}/out`;
    await Deno.mkdir(folder);
    try {
      // Of an encrypted one nobody can tell whether the manifest beside it is its own.
      const [file, bytes] = sealed ? chains.full.sealed.files[0]! : [name, archive] as const;
      await Deno.writeFile(`${folder}/${file}`, bytes);
      await Deno.writeTextFile(`${folder}/${file}.manifest.json`, hint);
      assertEquals((await listBackups(folder)).map((listed) => listed.file), [file]);
      const made = await createBackup(options(dataDir, folder, { incremental: true, now: T0 + 5000 }));
      const source: Source = { kind: "file", path: made.path! };
      const answer = await refusal(() => readBackup({ ...reading(source), sink: NOWHERE }));
      if (!sealed) assertEquals(answer, null);
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  });
}

export async function open(): Promise<FuzzTarget> {
  const { world, close } = await makeWorld();
  return {
    properties: [accidents(world), forgeries(world), lies(world), hints(world), databases(world)],
    close,
  };
}
