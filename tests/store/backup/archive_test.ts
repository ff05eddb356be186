/** Archives that nobody should restore: each is refused, by a reader that was told nothing of how it was made. */

import { assertEquals, assertMatch, assertRejects } from "@std/assert";
import { BackupError } from "../../../src/store/backup/mod.ts";
import { test } from "../../support/test.ts";
import { archiveOf, entriesOf, joined, lying, type Raw, rawEntry, sampleArchive, verify } from "./support.ts";

const good = await sampleArchive();
const entries = entriesOf(good);
const at = (name: string) => entries.findIndex((entry) => entry.name.startsWith(name));
const text = (value: string) => new TextEncoder().encode(value);

async function refused(archive: Uint8Array, why: RegExp, what = ""): Promise<void> {
  const error = await assertRejects(() => verify(archive), BackupError);
  assertMatch((error as Error).message, why, what);
}

/** The entries with one more, or another one, at a place. */
const withEntry = (place: number, entry: Raw, remove = 0) =>
  archiveOf(entries.toSpliced(place, remove, entry));

const withManifest = (change: (text: string) => string) => archiveOf(lying(entries, change));

test("A backup that nothing is wrong with is sound, also when this test has taken it apart", async () => {
  assertEquals(archiveOf(entries), good);
  assertEquals((await verify(good)).summary.messages, 3);
  assertEquals((await verify(withManifest((same) => same))).summary.kind, "full");
});

test("A backup from before they said whose store they are of is sound as well", async () => {
  const old = withManifest((text) => text.replace(/"store":"[0-9a-f]{16}",/, ""));
  assertEquals((await verify(good)).summary.store?.length, 16);
  assertEquals((await verify(old)).summary.store, undefined);
  assertEquals(
    (await verify(withManifest((text) => text.replace(/"store":"[0-9a-f]{16}"/, '"store":null')))).summary
      .store,
    null,
  );
});

test("Names that leave the place, and any other that no backup has", async () => {
  const names = [
    "../gomail.db",
    "/etc/passwd",
    "blobs/2026-01/02/../../../../x",
    "blobs/2026-01/02/..",
    "dkim/../../x.pem",
    "dkim/a/../b.pem",
    "dkim/a.b/.pem",
    "dkim/example.com/s1.pem/x",
    "config/../gomail.db",
    "./webhook_secret",
    "webhook_secret/",
    "gomail.db",
    "gomail.db-wal",
    "gomail.db/00000000000000x",
    "lock",
    ".ssh/authorized_keys",
    "blobs\\2026-01\\02\\x",
    "BLOBS/2026-01/02/x",
    "webhook_secret\u202e",
    "webhook_secret\n",
    "",
  ];
  const place = at("webhook_secret");
  for (const name of names) {
    await refused(
      withEntry(place, rawEntry(entries[place]!, { name })),
      /none that a backup has|damaged/,
      name,
    );
  }
});

test("Links, devices, folders, pipes, sparse files and extended headers", async () => {
  const place = at("webhook_secret");
  const like = entries[place]!;
  const empty = new Uint8Array(0);
  for (
    const [type, why] of [["1", /is a link/], ["2", /symbolic link/], ["3", /device/], [
      "4",
      /device/,
    ]] as const
  ) {
    const entry = rawEntry(like, { name: "url_key", type, link: "/etc/shadow", bytes: empty });
    await refused(withEntry(place, entry), why, type);
  }
  await refused(
    withEntry(place, rawEntry(like, { name: "blobs/", type: "5", bytes: empty })),
    /is a directory/,
  );
  await refused(withEntry(place, rawEntry(like, { type: "6", bytes: empty })), /is a pipe/);
  await refused(withEntry(place, rawEntry(like, { type: "S" })), /sparse/);
  const pax = text("30 path=../../../etc/passwd\n");
  for (const type of ["x", "g"]) {
    await refused(
      withEntry(place, rawEntry(like, { name: "PaxHeader", type, bytes: pax })),
      /extended header/,
    );
  }
  await refused(withEntry(place, rawEntry(like, { name: "././@LongLink", type: "L" })), /extended header/);
  for (const type of ["\0", "7", "V", "M"]) {
    await refused(withEntry(place, rawEntry(like, { type }), 1), /damaged/, type);
  }
});

test("Doubles, disorder, and what the manifest does not know or can't find", async () => {
  const place = at("webhook_secret");
  await refused(withEntry(place, entries[place]!), /comes twice/);
  await refused(archiveOf([...entries].reverse()), /out of order|no manifest/);
  await refused(archiveOf(entries.toSpliced(0, 2, entries[1]!, entries[0]!)), /out of order/);
  await refused(archiveOf(entries.toSpliced(place, 1)), /webhook_secret is missing/);
  await refused(archiveOf(entries.toSpliced(at("gomail.db/"), 1)), /is missing/);
  await refused(
    withEntry(place, rawEntry(entries[place]!, { name: "webhook_secret_next" })),
    /not in its manifest/,
  );
  await refused(archiveOf(entries.slice(0, -1)), /no manifest/);
  await refused(archiveOf(entries.slice(0, -2)), /no manifest/);
  await refused(archiveOf([...entries, entries.at(-2)!]), /comes twice|out of order/);
  await refused(archiveOf([]), /no manifest/);
});

test("Sizes that are not true, or too large to be", async () => {
  const place = at("webhook_secret");
  const like = entries[place]!;
  await refused(withEntry(place, rawEntry(like, { bytes: new Uint8Array(2 ** 20 + 1) }), 1), /too large/);
  await refused(withEntry(place, rawEntry(like, { size: 8 ** 11 - 1 }), 1), /too large/);
  await refused(withEntry(place, rawEntry(like, { size: 0 }), 1), /./);
  await refused(
    withEntry(place, rawEntry(like, { bytes: joined([like.bytes, like.bytes]) }), 1),
    /is damaged/,
  );
  for (const offset of ["999999999999999", "008796093022208", "000000000065537"]) {
    const chunk = rawEntry(entries[0]!, { name: `gomail.db/${offset}` });
    await refused(withEntry(at("blobs/"), chunk), /has no place/, offset);
  }
  const binary = rawEntry(like, {});
  binary.header[124] = 0x80; // The size as a binary number, which GNU tar would take.
  await refused(withEntry(place, binary, 1), /damaged/);
});

test("Cut off at any block, and anywhere else", async () => {
  for (let length = 0; length < good.length; length += 512) {
    await refused(good.subarray(0, length), /cut off/, String(length));
  }
  for (let length = 1; length < good.length; length += 7919) {
    await refused(good.subarray(0, length), /cut off/);
  }
});

test("Anything behind the end", async () => {
  for (const rest of [new Uint8Array(1), new Uint8Array(512), new Uint8Array(9216), good]) {
    await refused(joined([good, rest]), /behind its end/);
  }
});

test("One bit, anywhere", async () => {
  // Headers, padding and manifest bit by bit would take minutes: every byte of some blocks, and places all over.
  const places = new Set(Array.from({ length: 150 }, (_, i) => Math.floor(i * good.length / 150)));
  for (let i = 0; i < 512; i += 3) places.add(i);
  for (let i = good.length - 2048; i < good.length; i += 7) places.add(i);
  let bit = 0;
  for (const place of places) {
    const bad = good.slice();
    bad[place]! ^= 1 << (bit++ % 8);
    await refused(bad, /./, `byte ${place}`);
  }
});

test("A manifest that lies, with its own sum in order", async () => {
  const lies: [(text: string) => string, RegExp][] = [
    [(m) => m.replace('"format":"gomail-backup"', '"format":"tar"'), /none of a backup/],
    [(m) => m.replace('"format_version":1', '"format_version":2'), /newer than this program/],
    [(m) => m.replace('"format_version":1', '"format_version":-1'), /damaged/],
    [(m) => m.replace(/"chunk_bytes":\d+/, '"chunk_bytes":1'), /damaged/],
    [(m) => m.replace(/"bytes":\d+/, '"bytes":1e15'), /damaged/],
    [(m) => m.replace(/"bytes":\d+/, '"bytes":-5'), /damaged/],
    [(m) => m.replace(/"chain":\["\w+"\]/, '"chain":[]'), /damaged/],
    [(m) => m.replace(/"chain":\["\w+"\]/, '"chain":["../../etc/passwd"]'), /damaged/],
    [(m) => m.replace('"kind":"full"', '"kind":"incremental"'), /damaged/],
    [(m) => m.replace(/"store":"\w+"/, '"store":"../x"'), /damaged/],
    [(m) => m.replace('"name":"webhook_secret"', '"name":"../webhook_secret"'), /damaged/],
    [(m) => m.replace('"name":"webhook_secret"', '"name":"url_key"'), /damaged/],
    [(m) => m.replace('"name":"webhook_secret"', '"name":"webhook_secret_next"'), /is missing/],
    [(m) => m.replace(/"size":\d+/, '"size":1'), /is damaged/],
    [(m) => m.replace(/"sha256":"\w/, '"sha256":"g'), /damaged/],
    [(m) => m.replace('"link":0', '"link":1'), /damaged/],
    [(m) => m.replace(/"chunks":.*\]\]/, '"chunks":[]'), /damaged/],
    [(m) => m.replace(/"created_at":"2/, '"created_at":"1'), /damaged/],
    [(m) => m.replace('"missing_blobs":[]', '"missing_blobs":["/etc/passwd"]'), /damaged/],
    [() => "", /damaged/],
    [() => "[]", /none of a backup/],
    [() => '{"backup":null}', /none of a backup/],
    [(m) => m.slice(0, -3), /damaged/],
    [() => "[".repeat(100_000), /damaged/],
  ];
  for (const [i, [lie, why]] of lies.entries()) await refused(withManifest(lie), why, `lie ${i}`);
});

test("Files that are no backup at all", async () => {
  await refused(new Uint8Array(0), /cut off at byte 0/);
  await refused(text("x".repeat(5000)), /not an archive that `gomail backup` made/);
  await refused(new Uint8Array(100_000), /behind its end|no manifest/);
});
