/** kill -9 in the middle of a load: every mail that was acknowledged is there afterwards, with its bytes and its job. */

import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { test, withTempDir } from "../support/test.ts";
import { openTestStore, rawBytes } from "./support.ts";

const ROUNDS = 5;
const ACKNOWLEDGED = 60;

/** Starts the child, lets it acknowledge some mails, kills it; the lines it got to print in full. */
async function killedRound(dataDir: string, ...what: string[]): Promise<string[]> {
  const random = Math.floor(Math.random() * 20);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      new URL("./crash_child.ts", import.meta.url).pathname,
      dataDir,
      ...what,
    ],
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
      acknowledged.push(...await killedRound(dataDir));
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

test("kill -9 leaves a submit and a settlement whole or not begun, with all that belongs to it", () =>
  withTempDir(async (dataDir) => {
    const settled = new Map<string, number>();
    for (let round = 0; round < ROUNDS; round++) {
      for (const line of await killedRound(dataDir, "send")) {
        const [id = "", , count] = line.split(" ");
        settled.set(id, Number(count));
      }
    }
    const store = await openTestStore(dataDir);
    const stored = new Set<string>();
    let cursor: string | null | undefined;
    do {
      const page = await store.listMessages({ direction: "outbound" }, {
        limit: 500,
        cursor: cursor ?? undefined,
      });
      for (const message of page.items) stored.add(message.id);
      cursor = page.nextCursor;
    } while (cursor !== null);
    assertEquals([...settled.keys()].filter((id) => !stored.has(id)), [], "acknowledged and gone");
    for (const id of stored) {
      const jobs = (await store.listJobs({ messageId: id }, { limit: 99 })).items;
      const done = jobs.filter((job) => job.carrier === "smtp" && job.state === "delivered");
      const events = (await store.listEvents({ limit: 99, messageId: id })).items.map((event) => event.type);
      assertEquals(events.filter((type) => type === "mail.queued").length, 2);
      assertEquals(events.filter((type) => type === "mail.delivered").length, done.length);
      assertEquals(jobs.length, 2 + events.length, "each recipient's job, each event's webhook");
      const attempts = await Promise.all(jobs.map((job) => store.listAttempts(job.id)));
      assertEquals(attempts.flat().length, done.length);
      assert(done.length >= (settled.get(id) ?? 0), "settled and undone");
      assertEquals((await store.recallKey(id, Date.now()))?.answer, id);
    }
    await store.close();
  }));
