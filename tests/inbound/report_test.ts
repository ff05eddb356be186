/**
 * Reports through the flow in: tied to the message that we sent, told as an event or marked, stored in one call;
 * and everything that only looks like one. The store is a fake that keeps what it is given, the reports are read
 * for real.
 */

import { assert, assertEquals } from "@std/assert";
import { StoreError } from "../../src/base/errors.ts";
import { createLogger } from "../../src/base/log.ts";
import { createMetrics } from "../../src/base/metrics.ts";
import { WorkerError } from "../../src/base/worker_pool.ts";
import { configOf } from "../../src/config/schema.ts";
import { createInboundFlow } from "../../src/inbound/receive.ts";
import { createReports, type ReportDeps } from "../../src/inbound/report.ts";
import type { Submission } from "../../src/inbound/types.ts";
import { readReport } from "../../src/mail/report.ts";
import { verpAddress } from "../../src/mail/verp.ts";
import type { JobRecord, MessageRecord, NewMessage, ReportFacts } from "../../src/store/types.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { jobOf, messageOf } from "../support/memory_store.ts";
import { split } from "../support/signed_mail.ts";
import { test } from "../support/test.ts";

const KEY = "5e".repeat(32);
const ID = "01JD0000000000000000000001";
const VERP = verpAddress(KEY, { messageId: ID, index: 0 }, "us.test");
const FIXTURES = new URL("../fixtures/reports/", import.meta.url);

const OURS = messageOf({
  id: ID,
  direction: "outbound",
  outbound: { metadata: { order: 7 }, dkim: [] },
  mailFrom: "news@us.test",
  recipients: ["kim@there.example"],
});

interface World {
  stored: NewMessage[];
  submit: (mail: string, overrides?: Partial<Submission>) => Promise<string>;
  lines: () => Record<string, unknown>[];
  metric: (name: string) => Promise<number>;
}

function worldOf(ours: MessageRecord | null = OURS, overrides: Partial<ReportDeps> = {}): World {
  const stored: NewMessage[] = [];
  const clock = new FakeClock();
  const config = configOf({
    primary_domain: "us.test",
    webhook_url: "https://app.example/hook",
    routes: [{ match: "news@us.test", url: "https://news.example/hook" }],
  });
  let written = "";
  const log = createLogger({ level: "info", format: "json", clock, write: (text) => written += text });
  const metrics = createMetrics();
  const jobs: JobRecord[] = [jobOf({ carrier: "smtp", messageId: ID, attempts: 3 })];
  const store = {
    spool: () => {
      throw new Error("not here");
    },
    freeBytes: () => Promise.resolve(Number.MAX_SAFE_INTEGER),
    addMessage: (message: NewMessage) => Promise.resolve(void stored.push(message)),
    getMessage: (id: string) => Promise.resolve(ours?.id === id ? ours : null),
    listJobs: () => Promise.resolve({ items: jobs, nextCursor: null }),
  };
  const flow = createInboundFlow({
    config: () => config,
    hostname: () => "mx.us.test",
    store,
    domains: { accepts: () => null },
    authenticate: () =>
      Promise.resolve({
        authentication: messageOf().authentication,
        fromProblem: null,
        arcVouches: false,
      }),
    tieReport: createReports({ verpKey: () => KEY, readReport, store, config: () => config, ...overrides }),
    draining: () => false,
    clock,
    log,
    metrics,
  });
  return {
    stored,
    async submit(mail, more = {}) {
      const { header, body } = split(mail.replace(/\r?\n/g, "\r\n"));
      const receipt = await flow.receive({
        requestId: "req-1",
        protocol: "ESMTP",
        envelope: { mailFrom: "", recipients: [VERP], smtpUtf8: false },
        connection: messageOf().connection,
        spooled: {
          header,
          body: { kind: "memory", bytes: body },
          sizeBytes: header.length + body.length,
          utf8: true,
          discard: () => Promise.resolve(),
        },
        mayRefuse: true,
        ...more,
      });
      return receipt.kind === "accepted" ? "accepted" : `${receipt.refusal.code}`;
    },
    lines: () => {
      log.flush();
      return written.trim().split("\n").filter(Boolean).map((line) => JSON.parse(line));
    },
    metric: async (name) => {
      const line = (await metrics.registry.metrics()).split("\n").find((text) => text.startsWith(`${name} `));
      return Number(line?.split(" ").at(-1) ?? 0);
    },
  };
}

const fixture = (name: string) => Deno.readTextFile(new URL(`${name}.eml`, FIXTURES));
const to = (...recipients: string[]): Partial<Submission> => ({
  envelope: { mailFrom: "", recipients, smtpUtf8: false },
});

interface Ending {
  report: ReportFacts["kind"] | null;
  events: string[];
  suppressions: string[];
  webhooks: string[];
  silent: boolean | undefined;
}

/** What became of one fixture, in short. */
async function outcomeOf(
  name: string,
  more: Partial<Submission> = {},
  ours: MessageRecord | null = OURS,
): Promise<Ending> {
  const { submit, stored } = worldOf(ours);
  assertEquals(await submit(await fixture(name), more), "accepted");
  const { report, effects, jobs, silent } = stored[0]!;
  return {
    report: report?.kind ?? null,
    events: effects?.events.map((event) => event.type) ?? [],
    suppressions: effects?.suppressions.map(({ address, reason }) => `${address} ${reason}`) ?? [],
    webhooks: jobs.flatMap((job) => job.recipients),
    silent,
  };
}

const plain = (...webhooks: string[]): Ending => ({
  report: null,
  events: [],
  suppressions: [],
  webhooks,
  silent: false,
});
const marked = (report: Ending["report"], ...webhooks: string[]): Ending => ({
  ...plain(...webhooks),
  report,
});
const told = (report: Ending["report"], event: string, suppression?: string): Ending => ({
  report,
  events: [event],
  suppressions: suppression ? [`kim@there.example ${suppression}`] : [],
  webhooks: [],
  silent: true,
});

test("A bounce becomes mail.bounced of the message it is about, and a hard one suppresses, in one call", async () => {
  const { submit, stored, lines, metric } = worldOf();
  assertEquals(await submit(await fixture("postfix_unknown_user")), "accepted");
  const [message, ...more] = stored;
  assert(message && more.length === 0);
  assertEquals([message.direction, message.jobs, message.silent], ["inbound", [], true]);
  assertEquals(message.report, { kind: "bounce", messageId: ID, recipient: "kim@there.example" });
  const [event, ...others] = message.effects!.events;
  assert(event && others.length === 0);
  assertEquals([event.type, event.messageId, event.createdAt], ["mail.bounced", ID, message.receivedAt]);
  assertEquals(event.details, {
    recipient: "kim@there.example",
    attempt: 3,
    response: {
      code: 550,
      enhanced: "5.1.1",
      text: "<kim@there.example>: Recipient address rejected: User unknown in virtual mailbox table",
    },
    remote: "mx1.there.example",
    reason: null,
  });
  // The author's route, not the one of the address that the report came to.
  assertEquals(event.jobs.map((job) => [job.event, job.destination, job.recipients]), [
    ["mail.bounced", "https://news.example/hook", ["news@us.test"]],
  ]);
  assertEquals(message.effects!.suppressions, [{
    address: "kim@there.example",
    reason: "bounce",
    messageId: ID,
    detail:
      "550 5.1.1 <kim@there.example>: Recipient address rejected: User unknown in virtual mailbox table",
    createdAt: message.receivedAt,
  }]);
  const [line] = lines();
  assertEquals([line!.outcome, line!.report, line!.about], ["accepted", "bounce", ID]);
  assertEquals(await metric('gomail_emails_processed_total{status="success"}'), 1);
});

test("Every sender's bounce is told, and only those about the address itself suppress", async () => {
  const bounce = "mail.bounced";
  const cases: Record<string, Ending> = {
    amazon_ses: told("bounce", bounce, "bounce"),
    base64_status: told("bounce", bounce, "bounce"),
    cut_off: told("bounce", bounce),
    exchange_on_premises: told("bounce", bounce, "bounce"),
    exim: told("bounce", bounce, "bounce"),
    exim_plain: told("bounce", bounce, "bounce"),
    gmail: told("bounce", bounce, "bounce"),
    gmail_quota: told("bounce", bounce),
    gmx: told("bounce", bounce, "bounce"),
    icloud: told("bounce", bounce),
    japanese: told("bounce", bounce, "bounce"),
    office365: told("bounce", bounce, "bounce"),
    office365_policy: told("bounce", bounce),
    postfix_delayed: told("delay", "mail.deferred"),
    postfix_local_lookup_failed: told("bounce", bounce),
    postfix_no_enhanced_code: told("bounce", bounce, "bounce"),
    qmail: told("bounce", bounce, "bounce"),
    qmail_local: told("bounce", bounce, "bounce"),
    sendmail: told("bounce", bounce, "bounce"),
    sendmail_warning: told("delay", "mail.deferred"),
    // The block about our recipient counts: another one failed, ours is late.
    several_recipients: told("delay", "mail.deferred"),
    no_blank_lines: told("bounce", bounce, "bounce"),
    web_de_plain_status: told("bounce", bounce),
    // No block names our recipient, as after forwarding: it is still the one we sent to.
    xtext_recipient: told("bounce", bounce, "bounce"),
    yahoo: told("bounce", bounce),
  };
  for (const [name, expected] of Object.entries(cases)) {
    assertEquals([name, await outcomeOf(name)], [name, expected]);
  }
});

test("A report without an SMTP reply still says what is known", async () => {
  const responseOf = async (name: string) => {
    const { submit, stored } = worldOf();
    await submit(await fixture(name));
    const { response, remote } = stored[0]!.effects!.events[0]!.details;
    return [response?.code, response?.enhanced, response?.text.slice(0, 20), remote];
  };
  assertEquals(await responseOf("postfix_local_lookup_failed"), [
    550,
    "5.4.4",
    "Host or domain name ",
    "relay.us.test",
  ]);
  assertEquals(await responseOf("sendmail_warning"), [450, "4.4.1", "", "mx1.there.example"]);
  assertEquals(await responseOf("cut_off"), [undefined, undefined, undefined, "mail.there.example"]);
});

test("A recipient in UTF-8 is suppressed in lower case with its domain in A-labels", async () => {
  const ours = { ...OURS, recipients: ["J\u00fcrgen@b\u00fccher.example"] };
  const { suppressions } = await outcomeOf("global_utf8", {}, ours);
  assertEquals(suppressions, ["j\u00fcrgen@xn--bcher-kva.example bounce"]);
});

test("Complaints are tied by the signed sender that they quote, and suppress", async () => {
  const cases: Record<string, Ending> = {
    arf_yahoo: told("complaint", "mail.complained", "complaint"),
    arf_aol: told("complaint", "mail.complained", "complaint"),
    arf_outlook: told("complaint", "mail.complained", "complaint"),
    arf_comcast: told("complaint", "mail.complained", "complaint"),
    jmrp_forwarded_copy: told("complaint", "mail.complained", "complaint"),
    arf_not_spam: marked("feedback", "fbl@us.test"),
    arf_opt_out: marked("feedback", "fbl@us.test"),
    arf_auth_failure: marked("feedback", "fbl@us.test"),
    arf_redacted: plain("fbl@us.test"),
    arf_forged_signature: plain("fbl@us.test"),
  };
  for (const [name, expected] of Object.entries(cases)) {
    assertEquals([name, await outcomeOf(name, to("fbl@us.test"))], [name, expected]);
  }
  // It may come to the envelope sender as well, which then needs no quoting.
  assertEquals(
    await outcomeOf("arf_redacted", to(VERP)),
    told("complaint", "mail.complained", "complaint"),
  );
});

test("A complaint's event says what kind it is and who reports it", async () => {
  const { submit, stored } = worldOf();
  await submit(await fixture("arf_comcast"), to("fbl@us.test"));
  const { details } = stored[0]!.effects!.events[0]!;
  assertEquals([details.reason, details.response, details.remote], [
    "abuse",
    null,
    "resqmta-ch2-01v.sys.comcast.example",
  ]);
});

test("Auto-replies and reports of delivery are mail.received with a mark", async () => {
  for (const name of ["auto_exchange", "auto_gmail", "auto_sieve", "auto_old_vacation", "auto_japanese"]) {
    assertEquals([name, await outcomeOf(name)], [name, marked("auto_reply", VERP)]);
  }
  assertEquals(await outcomeOf("postfix_relayed"), marked("delivery", VERP));
});

test("People, unreadable reports, and reports to other addresses are mail like any other", async () => {
  for (
    const name of [
      "human_reply",
      "human_forwards_a_bounce",
      "empty_status",
      "no_status_at_all",
      "no_boundary",
    ]
  ) {
    assertEquals([name, await outcomeOf(name)], [name, plain(VERP)]);
  }
  for (const name of ["postfix_unknown_user", "auto_gmail"]) {
    assertEquals([name, await outcomeOf(name, to("news@us.test"))], [name, plain("news@us.test")]);
  }
});

test("A forged signature, a message that is gone, inbound or shorter: nobody is suppressed", async () => {
  const forged = VERP.replace(/[0-9a-f]@/, (end) => (end[0] === "0" ? "1@" : "0@"));
  assertEquals(await outcomeOf("gmail", to(forged)), plain(forged));
  assertEquals(await outcomeOf("gmail", {}, null), plain(VERP));
  assertEquals(await outcomeOf("gmail", {}, { ...OURS, direction: "inbound" }), plain(VERP));
  const second = verpAddress(KEY, { messageId: ID, index: 1 }, "us.test");
  assertEquals(await outcomeOf("gmail", to(second)), plain(second));
});

test("A report's other recipients get it as a mail", async () => {
  assertEquals(await outcomeOf("gmail", to("boss@us.test", VERP)), {
    ...told("bounce", "mail.bounced", "bounce"),
    webhooks: ["boss@us.test"],
    silent: false,
  });
});

test("A reader that dies of a report costs it nothing but its meaning", async () => {
  const dead = () => Promise.reject(new WorkerError("Cannot finish task: it did not respond"));
  const { submit, stored, lines } = worldOf(OURS, { readReport: dead });
  assertEquals(await submit(await fixture("gmail")), "accepted");
  const { report, effects, jobs, silent } = stored[0]!;
  assertEquals([report, effects, jobs.length, silent], [null, undefined, 1, false]);
  const [line] = lines();
  assertEquals([line!.level, line!.report, line!.report_error], [
    "info",
    undefined,
    "Cannot finish task: it did not respond",
  ]);
});

test("A store that can't be asked refuses the report for now", async () => {
  const broken = () => Promise.reject(new StoreError("Cannot read: broken", false));
  const store = { getMessage: broken, listJobs: broken };
  const { submit, stored } = worldOf(OURS, { store });
  assertEquals([await submit(await fixture("gmail")), stored.length], ["451", 0]);
});

test("Mail that can't be a report is not read for one", async () => {
  let read = 0;
  const { submit } = worldOf(OURS, { readReport: () => Promise.resolve((read++, null)) });
  await submit(await fixture("gmail"), to("news@us.test"));
  assertEquals(read, 0);
  await submit(await fixture("gmail"));
  await submit(await fixture("arf_yahoo"), to("fbl@us.test"));
  assertEquals(read, 2);
});
