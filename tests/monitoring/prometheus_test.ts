/**
 * A real Prometheus looks at a real daemon to which everything happens that the dashboard is about: then each panel
 * has something to show, and each rule can be evaluated.
 */

import { assert, assertEquals } from "@std/assert";
import { leaveStopDuration } from "../../src/daemon/last_stop.ts";
import { plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { MailSink } from "../support/mail_sink.ts";
import { hasProgram } from "../support/program.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { eventOf, sendMail, switchOnSigning } from "../support/sending.ts";
import { testIf } from "../support/test.ts";
import { until } from "../support/until.ts";
import { Prometheus } from "./prometheus.ts";
import { dashboardTargets, rulesOf } from "./support.ts";

const ZONE = {
  "strict.example": { TXT: ["v=spf1 -all"] },
  "_dmarc.strict.example": { TXT: ["v=DMARC1; p=reject"] },
};
const PER_IP = 3;
/** Counters that something below makes go up: a panel that shows 0 might as well show nothing. */
const MUST_RISE = [
  'gomail_emails_processed_total{status="success"}',
  'gomail_emails_processed_total{status="rejected"}',
  'gomail_emails_processed_total{status="error"}',
  'gomail_emails_rejected_total{reason="relay_denied"}',
  'gomail_emails_rejected_total{reason="unknown_recipient"}',
  "gomail_spf_pass_total",
  "gomail_spf_fail_total",
  "gomail_dkim_none_total",
  "gomail_dmarc_fail_total",
  "gomail_dkim_signed_total",
  "gomail_connections_accepted_total",
  'gomail_connections_rejected_total{reason="per_ip"}',
  'gomail_tls_connections_total{version="TLSv1.3"}',
  "gomail_plaintext_connections_total",
  'gomail_storage_operations_total{operation="write",status="success"}',
  'gomail_delivery_attempts_total{carrier="webhook",outcome="delivered"}',
  'gomail_delivery_attempts_total{carrier="webhook",outcome="deferred"}',
  'gomail_delivery_attempts_total{carrier="smtp",outcome="delivered"}',
  'gomail_delivery_attempts_total{carrier="smtp",outcome="dead"}',
  'gomail_errors_total{type="unauthorized"}',
  'gomail_errors_total{type="not_found"}',
  "gomail_rate_limit_hits_total",
  'gomail_http_requests_total{status="202"}',
];

async function mailIn(d: TestDaemon): Promise<void> {
  await d.sendAndHear();
  await d.send(plainMail({ From: "x@strict.example" }), { from: "x@strict.example" }, /^550 5\.7\.\d+ /);
  const secure = await d.smtp();
  await secure.startTls();
  await secure.command("EHLO client.example", /^250/);
  await secure.command("MAIL FROM:<alice@sender.example>", /^250 /);
  await secure.command("RCPT TO:<bob@elsewhere.example>", /^550 5\.7\.1 /);
  await secure.command("RCPT TO:<nobody@only.example>", /^550 5\.1\.1 /);
  await secure.command("QUIT", /^221 /);
  await secure.close();
}

/** More connections from one address than it may have. */
async function crowd(d: TestDaemon): Promise<void> {
  const open: SmtpConversation[] = [];
  for (let i = 0; i < PER_IP; i++) {
    const c = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!, "127.0.0.2");
    await c.expect(/^220 /);
    open.push(c);
  }
  const refused = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!, "127.0.0.2");
  await refused.expect(/^421 /);
  for (const c of [...open, refused]) await c.close();
}

async function mailOut(d: TestDaemon): Promise<void> {
  const { json: { id } } = await sendMail(d, { to: "ann@customer.example" });
  await eventOf(d, id, "mail.delivered");
  // Another one each time: who is gone is not written to again.
  const { json: { id: lost } } = await sendMail(d, { to: `gone-${crypto.randomUUID()}@customer.example` });
  await eventOf(d, lost, "mail.bounced");
}

async function requests(d: TestDaemon): Promise<void> {
  await d.api("/v1/messages/none");
  await d.api("/v1/messages");
  const asked = Array.from(
    { length: 4 },
    () =>
      d.fetch("/v1/messages", { headers: { "x-forwarded-for": "192.0.2.1", authorization: "Bearer wrong" } }),
  );
  assertEquals((await Promise.all(asked)).some(({ status }) => status === 429), true);
}

/** A disk that is full: the API says 503, and the sender is to come again. */
async function fullDisk(d: TestDaemon): Promise<void> {
  await d.reload({ disk_reserve: "1000000GB" });
  assertEquals((await d.post()).status, 503);
  await d.reload({});
}

/** Everything once. */
async function happen(d: TestDaemon): Promise<void> {
  let refused = false;
  d.receiver.answerWith(() => {
    if (refused) return { status: 200 };
    refused = true;
    return { status: 503, headers: { "retry-after": "1" } };
  });
  await mailIn(d);
  await crowd(d);
  await mailOut(d);
  await requests(d);
  await fullDisk(d);
}

/** As Grafana fills in its variables. */
const filled = (expr: string) => expr.replaceAll("$instance", ".*").replaceAll("$__rate_interval", "1m");

async function withPrometheus(fn: (d: TestDaemon, prometheus: Prometheus) => Promise<void>): Promise<void> {
  const sink = await MailSink.start({
    script: { recipient: (address) => address.startsWith("gone-") ? "550 5.1.1 No such user" : null },
  });
  const values = {
    spf_enforcement: "strict" as const,
    dmarc_enforcement: "strict" as const,
    outbound_smarthost: `127.0.0.1:${sink.port}`,
    max_connections_per_ip: PER_IP,
    throttle_connections_per_minute: 1000,
    connection_allowlist: ["192.0.2.0/24"],
    rate_limit_per_minute: 1,
    rate_limit_burst: 1,
    rate_limit_exempt: [],
    trusted_proxies: ["127.0.0.1"],
    disk_reserve: 1,
  };
  const prepare = async (dir: string) => {
    await Deno.mkdir(`${dir}/data`, { mode: 0o700 });
    await leaveStopDuration(`${dir}/data`, 120);
  };
  try {
    await withDaemon(values, async (d) => {
      await d.api("/v1/domains", {
        method: "POST",
        body: JSON.stringify({ domain: "only.example", recipients: ["bob@only.example"] }),
        headers: { "content-type": "application/json" },
      });
      await switchOnSigning(d);
      const prometheus = await Prometheus.start(d.dir, d.daemon.addresses.metrics!);
      try {
        await fn(d, prometheus);
      } finally {
        await prometheus.stop();
      }
    }, { zone: ZONE, prepare });
  } finally {
    await sink.close();
  }
}

testIf(
  hasProgram("prometheus"),
  "no prometheus",
  "every panel's query and every recording rule has data from a live daemon, and every alert can be evaluated",
  () =>
    withPrometheus(async (d, prometheus) => {
      await until(async () => (await prometheus.query("up == 1")).length === 1, "the first scrape");
      await happen(d);
      const rises = async () => {
        const missing: string[] = [];
        for (const series of MUST_RISE) {
          if ((await prometheus.query(`sum(${series}) > 0`)).length === 0) missing.push(series);
        }
        return missing;
      };
      let missing: string[] = [];
      await until(async () => (missing = await rises()).length === 0, "all counters to rise", 15_000)
        .catch(() => assertEquals(missing, []));
      // A rate needs what happens between two scrapes; routes that were first asked above have their second value now.
      await happen(d);
      const targets = await dashboardTargets();
      const recorded = (await rulesOf("gomail-recording.yml")).map(({ record }) => ({
        panel: record!,
        expr: record!,
      }));
      assert(
        targets.length > 40 && recorded.length > 10,
        `${targets.length} queries, ${recorded.length} rules`,
      );
      let waiting = [...targets, ...recorded];
      await until(
        async () => {
          const empty: typeof waiting = [];
          for (const target of waiting) {
            if ((await prometheus.query(filled(target.expr))).length === 0) empty.push(target);
          }
          waiting = empty;
          return waiting.length === 0;
        },
        "every panel to have data",
        15_000,
      ).catch(() => assertEquals(waiting, []));
      const { groups } = await prometheus.ask("rules");
      // deno-lint-ignore no-explicit-any -- Prometheus's own form
      const rules = groups.flatMap((group: any) => group.rules) as {
        name: string;
        health: string;
        state?: string;
      }[];
      assertEquals(rules.filter(({ health }) => health !== "ok"), []);
      assertEquals(rules.filter(({ state }) => state === "firing").map(({ name }) => name), []);
    }),
);
