/** A stored message as the bytes of DATA. */

import { assertEquals } from "@std/assert";
import { dataChunks, scanContent } from "../../../src/delivery/smtp/content.ts";
import type { MailSource } from "../../../src/mail/source.ts";
import { test, withTempDir } from "../../support/test.ts";

const encode = (text: string) => new TextEncoder().encode(text);
const inMemory = (head: string, body: string): MailSource => ({
  head: encode(head),
  body: { kind: "memory", bytes: encode(body) },
});

async function sent(source: MailSource): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const chunk of dataChunks(source, await scanContent(source))) {
    text += decoder.decode(chunk, { stream: true });
  }
  return text + decoder.decode();
}

test("scanContent() tells what a server has to be able to do", async () => {
  const facts = async (head: string, body: string) => {
    const { eightBit, utf8Header, dots, ended, problem } = await scanContent(inMemory(head, body));
    return { eightBit, utf8Header, dots, ended, problem };
  };
  const plain = { eightBit: false, utf8Header: false, dots: false, ended: true, problem: null };
  assertEquals(await facts("A: b\r\n\r\n", "text\r\n"), plain);
  assertEquals(await facts("A: b\r\n\r\n", "té\r\n"), { ...plain, eightBit: true });
  assertEquals(await facts("A: é\r\n\r\n", "text\r\n"), { ...plain, eightBit: true, utf8Header: true });
  // The header ends with the first empty line, wherever head and body were parted.
  assertEquals(await facts("", "A: b\r\n\r\né\r\n"), { ...plain, eightBit: true });
  assertEquals(await facts("A: b\r\n\r\n", ".\r\n"), { ...plain, dots: true });
  assertEquals(await facts("A: b\r\n\r\n", "text"), { ...plain, ended: false });
});

test("scanContent() finds what may not go out, across pieces too", async () => {
  const problem = async (head: string, body: string) => (await scanContent(inMemory(head, body))).problem;
  assertEquals(await problem("A: b\r\n\r\n", "a\nb\r\n"), "it has a bare LF");
  assertEquals(await problem("A: b\r\n\r\n", "a\rb\r\n"), "it has a bare CR");
  assertEquals(await problem("A: b\r\n\r\n", "a\r"), "it has a bare CR");
  assertEquals(await problem("A: b\r\n\r\n", "a\r\r\n"), "it has a bare CR");
  assertEquals(await problem("A: b\r\n\r", "\nok\r\n"), null);
  assertEquals(await problem("A: b\r", "x\r\n"), "it has a bare CR");
  assertEquals(await problem("A: b\r\n\r\n", "x".repeat(998) + "\r\n"), null);
  assertEquals(await problem("A: b\r\n\r\n", "x".repeat(999) + "\r\n"), "it has a line over 998 octets");
  assertEquals(await problem("A: b\r\n\r\n", "x".repeat(999)), "it has a line over 998 octets");
});

test("dataChunks() stuffs dots at line starts only, and ends a last line that has no end", async () => {
  assertEquals(
    await sent(inMemory("A: b\r\n\r\n", ".\r\n..\r\na.b\r\n")),
    "A: b\r\n\r\n..\r\n...\r\na.b\r\n.\r\n",
  );
  assertEquals(await sent(inMemory("A: b\r\n\r\n", "no end")), "A: b\r\n\r\nno end\r\n.\r\n");
  assertEquals(await sent(inMemory(".A: b\r\n", "")), "..A: b\r\n.\r\n");
  assertEquals(await sent(inMemory("A: b\r\n\r\n", "")), "A: b\r\n\r\n.\r\n");
});

test("dataChunks() is the same from a file, for dots at the edges of its pieces as well", () =>
  withTempDir(async (dir) => {
    // 64 KB pieces: a dot as the first byte of the second, at a line's start and in its middle.
    for (const before of ["\r\n", "xx"]) {
      const line = "y".repeat(62) + "\r\n";
      const body = line.repeat(1023) + "y".repeat(62) + before + ".tail\r\n" + line.repeat(3000);
      const path = `${dir}/mail`;
      await Deno.writeTextFile(path, "skipped" + body);
      const head = encode("A: b\r\n\r\n");
      const file: MailSource = { head, body: { kind: "file", path, offset: 7, length: body.length } };
      const wanted = "A: b\r\n\r\n" + body.replace(/^\./gm, "..") + ".\r\n";
      assertEquals(await sent(file) === wanted, true);
      assertEquals(await sent(inMemory("A: b\r\n\r\n", body)) === wanted, true);
    }
  }));
