/** Which route takes which address, and the jobs that come of it. */

import { assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { configOf } from "../../src/config/schema.ts";
import { jobId, jobsFor, routeFor, routesOf } from "../../src/events/jobs.ts";
import { test } from "../support/test.ts";

const route = (match: string, url = `https://app.example/${match}`, events?: "mail.received"[]) => ({
  match,
  url,
  ...(events ? { events } : {}),
});
const ID = "01JD0000000000000000000000";
const received = (addresses: string[]) => ({ event: "mail.received", messageId: ID, addresses, now: 1000 });

test("The first route that matches wins; webhook_url takes the rest", () => {
  const config = configOf({
    routes: [
      route("Sales@example.com"),
      route("*@example.com"),
      route("sales@example.com", "https://never.example/"),
    ],
    webhook_url: "https://rest.example/",
  });
  const urlOf = (address: string) => routeFor(routesOf(config), address)?.url;
  assertEquals(urlOf("sales@EXAMPLE.com"), "https://app.example/Sales@example.com");
  assertEquals(urlOf("other@example.com"), "https://app.example/*@example.com");
  assertEquals(urlOf("a@sub.example.com"), "https://rest.example/");
  assertEquals(urlOf("postmaster"), "https://rest.example/");
});

test("Each route gets one job with just its own recipients", () => {
  const config = configOf({
    routes: [route("a@example.com"), route("*@example.com")],
    webhook_url: "https://rest.example/",
    webhook_max_age: "1h",
  });
  const jobs = jobsFor(
    received(["b@example.com", "a@example.com", "c@example.com", "x@other.example"]),
    config,
  );
  assertEquals(jobs.map((job) => [job.lane, job.recipients, job.destination]), [
    ["*@example.com", ["b@example.com", "c@example.com"], "https://app.example/*@example.com"],
    ["a@example.com", ["a@example.com"], "https://app.example/a@example.com"],
    ["*", ["x@other.example"], "https://rest.example/"],
  ]);
  assertEquals([jobs[0]!.dueAt, jobs[0]!.expiresAt, jobs[0]!.carrier], [1000, 3_601_000, "webhook"]);
  assertEquals(new Set(jobs.map((job) => job.id)).size, 3);
});

test("A route that does not want the event takes the mail all the same", () => {
  const config = configOf({
    routes: [{ match: "*@example.com", url: "https://app.example/", events: ["mail.bounced"] }],
    webhook_url: "https://rest.example/",
  });
  assertEquals(jobsFor(received(["a@example.com"]), config), []);
});

test("Without any route there is no job", () => {
  assertEquals(jobsFor(received(["a@example.com"]), configOf()), []);
});

test("A job's id is stable, and differs by event, message and route", () => {
  assertMatch(jobId("mail.received", ID, "*"), /^evt_01JD0{22}_[0-9a-f]{8}$/);
  assertEquals(jobId("mail.received", ID, "*"), jobId("mail.received", ID, "*"));
  assertNotEquals(jobId("mail.received", ID, "*"), jobId("mail.bounced", ID, "*"));
  assertNotEquals(jobId("mail.received", ID, "*"), jobId("mail.received", ID, "*@example.com"));
});
