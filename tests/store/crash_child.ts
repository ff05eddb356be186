/** Adds small and large mails as fast as it can and prints each id once it is acknowledged, until it is killed. */

import { newJob, newMessage, openTestStore, spoolBytes } from "./support.ts";

const store = await openTestStore(Deno.args[0] ?? "", { inThread: false });
const encoder = new TextEncoder();
const bytes = new Uint8Array(140_000).fill(65);

async function add(size: number): Promise<void> {
  for (;;) {
    const spooled = await spoolBytes(store, bytes.subarray(0, size));
    const message = newMessage({ head: spooled.header, spooled, jobs: [newJob()] });
    await store.addMessage(message);
    Deno.stdout.writeSync(encoder.encode(`${message.id} ${size}\n`));
  }
}

await Promise.all([add(4_000), add(4_000), add(30_000), add(140_000)]);
