/** The spool: where the header ends, what is UTF-8, and how a file is used, given up and failed. */

import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import fc from "fast-check";
import { StoreError } from "../../src/base/errors.ts";
import { HEADER_BYTES_MAX } from "../../src/store/message_scanner.ts";
import { MEMORY_BYTES_MAX, Spool } from "../../src/store/spool.ts";
import { test, withTempDir } from "../support/test.ts";
import { bytesOf } from "./support.ts";

/** Spools in memory, cut into the given chunks. */
async function spool(...chunks: (string | Uint8Array)[]) {
  const writer = new Spool("/nonexistent/never-used");
  for (const chunk of chunks) await writer.write(typeof chunk === "string" ? bytesOf(chunk) : chunk);
  const spooled = await writer.finish();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  assert(spooled.body.kind === "memory");
  return { header: text(spooled.header), body: text(spooled.body.bytes), utf8: spooled.utf8 };
}

test("the header block ends with the first empty line, however the bytes are cut", async () => {
  const whole = "A: b\r\nC: d\r\r\n\r\nbody\r\n\r\nmore";
  for (let cut = 0; cut <= whole.length; cut++) {
    const { header, body } = await spool(whole.slice(0, cut), whole.slice(cut));
    assertEquals([header, body], ["A: b\r\nC: d\r\r\n\r\n", "body\r\n\r\nmore"], `cut at ${cut}`);
  }
});

test("a message without fields, without body, or without anything has the header block it has", async () => {
  assertEquals(await spool("\r\nbody"), { header: "\r\n", body: "body", utf8: true });
  assertEquals(await spool("A: b\r\n\r\n"), { header: "A: b\r\n\r\n", body: "", utf8: true });
  assertEquals(await spool("A: b\r\nno end"), { header: "A: b\r\nno end", body: "", utf8: true });
  assertEquals(await spool(), { header: "", body: "", utf8: true });
  assertEquals(await spool("A: b\n\nbody\n"), { header: "A: b\n\nbody\n", body: "", utf8: true });
});

test("UTF-8 is judged over the whole message, across chunks", async () => {
  const euro = bytesOf("x\u20acy");
  for (let cut = 0; cut <= euro.length; cut++) {
    assertEquals((await spool(euro.subarray(0, cut), euro.subarray(cut))).utf8, true);
  }
  assertEquals((await spool(euro.subarray(0, 2), "ascii")).utf8, false);
  assertEquals((await spool("ascii", euro.subarray(0, 3))).utf8, false);
  assertEquals((await spool(new Uint8Array([0xff]), "later")).utf8, false);
  assertEquals((await spool(new Uint8Array([0xed, 0xa0, 0x80]))).utf8, false);
  assertEquals((await spool("\0\x7f")).utf8, true);
});

test("cutting bytes anywhere never changes what comes out", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(fc.uint8Array({ max: 5 })), async (noise) => {
      const chunks = noise.map((chunk) => chunk.map((byte) => [13, 10, 13, 10, 65, 0xc3][byte] ?? 0xa4));
      const whole = new Uint8Array(chunks.flatMap((chunk) => [...chunk]));
      assertEquals(await spool(...chunks), await spool(whole));
    }),
    { numRuns: 300 },
  );
});

test("past the limit the search for the header's end is given up, and no byte is lost", () =>
  withTempDir(async (dir) => {
    const bytes = new Uint8Array(HEADER_BYTES_MAX + 1000).fill(97);
    bytes.set(bytesOf("\r\n\r\nend"), HEADER_BYTES_MAX + 10);
    const writer = new Spool(join(dir, "file"));
    for (let i = 0; i < bytes.length; i += 10_000) await writer.write(bytes.subarray(i, i + 10_000));
    const { header, body } = await writer.finish();
    assertEquals(header.byteLength, HEADER_BYTES_MAX);
    assert(body.kind === "file");
    assertEquals([body.offset, body.length], [HEADER_BYTES_MAX, 1000]);
    assertEquals(await Deno.readFile(body.path), bytes);
  }));

test("a file is made past the threshold only, privately, and discard() removes it as often as asked", () =>
  withTempDir(async (dir) => {
    const path = join(dir, "file");
    const writer = new Spool(path);
    await writer.write(new Uint8Array(MEMORY_BYTES_MAX));
    assertEquals([...Deno.readDirSync(dir)], []);
    await writer.write(new Uint8Array(1));
    const spooled = await writer.finish();
    assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o600);
    assertEquals(spooled.sizeBytes, MEMORY_BYTES_MAX + 1);
    await spooled.discard();
    await spooled.discard();
    assertEquals([...Deno.readDirSync(dir)], []);
  }));

test("write() holds a fast sender back, and a chunk may be reused at once", () =>
  withTempDir(async (dir) => {
    const path = join(dir, "file");
    const writer = new Spool(path);
    const chunk = new Uint8Array(65_536);
    let waits = 0;
    for (let i = 0; i < 64; i++) {
      chunk.fill(i);
      const wait = writer.write(chunk);
      if (wait) waits++;
      await wait;
    }
    assert(waits >= 20, `${waits}`);
    await writer.finish();
    const bytes = await Deno.readFile(path);
    assertEquals(bytes.length, 64 * 65_536);
    assert(bytes.every((byte, i) => byte === i >> 16));
  }));

test("abort() leaves nothing, in memory, in a file, and while writing", () =>
  withTempDir(async (dir) => {
    const small = new Spool(join(dir, "small"));
    small.write(bytesOf("x"));
    await small.abort();
    const large = new Spool(join(dir, "large"));
    for (let i = 0; i < 10; i++) large.write(new Uint8Array(65_536));
    await large.abort();
    await large.abort();
    await assertRejects(() => Promise.resolve(large.write(bytesOf("x"))), StoreError);
    await assertRejects(() => large.finish(), StoreError);
    assertEquals([...Deno.readDirSync(dir)], []);
  }));

test("a disk error reaches the next write() and finish(), as one that is not for lack of space", async () => {
  const writer = new Spool("/nonexistent/dir/file");
  const first = writer.write(new Uint8Array(300_000));
  await assertRejects(() => Promise.resolve(first), StoreError, "Cannot spool the message");
  await assertRejects(() => Promise.resolve(writer.write(new Uint8Array(1))), StoreError);
  const error = await assertRejects(() => writer.finish(), StoreError);
  assert(error instanceof StoreError && !error.full);
  assert(!error.message.includes("nonexistent"), "paths are nobody's business");
  await writer.abort();
});

test("a spool that has ended takes nothing more", async () => {
  const writer = new Spool("/nonexistent/never-used");
  await writer.write(bytesOf("x"));
  await writer.finish();
  await assertRejects(() => Promise.resolve(writer.write(bytesOf("y"))), StoreError, "ended");
});
