/** The flow in from submission to receipt: the real store, resolver and verification; only what must fail is faked. */

import { assert, assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import { systemClock } from "../../src/base/clock.ts";
import { StoreError } from "../../src/base/errors.ts";
import { createLogger, silentLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { createResolver } from "../../src/base/resolver.ts";
import { WorkerError } from "../../src/base/worker_pool.ts";
import { startZoneServer, type ZoneServer } from "../../src/cli/demo/zone_server.ts";
import { type Config, configOf } from "../../src/config/schema.ts";
import { authenticate } from "../../src/inbound/authenticate.ts";
import { DomainTable } from "../../src/inbound/domains.ts";
import { createInboundFlow, type InboundDeps } from "../../src/inbound/receive.ts";
import { replay } from "../../src/inbound/replay.ts";
import type { InboundFlow, Submission } from "../../src/inbound/types.ts";
import { openStore, type Vault } from "../../src/store/mod.ts";
import { StorageRoom } from "../../src/store/storage_room.ts";
import { FakeClock, settle } from "../support/fake_clock.ts";
import { mailText, makeKey, senderZone, signed } from "../support/signed_mail.ts";
import { test, withTempDir } from "../support/test.ts";

const key = makeKey("good.test");
const MAIL = mailText({
  From: "Ä <a@good.test>",
  To: "b@us.test",
  Subject: "=?utf-8?Q?Gr=C3=BC=C3=9Fe?=",
  "Message-ID": "<1@good.test>",
  "Authentication-Results": "mx.us.test; dmarc=pass",
});

interface World {
  flow: InboundFlow;
  store: Vault;
  zone: ZoneServer;
  config: Config;
  deps: InboundDeps;
  lines: () => Record<string, unknown>[];
  metric: (name: string) => Promise<number>;
  submit: (mail: string, overrides?: Partial<Submission>) => ReturnType<InboundFlow["receive"]>;
}

async function withWorld(
  fn: (world: World) => Promise<void>,
  overrides: Partial<InboundDeps> = {},
): Promise<void> {
  await withTempDir(async (dir) => {
    const zone = await startZoneServer({ records: senderZone(key, "192.0.2.1", "v=DMARC1; p=reject") });
    const resolver = createResolver({
      servers: [zone.address],
      timeoutMs: 10_000,
      clock: systemClock,
      hosts: "",
    });
    const store = await openStore({ dataDir: dir, clock: systemClock, log: silentLogger, inThread: true });
    const config = configOf({
      primary_domain: "us.test",
      webhook_url: "https://app.example/hook",
      disk_reserve: 0,
    });
    const domains = new DomainTable({ store, config: () => config, clock: systemClock });
    await domains.load();
    let written = "";
    const log = createLogger({
      level: "debug",
      format: "json",
      clock: systemClock,
      write: (text) => written += text,
    });
    const metrics = createMetrics();
    const deps: InboundDeps = {
      config: () => config,
      hostname: () => "mx.us.test",
      store,
      domains,
      authenticate: (input) => authenticate(input, { resolver, clock: systemClock }),
      draining: () => false,
      clock: systemClock,
      log,
      metrics,
      ...overrides,
    };
    const flow = createInboundFlow(deps);
    const submit = async (mail: string, more: Partial<Submission> = {}) => {
      const writer = store.spool();
      await writer.write(new TextEncoder().encode(mail));
      return await flow.receive({
        requestId: "req-1",
        protocol: "ESMTP",
        envelope: { mailFrom: "a@good.test", recipients: ["b@us.test"], smtpUtf8: false },
        connection: {
          client_address: "192.0.2.1",
          client_hostname: null,
          client_helo: "mx.good.test",
          tls: null,
        },
        spooled: await writer.finish(),
        mayRefuse: true,
        ...more,
      });
    };
    const lines = () => {
      log.flush();
      return written.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line));
    };
    const metric = async (name: string) => {
      const line = (await metrics.registry.metrics()).split("\n").find((text) => text.startsWith(`${name} `));
      return Number(line?.split(" ").at(-1) ?? 0);
    };
    try {
      await fn({ flow, store, zone, config, deps, lines, metric, submit });
    } finally {
      resolver.close();
      await store.close();
      await zone.close();
    }
  });
}

const FORGED: Partial<Submission> = {
  connection: { client_address: "203.0.113.9", client_hostname: null, client_helo: "evil.test", tls: null },
};

async function stored(store: Vault, id: string): Promise<string> {
  const raw = await store.readRaw(id);
  assert(raw && raw.body.kind === "memory");
  return new TextDecoder().decode(raw.head) + new TextDecoder().decode(raw.body.bytes);
}

test("receive() stores a good mail byte for byte under our trace fields, with its job, before it says so", async () => {
  await withWorld(async ({ store, submit, lines, metric }) => {
    const mail = await signed(MAIL, key);
    const receipt = await submit(mail);
    assert(receipt.kind === "accepted");
    assertEquals(receipt.verdict, "accept");
    const record = (await store.getMessage(receipt.messageId))!;
    assertEquals([record.subject, record.messageIdHeader, record.fromHeader], [
      "Grüße",
      "<1@good.test>",
      "Ä <a@good.test>",
    ]);
    assertEquals(record.authentication.dmarc.result, "pass");
    assertEquals(record.receivedAt, receipt.receivedAt);
    const raw = await stored(store, receipt.messageId);
    assertMatch(
      raw,
      /^Authentication-Results: mx\.us\.test;\r\n spf=pass [^]*?\r\nReceived: from mx\.good\.test \(\[192\.0\.2\.1\]\)\r\n/,
    );
    assert(raw.endsWith(mail.replace("Authentication-Results: mx.us.test; dmarc=pass\r\n", "")));
    const jobs = (await store.listJobs({}, { limit: 10 })).items;
    assertEquals(jobs.map((job) => [job.messageId, job.lane, job.destination]), [[
      receipt.messageId,
      "*",
      "https://app.example/hook",
    ]]);
    const [line, ...more] = lines();
    assertEquals(more, []);
    assertEquals([line!.request_id, line!.outcome, line!.dmarc, line!.verdict], [
      "req-1",
      "accepted",
      "pass",
      "accept",
    ]);
    assertNotMatch(JSON.stringify(line), /Grüße|Hello/);
    assertEquals(await metric('gomail_emails_processed_total{status="success"}'), 1);
    assertEquals([
      await metric("gomail_spf_pass_total"),
      await metric("gomail_dkim_pass_total"),
      await metric("gomail_dmarc_pass_total"),
    ], [1, 1, 1]);
  });
});

test("A forged mail is marked under relaxed enforcement and refused under strict, with nothing stored", async () => {
  await withWorld(async ({ store, config, submit, metric, lines }) => {
    const marked = await submit(MAIL, FORGED);
    assert(marked.kind === "accepted");
    assertEquals(marked.verdict, "quarantine");
    assertEquals(await metric('gomail_emails_quarantined_total{reason="dmarc_fail"}'), 1);
    config.dmarc_enforcement = "strict";
    const refused = await submit(MAIL, FORGED);
    assert(refused.kind === "refused");
    assertEquals([refused.refusal.code, refused.refusal.enhanced, refused.refusal.reason], [
      550,
      "5.7.1",
      "dmarc_fail",
    ]);
    const lmtp = await submit(MAIL, { ...FORGED, protocol: "LMTP", mayRefuse: false });
    assert(lmtp.kind === "accepted" && lmtp.verdict === "quarantine");
    assertEquals((await store.listMessages({}, { limit: 10 })).items.length, 2);
    assertEquals(await metric('gomail_emails_rejected_total{reason="dmarc_fail"}'), 1);
    assertEquals(lines().map((line) => line.reason), [
      "dmarc_fail,spf_fail",
      "dmarc_fail",
      "dmarc_fail,spf_fail",
    ]);
  });
});

test("A bounce with the null sender is judged by its HELO name, and no harder than other mail", async () => {
  await withWorld(async ({ config, submit }) => {
    Object.assign(config, { dmarc_enforcement: "strict", spf_enforcement: "strict" });
    const envelope = { mailFrom: "", recipients: ["b@us.test"], smtpUtf8: false };
    const bounce = (from: string) =>
      mailText({ From: from, "Content-Type": "multipart/report; report-type=delivery-status; boundary=b" });
    const helo = (client_helo: string): Partial<Submission> => ({
      envelope,
      connection: { client_address: "192.0.2.1", client_hostname: null, client_helo, tls: null },
    });
    const genuine = await submit(bounce("MAILER-DAEMON@good.test"), helo("good.test"));
    assert(genuine.kind === "accepted");
    assertEquals(genuine.verdict, "accept");
    const stranger = await submit(bounce("MAILER-DAEMON@no-policy.test"), helo("mx.no-policy.test"));
    assert(stranger.kind === "accepted");
    assertEquals(stranger.verdict, "accept");
    const forged = await submit(bounce("MAILER-DAEMON@good.test"), helo("mx.no-policy.test"));
    assert(forged.kind === "refused");
    assertEquals(forged.refusal.reason, "dmarc_fail");
  });
});

test("Dead DNS is recorded and the mail accepted, or 451 where a verdict is needed; then service returns", async () => {
  await withWorld(async ({ zone, config, submit, metric }) => {
    const mail = await signed(MAIL, key);
    zone.behave("*", { rcode: "SERVFAIL" });
    const taken = await submit(mail);
    assert(taken.kind === "accepted");
    assertEquals(taken.verdict, "accept");
    config.dmarc_enforcement = "strict";
    const refused = await submit(mail);
    assert(refused.kind === "refused");
    assertEquals([refused.refusal.code, refused.refusal.enhanced], [451, "4.7.0"]);
    assertEquals(await metric("gomail_spf_temperror_total"), 2);
    zone.behave("*", undefined);
    // A failure is remembered for a second.
    await new Promise((resolve) => setTimeout(resolve, 1100));
    assertEquals((await submit(mail)).kind, "accepted");
  });
});

test("A looping mail is refused, 99 Received fields are fine", async () => {
  await withWorld(async ({ submit }) => {
    const hops = (count: number) => "Received: from a by b; now\r\n".repeat(count) + MAIL;
    const refused = await submit(hops(100));
    assert(refused.kind === "refused");
    assertEquals([refused.refusal.code, refused.refusal.enhanced], [554, "5.4.6"]);
    assertEquals((await submit(hops(99))).kind, "accepted");
  });
});

test("A store that fails is 451, one that is full 452, and what was spooled is discarded", async () => {
  await withWorld(async ({ deps, submit, store, metric, lines }) => {
    const failing = (full: boolean) =>
      createInboundFlow({
        ...deps,
        store: {
          spool: () => store.spool(),
          freeBytes: () => store.freeBytes(),
          addMessage: () => Promise.reject(new StoreError("Cannot store: broken", full)),
        },
      });
    for (const [full, code] of [[false, 451], [true, 452]] as const) {
      let discarded = 0;
      const writer = store.spool();
      await writer.write(new TextEncoder().encode(MAIL));
      const inner = await writer.finish();
      const spooled = {
        ...inner,
        header: inner.header,
        body: inner.body,
        discard: () => Promise.resolve(void discarded++),
      };
      const receipt = await failing(full).receive({
        requestId: "r",
        protocol: "ESMTP",
        envelope: { mailFrom: "", recipients: ["b@us.test"], smtpUtf8: false },
        connection: { client_address: null, client_hostname: null, client_helo: null, tls: null },
        spooled,
        mayRefuse: true,
      });
      await inner.discard();
      assert(receipt.kind === "refused");
      assertEquals([receipt.refusal.code, discarded], [code, 1]);
    }
    assertEquals(await metric('gomail_emails_processed_total{status="error"}'), 2);
    assertEquals(
      lines().map((line) => [line.level, line.error]),
      Array(2).fill(["error", "Cannot store: broken"]),
    );
    assertEquals((await submit(MAIL)).kind, "accepted");
  });
});

test("A verification that dies costs its mail a 451, also when its spool can't be removed", async () => {
  const authenticateDead = () => Promise.reject(new WorkerError("Cannot finish task: it did not respond"));
  await withWorld(async ({ submit, lines, store }) => {
    const receipt = await submit(MAIL);
    assert(receipt.kind === "refused");
    assertEquals([receipt.refusal.code, receipt.refusal.reason], [451, "internal"]);
    const broken = {
      header: new TextEncoder().encode(MAIL),
      body: { kind: "memory" as const, bytes: new Uint8Array() },
      sizeBytes: 1,
      utf8: true,
      discard: () => Promise.reject(new Error("gone")),
    };
    assertEquals((await submit(MAIL, { spooled: broken })).kind, "refused");
    assertEquals(lines().map((line) => line.msg), ["Mail", "Spool file not removed", "Mail"]);
    assertEquals((await store.listMessages({}, { limit: 1 })).items, []);
  }, { authenticate: authenticateDead });
});

test("While draining mail is turned away with 421", async () => {
  await withWorld(async ({ submit }) => {
    const receipt = await submit(MAIL);
    assert(receipt.kind === "refused");
    assertEquals(receipt.refusal.code, 421);
  }, { draining: () => true });
});

test("Below the disk reserve mail is turned away with 452 at MAIL and after the data", async () => {
  await withWorld(async ({ flow, config, submit }) => {
    config.disk_reserve = Number.MAX_SAFE_INTEGER;
    const receipt = await submit(MAIL);
    assert(receipt.kind === "refused");
    assertEquals(receipt.refusal.code, 452);
    assertEquals(flow.checkStorage(0)!.code, 452);
    config.disk_reserve = 0;
    assertEquals(flow.checkStorage(1000), null);
    assertEquals(flow.checkStorage(Number.MAX_SAFE_INTEGER)!.code, 452);
  });
});

test("The flow checks recipients and hands out spools", async () => {
  await withWorld(async ({ flow }) => {
    assertEquals(flow.checkRecipient("b@us.test"), null);
    assertEquals(flow.checkRecipient("b@other.test")!.reason, "relay_denied");
    await flow.spool().abort();
  });
});

test("Recipients of several routes get a job each", async () => {
  await withWorld(async ({ config, store, submit }) => {
    config.routes = [{ match: "c@us.test", url: "https://c.example/", on_reject: "drop" }];
    const envelope = { mailFrom: "", recipients: ["b@us.test", "c@us.test"], smtpUtf8: false };
    assertEquals((await submit(MAIL, { envelope })).kind, "accepted");
    const jobs = (await store.listJobs({}, { limit: 10 })).items;
    assertEquals(jobs.map((job) => [job.lane, job.recipients]).sort(), [["*", ["b@us.test"]], ["c@us.test", [
      "c@us.test",
    ]]]);
  });
});

test("replay() makes a stored mail's jobs due again under their old ids", async () => {
  await withWorld(async ({ store, config, submit }) => {
    const receipt = await submit(MAIL);
    assert(receipt.kind === "accepted");
    const [before] = (await store.listJobs({}, { limit: 10 })).items;
    await store.settle(before!.id, { kind: "dead", at: 1, code: 410, error: "gone" });
    const deps = { store, config: () => config, clock: systemClock };
    assertEquals(await replay(deps, receipt.messageId), 1);
    const [after, ...more] = (await store.listJobs({}, { limit: 10 })).items;
    assertEquals([after!.id, after!.state, after!.attempts, more.length], [before!.id, "pending", 0, 0]);
    assertEquals(await replay(deps, "01JD0000000000000000000000"), null);
    config.webhook_url = undefined;
    assertEquals(await replay(deps, receipt.messageId), 0);
  });
});

test("The file system is asked once a second at most, and not knowing refuses nothing", async () => {
  const clock = new FakeClock();
  let asked = 0;
  let answer: () => Promise<number> = () => Promise.resolve(100);
  const room = new StorageRoom({ freeBytes: () => (asked++, answer()) }, () => 50, clock);
  assertEquals(room.check(0), null);
  await settle();
  assertEquals([room.check(50), room.check(51)?.code, asked], [null, 452, 1]);
  await clock.advance(1000);
  answer = () => Promise.resolve(10);
  assertEquals([(await room.checkFresh(0))?.code, asked], [452, 2]);
  await clock.advance(1000);
  answer = () => Promise.reject(new Error("no disk"));
  assertEquals([await room.checkFresh(0), asked], [null, 3]);
});

test("Log lines hold a hostile envelope in one line", async () => {
  await withWorld(async ({ submit, lines }) => {
    const envelope = {
      mailFrom: '"a\r\nb"@x',
      recipients: Array.from({ length: 50 }, (_, i) => `r${i}@us.test`),
      smtpUtf8: false,
    };
    await submit(MAIL, { envelope });
    const [line] = lines();
    assertEquals([(line!.recipients as string[]).length, line!.recipient_count], [10, 50]);
    assertStringIncludes(line!.mail_from as string, "\r\n");
  });
});
