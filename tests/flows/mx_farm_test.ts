/**
 * Straight to the recipients' servers, through the whole daemon: a farm of hosts on loopback, each with a trouble of
 * its own, real DNS and SMTP packets, the real store, and a clock that is moved by hand over hours. What the SMTP
 * carrier does alone is in tests/delivery/smtp; here it is what the app sees of it.
 */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { makeCertificate } from "../support/certificates.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { type FakeMx, startFakeMx, startFarm } from "../support/fake_mx.ts";
import { type ConfigValues, type TestDaemon, withDaemon } from "../support/harness.ts";
import { eventOf, eventsOf, mxZone, sendMail } from "../support/sending.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

/** Loopback too, and nobody listens there. */
const DEAD_HOST = "127.0.0.99";
const GREETING_WAIT_MS = 120_000;
const LIMIT_MS = 3 * 3_600_000;

interface Farm {
  d: TestDaemon;
  clock: FakeClock;
}

interface Job {
  id: string;
  state: string;
  attempts: number;
  due_at: string;
}

async function withFarm(
  servers: FakeMx[],
  zone: ReturnType<typeof mxZone>,
  fn: (farm: Farm) => Promise<void>,
  values: ConfigValues = {},
): Promise<void> {
  const clock = new FakeClock(Date.now());
  const all: ConfigValues = {
    outbound_transport: "direct",
    outbound_port: servers[0]!.port,
    outbound_allow_private: true,
    ...values,
  };
  try {
    await withDaemon(all, (d) => fn({ d, clock }), { zone, clock });
  } finally {
    for (const server of servers) await server.close();
  }
}

/** The mail's job that has not been done, or its only one. */
async function smtpJob(d: TestDaemon, id: string): Promise<Job> {
  const jobs: (Job & { carrier: string })[] = (await d.jobs(id)).filter(({ carrier }) => carrier === "smtp");
  return jobs.find(({ state }) => state === "pending") ?? jobs[0]!;
}

/** Moves the clock to when the job is due, and then on as real time goes, until what is caused by that is so. */
async function whenDue({ d, clock }: Farm, id: string, isSo: () => boolean, what: string): Promise<void> {
  await clock.advance(Date.parse((await smtpJob(d, id)).due_at) - clock.now());
  const going = async () => {
    await clock.advance(10);
    return isSo();
  };
  await until(going, what);
}

async function transcripts(d: TestDaemon, job: Job): Promise<string[]> {
  const { attempts } = (await d.api(`/v1/queue/${job.id}`)).json;
  return attempts.map((attempt: { transcript: string }) => attempt.transcript);
}

const hostsIn = (transcript: string) =>
  [...transcript.matchAll(/connecting to (\w+)\./g)].map((match) => match[1]);

test("Hosts are asked in their order: one refuses, one tarpits, one says 451 and later 250, one demands TLS", async () => {
  let asked = 0;
  const pair = await makeCertificate("strict.example");
  const servers = await startFarm(
    { greeting: null },
    { on: (line) => line.startsWith("MAIL") && ++asked === 1 ? "451 4.3.0 Not now" : undefined },
    { tls: { ...pair, required: true } },
  );
  const [tarpit, late, strict] = servers as [FakeMx, FakeMx, FakeMx];
  const zone = {
    // Not in the order of their preferences.
    ...mxZone("late.example", [
      ["late.mx.example", 30, late.host],
      ["dead.mx.example", 10, DEAD_HOST],
      ["tarpit.mx.example", 20, tarpit.host],
    ]),
    ...mxZone("strict.example", [
      ["strict.mx.example", 30, strict.host],
      ["tarpit.mx.example", 20, tarpit.host],
      ["dead.mx.example", 10, DEAD_HOST],
    ]),
  };
  await withFarm(servers, zone, async (farm) => {
    const { d, clock } = farm;
    const { json: { id } } = await sendMail(d, { to: ["ann@late.example", "bob@strict.example"] });
    await until(() => tarpit.connections === 2, "both mails in the tarpit");
    assertEquals([late.connections, strict.connections], [0, 0], "a host is asked after those before it");
    await eventOf(d, id, "mail.queued");
    await clock.advance(GREETING_WAIT_MS);

    const inTls = await eventOf(d, id, "mail.delivered", "bob@strict.example");
    assertEquals([inTls.attempt, inTls.remote], [1, `strict.mx.example[${strict.host}]:${strict.port}`]);
    assertEquals(strict.mails.map((mail) => [mail.to[0], mail.tls]), [["bob@strict.example", true]]);

    const deferred = await eventOf(d, id, "mail.deferred", "ann@late.example");
    assertEquals([deferred.attempt, deferred.response?.code, deferred.response?.enhanced], [1, 451, "4.3.0"]);
    const waiting = await smtpJob(d, id);
    const waitMs = Date.parse(waiting.due_at) - Date.parse(deferred.timestamp);
    assert(8_000 <= waitMs && waitMs <= 12_000, `again in ${waitMs} ms`);
    await whenDue(farm, id, () => tarpit.connections === 3, "the tarpit again");
    await clock.advance(GREETING_WAIT_MS);
    const delivered = await eventOf(d, id, "mail.delivered", "ann@late.example");
    assertEquals([delivered.attempt, delivered.remote], [2, `late.mx.example[${late.host}]:${late.port}`]);
    assertEquals(late.mails.map((mail) => [mail.to[0], mail.tls]), [["ann@late.example", false]]);

    const [first, second, ...more] = await transcripts(d, waiting);
    assertEquals([hostsIn(first!), hostsIn(second!), more], [
      ["dead", "tarpit", "late"],
      ["dead", "tarpit", "late"],
      [],
    ]);
    assertStringIncludes(first!, "connection refused");
    assertStringIncludes(first!, "no answer in time");
    for (const server of servers) assertEquals(server.faults, []);
    assertEquals(eventsOf(d, id).filter(({ event }) => event === "mail.bounced"), []);
  });
});

test("A mail that nobody takes is tried on its schedule for as long as it may, and then dropped as expired", async () => {
  const busy = await startFakeMx({
    on: (line) => line.startsWith("RCPT") ? "452 4.2.2 Mailbox full" : undefined,
  });
  const zone = mxZone("busy.example", [["mx.busy.example", 10, busy.host]]);
  const waitsMs = [10, 60, 300, 900, 1800, 3600, 7200].map((seconds) => seconds * 1000);
  await withFarm([busy], zone, async (farm) => {
    const { d, clock } = farm;
    const beganMs = clock.now();
    const { json: { id } } = await sendMail(d, { to: "ann@busy.example" });
    for (let attempt = 1;; attempt++) {
      await whenDue(farm, id, () => eventsOf(d, id).length > attempt, `attempt ${attempt} to be told of`);
      const told = eventsOf(d, id).find((event) => event.attempt === attempt)!;
      if (told.event !== "mail.deferred") break;
      const waitMs = Date.parse((await smtpJob(d, id)).due_at) - Date.parse(told.timestamp);
      const stepMs = waitsMs[attempt - 1] ?? waitsMs.at(-1)!;
      const leftMs = beganMs + LIMIT_MS - Date.parse(told.timestamp);
      assert(waitMs <= Math.min(1.2 * stepMs, leftMs + 1000), `attempt ${attempt}: ${waitMs} ms`);
      assert(waitMs >= Math.min(0.8 * stepMs, leftMs - 1000), `attempt ${attempt}: ${waitMs} ms`);
    }
    const dropped = await eventOf(d, id, "mail.dropped");
    assertEquals([dropped.reason, dropped.response?.code], ["expired", 452]);
    const tookMs = Date.parse(dropped.timestamp) - beganMs;
    assert(Math.abs(tookMs - LIMIT_MS) < 60_000, `dropped after ${tookMs} ms`);
    const { state, attempts } = await smtpJob(d, id);
    assertEquals([state, attempts], ["dead", busy.lines.filter((line) => line.startsWith("RCPT")).length]);
    assert(attempts >= 7, `${attempts} attempts`);
    assertEquals((await d.api("/v1/suppressions")).json.items, []);
  }, { outbound_max_age: "3h" });
});
