/**
 * Golden payloads: tests/golden/payload/NAME.eml is a mail as stored, NAME.json the webhook body it becomes.
 * After a change that is meant, GOLDEN_UPDATE=1 writes the JSON files anew; read the diff before committing it.
 */

import { assertEquals } from "@std/assert";
import { buildPayload } from "../../src/events/payload.ts";
import { messageOf, rawOf } from "../support/memory_store.ts";
import { test } from "../support/test.ts";

const DIR = new URL("../golden/payload/", import.meta.url);
/** Mails over this are sent by URL. */
const INLINE_BYTES_MAX = 16 * 1024;

function isUtf8(bytes: Uint8Array): boolean {
  try {
    new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return true;
  } catch {
    return false;
  }
}

async function payloadOf(name: string): Promise<string> {
  const bytes = await Deno.readFile(new URL(`${name}.eml`, DIR));
  const payload = await buildPayload({
    record: messageOf({ sizeBytes: bytes.length, utf8: isUtf8(bytes) }),
    raw: rawOf(bytes),
    recipients: ["bob@ours.example"],
    inlineBytesMax: INLINE_BYTES_MAX,
    baseUrl: "https://mail.ours.example",
    urlKey: "0123456789abcdef".repeat(4),
    nowMs: Date.UTC(2026, 0, 1, 12),
  });
  return JSON.stringify(JSON.parse(new TextDecoder().decode(payload)), null, 2) + "\n";
}

const names = [...Deno.readDirSync(DIR)].map((entry) => entry.name).filter((name) => name.endsWith(".eml"))
  .map((name) => name.slice(0, -4)).sort();

for (const name of names) {
  test(`payload of ${name.replaceAll("_", " ")}`, async () => {
    const actual = await payloadOf(name);
    const golden = new URL(`${name}.json`, DIR);
    if (Deno.env.get("GOLDEN_UPDATE") === "1") await Deno.writeTextFile(golden, actual);
    assertEquals(JSON.parse(actual), JSON.parse(await Deno.readTextFile(golden)));
  });
}
