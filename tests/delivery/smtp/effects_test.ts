/** What is committed with the end of an attempt: the events, and whom we don't write to any more. */

import { assertEquals } from "@std/assert";
import type { Ending, Outcome } from "../../../src/delivery/carrier.ts";
import { ownOutcome, type SmtpReport } from "../../../src/delivery/smtp/outcome.ts";
import { startFarm } from "../../support/fake_mx.ts";
import { test } from "../../support/test.ts";
import { live, mailJob, MESSAGE_ID, withWorld, type World } from "./harness.ts";

const AT = Date.UTC(2026, 0, 2);
const deferredAt = (code: number | null): Ending => ({
  kind: "deferred",
  at: AT,
  code,
  error: "later",
  dueAt: AT + 1,
});
const dead = (code: number | null): Ending => ({ kind: "dead", at: AT, code, error: "no" });

function told({ carrier }: World, ending: Ending, outcome: Outcome | null, attempts = 2) {
  const { events, suppressions } = carrier.effectsOf!(mailJob({ attempts }), ending, outcome);
  assertEquals(events.length, 1);
  const { type, details, messageId, createdAt, jobs } = events[0]!;
  assertEquals([messageId, createdAt], [MESSAGE_ID, AT]);
  assertEquals(jobs.map((job) => [job.carrier, job.event]), [["webhook", type]]);
  return {
    type,
    ...details,
    suppressed: suppressions.map((s) => [s.address, s.reason, s.messageId, s.detail]),
  };
}

test("Each ending is told as its event, with what was answered", async () => {
  let reply = "450 4.2.0 Later";
  const [mx] = await startFarm({ on: (line) => line.startsWith("RCPT") && reply !== "" ? reply : undefined });
  await withWorld({ servers: [mx!] }, async (world) => {
    const remote = `mx1.r.example[127.0.0.11]:${mx!.port}`;
    const common = { recipient: "bob@r.example", attempt: 3, remote, reason: null, suppressed: [] };
    assertEquals(told(world, deferredAt(450), await world.send()), {
      type: "mail.deferred",
      ...common,
      response: { code: 450, enhanced: "4.2.0", text: "Later" },
    });
    reply = "550 5.7.1 Policy";
    assertEquals(told(world, dead(550), await world.send()), {
      type: "mail.bounced",
      ...common,
      response: { code: 550, enhanced: "5.7.1", text: "Policy" },
    });
    reply = "550 5.1.1 No such user";
    assertEquals(told(world, dead(550), await world.send()), {
      type: "mail.bounced",
      ...common,
      response: { code: 550, enhanced: "5.1.1", text: "No such user" },
      suppressed: [["bob@r.example", "bounce", MESSAGE_ID, "550 5.1.1 No such user"]],
    });
    reply = "";
    assertEquals(told(world, { kind: "delivered", at: AT, code: 250 }, await world.send()), {
      type: "mail.delivered",
      ...common,
      response: { code: 250, enhanced: "2.0.0", text: "Queued" },
    });
    assertEquals(mx!.connections, 1);
  });
});

test("Only what is said about the address suppresses it", () =>
  withWorld({}, async (world) => {
    const failed = (code: number, enhanced: string | null, stage: SmtpReport["stage"]): Outcome => {
      const report: SmtpReport = {
        response: { code, enhanced, text: "No such user" },
        remote: null,
        transcript: "",
        stage,
      };
      return { kind: "failed", code, error: "x", report };
    };
    const isSuppressed = (outcome: Outcome) => told(world, dead(550), outcome).suppressed.length > 0;
    assertEquals(isSuppressed(failed(550, null, "rcpt")), true);
    assertEquals(isSuppressed(failed(550, null, "mail")), false);
    assertEquals(isSuppressed(failed(550, "5.1.1", "data")), false);
    assertEquals(isSuppressed(failed(552, "5.2.2", "rcpt")), false);
    const nobody = await world.send({ recipients: ["Bob@nowhere.example"] });
    assertEquals(isSuppressed(nobody), true);
    const transcriptOnly = { remote: null, transcript: "" };
    assertEquals(
      isSuppressed(ownOutcome({ code: 550, enhanced: "5.4.4", text: "x" }, transcriptOnly, "dns")),
      false,
    );
    assertEquals(isSuppressed({ kind: "failed", code: 550, error: "without a report" }), false);
  }));

test("An attempt that failed in our own house is counted, and told as deferred", () =>
  withWorld({}, (world) => {
    const { type, attempt, response } = told(world, deferredAt(null), null);
    assertEquals([type, attempt, response], ["mail.deferred", 3, null]);
    return Promise.resolve();
  }));

test("A suppressed address is kept in lower case", () =>
  withWorld({}, async ({ carrier }) => {
    const job = mailJob({ recipients: ["Bob@nowhere.example"] });
    const outcome = await carrier.attempt(job, live);
    const { suppressions } = carrier.effectsOf!(job, dead(550), outcome);
    assertEquals(suppressions[0]?.address, "bob@nowhere.example");
  }));

test("A mail that ran out of time is dropped as expired, tried once more or not at all", () =>
  withWorld({}, (world) => {
    const last: Outcome = {
      kind: "deferred",
      code: 451,
      error: "later",
      report: {
        response: { code: 451, enhanced: null, text: "later" },
        remote: "h[192.0.2.1]:25",
        transcript: "",
      },
    };
    const common = { recipient: "bob@r.example", reason: "expired", suppressed: [] };
    assertEquals(told(world, dead(451), last), {
      type: "mail.dropped",
      ...common,
      attempt: 3,
      response: { code: 451, enhanced: null, text: "later" },
      remote: "h[192.0.2.1]:25",
    });
    assertEquals(told(world, dead(null), null), {
      type: "mail.dropped",
      ...common,
      attempt: 2,
      response: null,
      remote: null,
    });
    return Promise.resolve();
  }));

test("A suppressed recipient's mail is dropped, and that is told", () =>
  withWorld({}, async (world) => {
    const outcome = await world.send({ suppressed: "complaint" });
    const ending: Ending = { kind: "dropped", at: AT, code: null, error: "suppressed" };
    const { type, reason, attempt, suppressed } = told(world, ending, outcome);
    assertEquals([type, reason, attempt, suppressed], ["mail.dropped", "suppressed", 2, []]);
  }));
