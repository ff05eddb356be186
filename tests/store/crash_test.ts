/** kill -9 in the middle of a load: every mail that was acknowledged is there afterwards, with its bytes and its job. */

import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { test, withTempDir } from "../support/test.ts";
import { openTestStore, rawBytes } from "./support.ts";

const ROUNDS = 5;
const ACKNOWLEDGED = 60;

/** Starts the child, lets it acknowledge some mails, kills it; the lines it got to print in full. */
async function killedRound(dataDir: string, random: number): Promise<string[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", new URL("./crash_child.ts", import.meta.url).pathname, dataDir],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let text = "";
  let killed = false;
  for await (const part of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += part;
    if (killed || text.split("\n").length <= ACKNOWLEDGED + random) continue;
    killed = true;
    child.kill("SIGKILL");
  }
  assertEquals((await child.status).signal, "SIGKILL");
  return text.split("\n").slice(0, -1);
}

test("kill -9 at any moment loses nothing that was acknowledged", () =>
  withTempDir(async (dataDir) => {
    const acknowledged: string[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      acknowledged.push(...await killedRound(dataDir, Math.floor(Math.random() * 20)));
    }
    assert(acknowledged.length > ROUNDS * ACKNOWLEDGED);
    const store = await openTestStore(dataDir);
    for (const line of acknowledged) {
      const [id = "", size] = line.split(" ");
      assertEquals((await rawBytes(store, id)).length, Number(size));
      assertEquals((await store.listJobs({ messageId: id }, { limit: 2 })).items.length, 1);
    }
    await store.swept;
    assertEquals([...Deno.readDirSync(join(dataDir, "spool"))], []);
    await store.close();
  }));
