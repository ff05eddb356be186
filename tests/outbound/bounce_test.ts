/** Who gets a bounce, who gets none and why, and what is committed for it. */

import { assert, assertEquals, assertMatch, assertRejects } from "@std/assert";
import { StoreError } from "../../src/base/errors.ts";
import { createLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { configOf } from "../../src/config/schema.ts";
import { readSource } from "../../src/mail/source.ts";
import type { MessageBytes } from "../../src/mail/types.ts";
import { type BounceConfig, createBounces } from "../../src/outbound/bounce.ts";
import { KeyCache, signMessage } from "../../src/outbound/sign.ts";
import type { SigningKey } from "../../src/outbound/task_types.ts";
import type { ClaimedJob, MessageRecord, SuppressionRecord } from "../../src/store/types.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { jobOf, messageOf } from "../support/memory_store.ts";
import { test } from "../support/test.ts";
import { dkimResults, KEYS } from "./support.ts";

const HOUR_MS = 3_600_000;
const DAY_MS = 24 * HOUR_MS;
const FIELDS = {
  From: "alice@sender.example",
  To: "bob@ours.test",
  Subject: "Hello",
  "Message-ID": "<1@sender.example>",
};
const NO_BODY: MessageBytes = { kind: "memory", bytes: new Uint8Array(0) };

function refusedJob(
  fields: Record<string, string> = {},
  message: Partial<MessageRecord> = {},
  job: Partial<ClaimedJob> = {},
): ClaimedJob {
  const lines = Object.entries({ ...FIELDS, ...fields }).map(([name, value]) => `${name}: ${value}\r\n`);
  const head = new TextEncoder().encode(`${lines.join("")}\r\n`);
  const recipients = ["bob@ours.test"];
  return jobOf({
    lane: "*@ours.test",
    recipients,
    message: messageOf({ recipients, ...message }),
    raw: { head, body: NO_BODY },
    ...job,
  });
}

function world(values: Partial<BounceConfig> = {}, keys: SigningKey[] = []) {
  const clock = new FakeClock();
  const metrics = createMetrics();
  const lines: Record<string, unknown>[] = [];
  const suppressed: SuppressionRecord[] = [];
  const failing = { store: false, keys: false };
  const config: BounceConfig = {
    ...configOf(),
    routes: [{ match: "*@ours.test", url: "https://app.example/", on_reject: "bounce" }],
    ...values,
  };
  const cache = new KeyCache();
  const log = createLogger({
    level: "info",
    format: "json",
    clock,
    write: (text) => void lines.push(...text.split("\n").filter(Boolean).map((line) => JSON.parse(line))),
  });
  const bounce = createBounces({
    config: () => config,
    hostname: () => "mx.ours.test",
    ownsDomain: (domain) => domain === "ours.test",
    store: {
      findSuppressed: () =>
        failing.store
          ? Promise.reject(new StoreError("Cannot read: I/O", false))
          : Promise.resolve(suppressed),
    },
    sign: (input) => signMessage(input, cache),
    signingKeys: () => failing.keys ? Promise.reject(new Error("no key")) : Promise.resolve(keys),
    clock,
    log,
    metrics,
  });
  /** What became of it, by the log line and the counter; null when there is neither. */
  const outcomeOf = async (job: ClaimedJob): Promise<string | null> => {
    lines.length = 0;
    const made = await bounce(job);
    log.flush();
    if (lines.length === 0) return null;
    const [line] = lines;
    assertEquals([line?.["msg"], made === null], ["Bounce", line?.["outcome"] !== "made"]);
    const counted = (await metrics.bounces.get()).values.find(({ labels }) =>
      labels.outcome === line?.["outcome"]
    );
    assert((counted?.value ?? 0) > 0);
    return String(line?.["outcome"]);
  };
  return { bounce, outcomeOf, clock, suppressed, failing };
}

const spf = (result: "pass" | "fail" | "none") => ({ ...messageOf().authentication.spf, result });
const dmarc = (result: "pass" | "fail") => ({ ...messageOf().authentication.dmarc, result });
/** Nobody vouches for MAIL FROM but DMARC. */
const signedOnly = (mailFrom: string): Partial<MessageRecord> => ({
  mailFrom,
  authentication: { ...messageOf().authentication, spf: spf("none"), dmarc: dmarc("pass") },
});

test("A bounce is a whole signed message of ours from nobody, with one job and no event", async () => {
  const { bounce, clock } = world({}, KEYS);
  const job = refusedJob({}, { requestId: "req-7" }, { recipients: ["bob@ours.test", "eve@ours.test"] });
  const made = await bounce(job);
  assert(made);
  const { id, head, spooled } = made;
  assertEquals([made.direction, made.mailFrom, made.recipients, made.requestId], [
    "outbound",
    "",
    ["alice@sender.example"],
    "req-7",
  ]);
  assertEquals(made.effects, undefined);
  assertEquals(made.jobs, [{
    id: `out_${id}_0`,
    carrier: "smtp",
    lane: "sender.example",
    event: "mail.bounce",
    destination: "alice@sender.example",
    recipients: ["alice@sender.example"],
    dueAt: clock.now(),
    expiresAt: clock.now() + 5 * DAY_MS,
  }]);
  const bytes = await readSource({ head, body: spooled.body });
  assertEquals(await dkimResults(bytes), ["pass", "pass"]);
  const text = new TextDecoder().decode(bytes);
  assertMatch(text, /\r\nFrom: Mail Delivery System <MAILER-DAEMON@ours\.test>\r\n/);
  assertMatch(text, /\r\nFinal-Recipient: rfc822; bob@ours\.test\r\n[^]*rfc822; eve@ours\.test\r\n/);
  assertEquals(made.outbound?.dkim.length, 2);
  await spooled.discard();
});

test("Only a mail.received whose route says bounce is one", async () => {
  const { outcomeOf } = world();
  assertEquals(await outcomeOf(refusedJob()), "made");
  assertEquals(await outcomeOf(refusedJob({}, {}, { lane: "*" })), null);
  assertEquals(await outcomeOf(refusedJob({}, {}, { event: "mail.bounced" })), null);
  const dropping = world({
    routes: [{ match: "*@ours.test", url: "https://app.example/", on_reject: "drop" }],
  });
  assertEquals(await dropping.outcomeOf(refusedJob()), null);
});

test("Nobody is told twice, and nothing that a program sent is answered", async () => {
  const { outcomeOf } = world();
  assertEquals(await outcomeOf(refusedJob({}, {}, { bounceId: "01J00000000000000000000009" })), "repeated");
  assertEquals(await outcomeOf(refusedJob({}, { mailFrom: "" })), "null_sender");
  for (const value of ["auto-generated", "Auto-Replied; x=y", "(no) auto-notified"]) {
    assertEquals(await outcomeOf(refusedJob({ "Auto-Submitted": value })), "automatic", value);
  }
  assertEquals(await outcomeOf(refusedJob({ "Auto-Submitted": "no" })), "made");
  const report = "multipart/report; report-type=disposition-notification; boundary=x";
  assertEquals(await outcomeOf(refusedJob({ "Content-Type": report })), "automatic");
  const facts = { kind: "auto_reply" as const, messageId: "01J00000000000000000000009", recipient: "a@b.c" };
  assertEquals(await outcomeOf(refusedJob({}, { report: facts })), "automatic");
  // The list's owner is its envelope sender, who wants to know.
  assertEquals(await outcomeOf(refusedJob({ "List-Id": "<l.example>", Precedence: "list" })), "made");
});

test("A sender is proven by SPF, or by DMARC where it is the author itself", async () => {
  const { outcomeOf } = world();
  const unproven = (result: "fail" | "none") =>
    refusedJob({}, {
      authentication: { ...messageOf().authentication, spf: spf(result), dmarc: dmarc("fail") },
    });
  assertEquals(await outcomeOf(unproven("fail")), "unproven_sender");
  assertEquals(await outcomeOf(unproven("none")), "unproven_sender");
  const made = ["alice@sender.example", "Alice (x) <ALICE@Sender.example>", '"A, B" <alice@sender.example>'];
  for (const From of made) {
    assertEquals(await outcomeOf(refusedJob({ From }, signedOnly("alice@sender.example"))), "made", From);
  }
  // Somebody else's MAIL FROM around a signed mail.
  const others = [
    "mallory@sender.example",
    "alice@sender.example, m@sender.example",
    "alice@sub.sender.example",
    "",
    '"alice@sender.example" <m@sender.example>',
  ];
  for (const From of others) {
    const job = refusedJob({ From }, signedOnly("alice@sender.example"));
    assertEquals(await outcomeOf(job), "unproven_sender", From);
  }
  for (const mailFrom of ["no address", '"a>b"@sender.example', "a@b\r\nBcc: c@d.example"]) {
    assertEquals(await outcomeOf(refusedJob({}, { mailFrom })), "unfit_sender", mailFrom);
  }
});

test("A sender in UTF-8 is written to as it is, and so needs SMTPUTF8", async () => {
  const made = await world().bounce(refusedJob({}, { mailFrom: "j\u00f6rg@sender.example" }));
  assert(made);
  assertEquals([made.recipients, made.toHeader], [
    ["j\u00f6rg@sender.example"],
    "<j\u00f6rg@sender.example>",
  ]);
});

test("A suppressed address is left alone", async () => {
  const { outcomeOf, suppressed } = world();
  const address = "alice@sender.example";
  suppressed.push({ address, reason: "manual", messageId: null, detail: null, createdAt: 0 });
  assertEquals(await outcomeOf(refusedJob()), "suppressed");
});

test("Five bounces an hour go to one address, however it is written, and others are none the worse", async () => {
  const { outcomeOf, bounce, clock } = world();
  const to = (mailFrom: string) => refusedJob({}, { mailFrom });
  // At once, as the engine would.
  const made = await Promise.all(Array.from({ length: 8 }, () => bounce(to("alice@sender.example"))));
  assertEquals(made.filter((bounced) => bounced !== null).length, 5);
  assertEquals(await outcomeOf(to("ALICE@sender.example")), "too_many");
  assertEquals(await outcomeOf(to("eve@sender.example")), "made");
  await clock.advance(HOUR_MS + 1);
  assertEquals(await outcomeOf(to("alice@sender.example")), "made");
});

test("What fails is thrown, counts for nothing, and works when the cause is gone", async () => {
  const { outcomeOf, bounce, failing } = world();
  failing.store = true;
  await assertRejects(() => bounce(refusedJob()), StoreError);
  Object.assign(failing, { store: false, keys: true });
  for (let i = 0; i < 6; i++) await assertRejects(() => bounce(refusedJob()), Error, "no key");
  failing.keys = false;
  assertEquals(await outcomeOf(refusedJob()), "made");
});

test("It comes from a domain of ours, whatever became of the recipient's", async () => {
  const fromOf = async (values: Partial<BounceConfig>, recipients: string[]) => {
    const made = await world(values).bounce(refusedJob({}, {}, { recipients }));
    return made?.fromHeader?.replace(/.*@/, "");
  };
  assertEquals(await fromOf({}, ["x@gone.test", "bob@ours.test"]), "ours.test>");
  assertEquals(await fromOf({ primary_domain: "first.test" }, ["x@gone.test"]), "first.test>");
  assertEquals(await fromOf({}, ["x@gone.test"]), "mx.ours.test>");
});
