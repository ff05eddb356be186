/** Engine, carrier, store on disk and receiver together, over real sockets, with time running twenty times faster. */

import { assert, assertEquals } from "@std/assert";
import { Webhook } from "standardwebhooks";
import { silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { type Receiver, type ReceiverAnswer, startReceiver } from "../../src/cli/demo/receiver.ts";
import { configOf } from "../../src/config/schema.ts";
import { createWebhookCarrier, type WebhookConfig } from "../../src/delivery/webhook/carrier.ts";
import { createQueueEngine, type QueueEngine } from "../../src/delivery/worker.ts";
import { buildPayload } from "../../src/events/payload.ts";
import type { Vault } from "../../src/store/mod.ts";
import type { JobRecord, NewJob } from "../../src/store/types.ts";
import { newJob, newMessage, openTestStore } from "../store/support.ts";
import { fastClock } from "../support/fast_clock.ts";
import { test, withTempDir } from "../support/test.ts";

const SECRET = "whsec_" + btoa("0123456789abcdef0123456789abcdef");

/** One run of the daemon's delivery side on that directory. */
async function withEngine(
  dataDir: string,
  config: WebhookConfig,
  fn: (engine: QueueEngine, store: Vault) => Promise<void>,
): Promise<void> {
  // Begun in the past, so that signatures stay near the receiver's time for as long as a slow machine takes.
  const clock = fastClock(20, Date.now() - 200_000);
  const store = await openTestStore(dataDir, { clock });
  const carrier = createWebhookCarrier({
    config: () => config,
    lookupHost: () => Promise.resolve([]),
    buildPayload,
    baseUrl: () => "https://mail.ours.example",
    urlKey: "00".repeat(32),
    clock,
    log: silentLogger,
  });
  const engine = createQueueEngine({
    store,
    carriers: [carrier],
    clock,
    log: silentLogger,
    metrics: createMetrics(),
    random: Math.random,
  });
  store.onJobs = (name) => engine.wake(name);
  engine.start();
  try {
    await fn(engine, store);
  } finally {
    await engine.drain(1_000);
    await store.close();
  }
}

function configFor(urls: Record<string, string>): WebhookConfig {
  const routes = Object.entries(urls).map(([match, url]) => ({ match, url, on_reject: "drop" as const }));
  return {
    ...configOf(),
    routes,
    webhook_secret: SECRET,
    webhook_allow_private: true,
    // Three real seconds: a machine that is busy must not turn a good answer into none.
    webhook_timeout: 60_000,
  };
}

const jobFor = (lane: string, url: string): NewJob =>
  newJob({ lane, destination: url, dueAt: 0, expiresAt: Date.now() + 86_400_000 });

async function until(what: string, fn: () => Promise<boolean>): Promise<void> {
  for (let i = 0; i < 6_000; i++) {
    if (await fn()) return;
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  throw new Error(`Not in a minute: ${what}`);
}

async function jobs(store: Vault): Promise<JobRecord[]> {
  return (await store.listJobs({}, { limit: 500 })).items;
}

const settled = async (store: Vault) => (await jobs(store)).every((job) => job.state !== "pending");

/** The first request of each path meets the mood, the others a yes. */
function moody(moods: Record<string, ReceiverAnswer>) {
  const seen = new Set<string>();
  return ({ path }: { path: string }): ReceiverAnswer => {
    if (seen.has(path)) return { status: 200 };
    seen.add(path);
    return moods[path.slice(1)] ?? { status: 200 };
  };
}

test("Every mood of a receiver ends as the contract says", () =>
  withTempDir(async (dir) => {
    const moods: Record<string, ReceiverAnswer> = {
      fine: { status: 200 },
      error: { status: 500 },
      wait: { status: 429, headers: { "retry-after": "20" } },
      later: { status: 503, headers: { "retry-after": "1" } },
      redirect: { status: 302, headers: { location: "/elsewhere" } },
      hang: "hang",
      half: "half",
      drop: "drop",
      garbage: "garbage",
      huge: { status: 500, body: "x".repeat(3_000_000) },
      drip: "drip",
      endless: "endless",
      gone: { status: 410 },
      refused: { status: 422 },
    };
    const receiver = await startReceiver({ secret: SECRET, answer: moody(moods) });
    const url = (mood: string) => receiver.url.replace("/webhook", `/${mood}`);
    const names = Object.keys(moods);
    const config = configFor(Object.fromEntries(names.map((mood) => [`*@${mood}.example`, url(mood)])));
    try {
      await withEngine(dir, config, async (_engine, store) => {
        const owed = names.map((mood) => jobFor(`*@${mood}.example`, url(mood)));
        await store.addMessage(newMessage({ jobs: owed }));
        await until("all settled", () => settled(store));
        const ends = Object.fromEntries((await jobs(store)).map((job) => [job.lane.slice(2, -8), job]));
        for (const mood of names) {
          const final = mood === "gone" || mood === "refused";
          const once = final || ["fine", "drip", "endless"].includes(mood);
          assertEquals([ends[mood]?.state, ends[mood]?.attempts], [
            final ? "dead" : "delivered",
            once ? 1 : 2,
          ], mood);
          const requests = receiver.requests.filter((request) => request.path === `/${mood}`);
          assertEquals(requests.length, once ? 1 : 2, mood);
          assertEquals(new Set(requests.map((r) => r.headers["webhook-id"])).size, 1);
          assertEquals(new Set(requests.map((r) => r.headers["webhook-signature"])).size, requests.length);
        }
      });
      assertEquals(receiver.requests.filter((request) => request.path === "/elsewhere"), []);
      for (const { body, headers } of receiver.requests) {
        new Webhook(SECRET).verify(new TextDecoder().decode(body), headers);
      }
    } finally {
      await receiver.close();
    }
  }));

test("A receiver that was down gets everything when it is back, and slowed no other", () =>
  withTempDir(async (dir) => {
    let dead: Receiver = await startReceiver();
    const { port } = dead;
    await dead.close();
    const live = await startReceiver();
    const url = `http://127.0.0.1:${port}/webhook`;
    const config = configFor({ "*@dead.example": url, "*@live.example": live.url });
    await withEngine(dir, config, async (engine, store) => {
      const ids: string[] = [];
      for (let i = 0; i < 40; i++) {
        const owed = [jobFor("*@dead.example", url), jobFor("*@live.example", live.url)];
        ids.push(owed[0]!.id);
        await store.addMessage(newMessage({ jobs: owed }));
      }
      await live.waitFor(40);
      await until("the breaker opens", async () => engine.status().paused.length === 1);
      assertEquals(engine.status().paused[0]?.lanes, ["*@dead.example"]);
      dead = await startReceiver({ port });
      await until("all settled", () => settled(store));
      assertEquals(dead.requests.map((request) => request.headers["webhook-id"]).sort(), ids.sort());
      assertEquals(engine.status().paused, []);
    });
    await dead.close();
    await live.close();
  }));

test("What was in flight at the end is delivered after the restart, under its id", () =>
  withTempDir(async (dir) => {
    const receiver = await startReceiver({ answer: () => "hang" });
    const config = configFor({ "*": receiver.url });
    const owed = jobFor("*", receiver.url);
    await withEngine(dir, config, async (_engine, store) => {
      await store.addMessage(newMessage({ jobs: [owed] }));
      await receiver.waitFor(1);
    });
    receiver.answerWith(() => ({ status: 200 }));
    await withEngine(dir, config, async (_engine, store) => {
      await until("delivered", () => settled(store));
      const [job] = await jobs(store);
      assertEquals([job?.state, job?.attempts], ["delivered", 1]);
    });
    assert(receiver.requests.every((request) => request.headers["webhook-id"] === owed.id));
    assertEquals(receiver.count, 2);
    await receiver.close();
  }));
