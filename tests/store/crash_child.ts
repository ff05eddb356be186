/**
 * Adds small and large mails as fast as it can and prints each id once it is acknowledged, until it is killed.
 * With "send" after the directory it sends them: submits with a key, and settles each with event and attempt.
 */

import type { Settlement } from "../../src/store/types.ts";
import { newEvent, newJob, newMessage, newOutbound, openTestStore, spoolBytes, T0 } from "./support.ts";

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

function delivered(messageId: string): Settlement {
  const attempt = {
    number: 1,
    at: T0,
    tookMs: 1,
    outcome: "delivered" as const,
    code: 250,
    remote: null,
    transcript: "S: 250",
  };
  const effects = { events: [newEvent(messageId)], suppressions: [] };
  return { kind: "delivered", at: T0, code: 250, attempt, effects };
}

async function send(size: number): Promise<void> {
  for (;;) {
    const spooled = await spoolBytes(store, bytes.subarray(0, size));
    const message = newOutbound(["a@there.test", "b@there.test"], { head: spooled.header, spooled });
    const queued = { type: "mail.queued" };
    message.effects = {
      events: [newEvent(message.id, queued), newEvent(message.id, queued)],
      suppressions: [],
    };
    const key = { key: message.id, bodyHash: "h", answer: message.id, expiresAt: Date.now() + 86_400_000 };
    await store.submit(message, key);
    Deno.stdout.writeSync(encoder.encode(`${message.id} ${size} 0\n`));
    await Promise.all(message.jobs.map((job) => store.settle(job.id, delivered(message.id))));
    Deno.stdout.writeSync(encoder.encode(`${message.id} ${size} 2\n`));
  }
}

if (Deno.args[1] === "send") await Promise.all([send(4_000), send(4_000), send(30_000), send(140_000)]);
else await Promise.all([add(4_000), add(4_000), add(30_000), add(140_000)]);
