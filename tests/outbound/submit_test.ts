/** The flow out from request to answer: what is committed together, what is refused, and that nothing is left over. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { systemClock } from "../../src/base/clock.ts";
import { createResolver } from "../../src/base/resolver.ts";
import { WorkerError } from "../../src/base/worker_pool.ts";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { authenticate } from "../../src/inbound/authenticate.ts";
import { test } from "../support/test.ts";
import { dkimResults, findings, headerOf, KEYS, paths, queued, withWorld } from "./support.ts";

const DAY = 86_400_000;
const T0 = Date.UTC(2026, 0, 1);

test("A send is answered with what was committed: message, jobs, events", () =>
  withWorld(async ({ send, store, bytes, metrics }) => {
    const metadata = { order: 7 };
    const answer = queued(
      await send({ cc: ["cy@other.test"], bcc: ["dee@there.test", "BOB@There.Test"] }, { metadata }),
    );
    assertEquals(answer.status, "queued");
    assertEquals(answer.dkim, ["r1", "e1"]);
    const addresses = ["bob@there.test", "cy@other.test", "dee@there.test", "BOB@there.test"];
    assertEquals(answer.recipients, addresses.map((address) => ({ address, status: "queued" as const })));

    const message = store.messages.get(answer.id)!;
    assertEquals(message.direction, "outbound");
    assertEquals(message.outbound, {
      metadata,
      dkim: ["r1._domainkey.ours.test", "e1._domainkey.ours.test"],
    });
    assertEquals([message.mailFrom, message.recipients], ["ann@ours.test", addresses]);
    assertEquals([message.subject, message.fromHeader], ["Hello", "Ann <ann@ours.test>"]);
    assertEquals(message.messageIdHeader, `<${answer.id.toLowerCase()}@ours.test>`);
    assertEquals(message.authentication.dmarc.reason, "sent by us, not received");

    const jobs = [...store.jobs.values()];
    assertEquals(jobs.map((job) => job.id), addresses.map((_, i) => `out_${answer.id}_${i}`));
    assertEquals(jobs.map((job) => job.lane), ["there.test", "other.test", "there.test", "there.test"]);
    assertEquals(jobs.map((job) => job.destination), addresses);
    assertEquals(jobs.map((job) => [job.dueAt, job.expiresAt])[0], [T0, T0 + 5 * DAY]);
    assertEquals(store.events.map((event) => [event.type, event.details!.recipient]), [
      ...addresses.map((address) => ["mail.queued", address]),
    ]);
    const webhooks = message.effects!.events.flatMap((event) => event.jobs);
    assertEquals(new Set(webhooks.map((job) => job.id)).size, 4);

    const sent = new TextDecoder().decode(await bytes(answer.id));
    assertEquals(sent.includes("dee@"), false);
    assertMatch(sent, /\r\nDate: Thu, 01 Jan 2026 00:00:00 \+0000\r\n/);
    assertEquals(await dkimResults(sent), ["pass", "pass"]);
    assertEquals((await metrics.dkimSigned.get()).values[0]!.value, 1);
  }));

test("A suppressed recipient gets no job, and the app hears of it", () =>
  withWorld(async ({ send, store }) => {
    store.suppress("bob@there.test");
    const answer = queued(await send({ to: ["Bob@There.test", "cy@other.test"] }));
    assertEquals(answer.recipients.map(({ status }) => status), ["suppressed", "queued"]);
    assertEquals([...store.jobs.keys()], [`out_${answer.id}_1`]);
    assertEquals(store.events.map((event) => [event.type, event.details!.reason]), [
      ["mail.dropped", "suppressed"],
      ["mail.queued", null],
    ]);
  }));

test("A message to suppressed recipients only is stored and owes nothing", () =>
  withWorld(async ({ send, store }) => {
    store.suppress("bob@there.test");
    const answer = queued(await send());
    assertEquals(answer.recipients, [{ address: "bob@there.test", status: "suppressed" }]);
    assertEquals([store.messages.size, store.jobs.size], [1, 0]);
  }));

test("send_at schedules, a past one is now, and more than 30 days ahead is refused", () =>
  withWorld(async ({ send, store }) => {
    const answer = queued(await send({}, { sendAt: T0 + DAY }));
    assertEquals([answer.status, answer.recipients[0]!.status], ["scheduled", "scheduled"]);
    const [job] = [...store.jobs.values()];
    assertEquals([job!.dueAt, job!.expiresAt], [T0 + DAY, T0 + 6 * DAY]);
    const past = queued(await send({}, { sendAt: T0 - DAY }));
    assertEquals(past.status, "queued");
    assertEquals(store.jobs.get(`out_${past.id}_0`)!.dueAt, T0);
    assertEquals(paths(await send({}, { sendAt: T0 + 31 * DAY })), ["send_at"]);
    assertEquals(paths(await send({}, { sendAt: NaN })), ["send_at"]);
  }));

test("What is scheduled is dated when it goes out, and signed today", () =>
  withWorld(async ({ send, sendRaw, bytes }) => {
    const raw = "From: ann@ours.test\nTo: bob@there.test\n\nHi\n";
    for (const [sendAt, date] of [[T0 + DAY, "Fri, 02 Jan 2026"], [T0 - DAY, "Thu, 01 Jan 2026"]] as const) {
      for (const result of [await send({}, { sendAt }), await sendRaw(raw, {}, { sendAt })]) {
        const message = await bytes(queued(result).id);
        assertEquals(headerOf(message).first("date"), `${date} 00:00:00 +0000`);
        // A receiver may refuse a signature from the future (RFC 6376 3.5).
        assertMatch(headerOf(message).first("dkim-signature")!, new RegExp(`; t=${T0 / 1000};`));
        assertEquals(await dkimResults(message), ["pass", "pass"]);
      }
    }
  }));

test("A repeated key with the same body gives the first answer, with another body a conflict", () =>
  withWorld(async ({ send, sendRaw, store, clock }) => {
    const idempotency = { key: "k", bodyHash: "aa" };
    const first = await send({}, { idempotency });
    assertEquals(await send({}, { idempotency }), { kind: "queued", answer: queued(first), repeated: true });
    assertEquals(await send({ to: [] }, { idempotency: { key: "k", bodyHash: "bb" } }), { kind: "conflict" });
    const raw = "From: ann@ours.test\nTo: bob@there.test\n\nHi\n";
    assertEquals(await sendRaw(raw, {}, { idempotency: { key: "k", bodyHash: "bb" } }), { kind: "conflict" });
    assertEquals([store.messages.size, store.discarded], [1, 1]);
    await clock.advance(DAY + 1);
    assertEquals(queued(await send({}, { idempotency })).id === queued(first).id, false);
  }));

test("Of two requests at once with one key one message is stored, and both hear of it", () =>
  withWorld(async ({ send, sendRaw, store }) => {
    const idempotency = { key: "k", bodyHash: "aa" };
    const raw = "From: ann@ours.test\nTo: bob@there.test\n\nHi\n";
    const [a, b, c] = await Promise.all([
      send({}, { idempotency }),
      send({}, { idempotency }),
      sendRaw(raw, {}, { idempotency: { key: "k", bodyHash: "cc" } }),
    ]);
    const kinds = [a, b].map((result) => result.kind);
    // Which one wins is chance; that all agree is not.
    if (c!.kind === "queued") assertEquals(kinds, ["conflict", "conflict"]);
    else assertEquals([...kinds, c!.kind], ["queued", "queued", "conflict"]);
    assertEquals([store.messages.size, store.discarded], [1, 2]);
  }));

test("A send that failed leaves its key free", () =>
  withWorld(async ({ send, store }) => {
    const idempotency = { key: "k", bodyHash: "aa" };
    store.failing = "submit";
    const failed = await send({}, { idempotency });
    assert(failed.kind === "refused" && failed.refusal.reason === "storage_failed");
    assertEquals([store.messages.size, store.discarded], [0, 1]);
    store.failing = null;
    assertEquals(queued(await send({}, { idempotency })).status, "queued");
  }));

test("Whatever breaks on the way is a temporary refusal with one log line, and no spool is left", async () => {
  for (const verb of ["recallKey", "spool", "findSuppressed", "submit"]) {
    await withWorld(async ({ send, store, lines }) => {
      store.failing = verb;
      const result = await send({}, { idempotency: { key: "k", bodyHash: "aa" } });
      assert(result.kind === "refused" && result.refusal.http === "service_unavailable", verb);
      assertEquals(store.spools.length, store.discarded);
      assertEquals(lines().map((line) => [line.msg ?? line.message, line.outcome]).length, 1);
      assertStringIncludes(String(lines()[0]!.error), `Cannot ${verb}`);
    });
  }
  const died = () => Promise.reject(new WorkerError("Cannot run compose: the worker died"));
  await withWorld(async ({ send, sendRaw, store }) => {
    const result = await send();
    assert(result.kind === "refused" && result.refusal.reason === "internal");
    await sendRaw("From: ann@ours.test\nTo: bob@there.test\n\nHi\n");
    assertEquals([store.spools.length, store.discarded, store.messages.size], [1, 1, 0]);
  }, { compose: died, sign: died });
});

test("While draining and on a full disk nothing is taken, and what was spooled is discarded", async () => {
  const raw = "From: ann@ours.test\nTo: bob@there.test\n\nHi\n";
  await withWorld(async ({ sendRaw, store }) => {
    const result = await sendRaw(raw);
    assert(result.kind === "refused" && result.refusal.reason === "shutting_down");
    assertEquals(store.discarded, 1);
  }, { draining: () => true });
  await withWorld(
    async ({ sendRaw, store, flow }) => {
      store.free = 1000;
      const result = await sendRaw(raw);
      assert(result.kind === "refused" && result.refusal.reason === "storage_full");
      assertEquals(flow.checkStorage(0)?.reason, "storage_full");
      assertEquals(store.discarded, 1);
    },
    {},
    { disk_reserve: 2000 },
  );
});

test("A message over max_message_size is refused before and after it is composed", () =>
  withWorld(
    async ({ send, sendRaw, store }) => {
      const reasonOf = async (sent: ReturnType<typeof send>) => {
        const result = await sent;
        return result.kind === "refused" ? result.refusal.reason : result.kind;
      };
      assertEquals(await reasonOf(send({ text: "x ".repeat(6_000) })), "message_too_large");
      const content = new Uint8Array(9_000);
      const attachments = [{ filename: "a", contentType: "a/b", content, contentId: null }];
      assertEquals(await reasonOf(send({ attachments })), "message_too_large");
      const raw = `From: ann@ours.test\nTo: bob@there.test\n\n${"Hello.\n".repeat(2_000)}`;
      assertEquals(await reasonOf(sendRaw(raw)), "message_too_large");
      assertEquals([store.messages.size, store.discarded], [0, 1]);
      assertEquals(await reasonOf(send()), "queued");
    },
    {},
    { max_message_size: 10_000 },
  ));

test("A large composed message lies in a file, and its signatures hold", () =>
  withWorld(async ({ send, store, bytes }) => {
    const content = crypto.getRandomValues(new Uint8Array(60_000));
    const attachment = { filename: "a.bin", contentType: "application/x-a", content, contentId: null };
    const answer = queued(await send({ attachments: [attachment, attachment, attachment] }));
    assertEquals(store.messages.get(answer.id)!.spooled.body.kind, "file");
    assertEquals(await dkimResults(await bytes(answer.id)), ["pass", "pass"]);
    assertEquals(store.discarded, 0);
  }));

test("Without a key for the domain, or with signing off, mail goes unsigned and says so", async () => {
  await withWorld(async ({ send, store, bytes, metrics }) => {
    const answer = queued(await send({ from: "ann@bücher.test" }));
    assertEquals([answer.dkim, store.messages.get(answer.id)!.outbound!.dkim], ["none", []]);
    assertEquals(headerOf(await bytes(answer.id)).count("dkim-signature"), 0);
    assertEquals((await metrics.dkimSigned.get()).values[0]!.value, 0);
  });
  await withWorld(
    async ({ send }) => {
      assertEquals(queued(await send()).dkim, "none");
    },
    {},
    { dkim_sign_outbound: false },
  );
});

test("A dry run shows the message, its signatures, alignment and suppressions, and keeps nothing", async () => {
  const records = Object.fromEntries(KEYS.map((key) => [key.name, { TXT: [key.record] }]));
  const zone = await startZoneServer({
    records: {
      "ours.test": { TXT: ["v=spf1 -all"] },
      "_dmarc.ours.test": { TXT: ["v=DMARC1; p=reject"] },
      ...records,
    },
  });
  const resolver = createResolver({
    servers: [zone.address],
    timeoutMs: 5000,
    clock: systemClock,
    hosts: "",
  });
  try {
    await withWorld(
      async ({ send, sendRaw, store }) => {
        store.suppress("bob@there.test", "complaint");
        const idempotency = { key: "k", bodyHash: "aa" };
        const result = await send({ bcc: ["cy@other.test"] }, { dryRun: true, idempotency });
        assert(result.kind === "dry_run");
        assertEquals([result.answer.dkim.result, result.answer.dkim.signatures.length], ["pass", 2]);
        assertEquals([result.answer.dmarc.result, result.answer.dmarc.dkim_alignment], ["pass", true]);
        assertEquals(result.answer.recipients, [
          { address: "bob@there.test", suppressed: "complaint" },
          { address: "cy@other.test", suppressed: null },
        ]);
        assertEquals(await dkimResults(result.answer.message), ["pass", "pass"]);
        const raw = await sendRaw("From: ann@ours.test\nTo: x@y.test\n\nHi\n", {}, { dryRun: true });
        assert(raw.kind === "dry_run" && raw.answer.dkim.result === "pass");
        assertEquals([store.messages.size, store.jobs.size, store.keys.size, store.discarded], [0, 0, 0, 1]);
      },
      {
        verify: async ({ header, body }) =>
          (await authenticate({
            header,
            body,
            mailFrom: "ann@ours.test",
            clientAddress: null,
            helo: null,
            hostname: "mx.ours.test",
            config: { spf_enabled: true, dkim_enabled: true, dmarc_enabled: true, arc_trusted_sealers: [] },
          }, { resolver, clock: systemClock })).authentication,
      },
    );
  } finally {
    resolver.close();
    await zone.close();
  }
});

test("Every problem is found at once, under the path that the app wrote", () =>
  withWorld(async ({ send, store }) => {
    const result = await send({
      from: "eve@evil.test",
      to: ["a@b.test", "c@d.test, Eve <e@f.test>", "no address", "g@[192.0.2.1]"],
      cc: ["\r\nBcc: x@y.test"],
      replyTo: ["x@y@z.test"],
      subject: "a\r\nBcc: x@y.test",
      text: null,
      headers: {
        "X-Foo": "a\nb",
        Bcc: "x@y.test",
        "Content-Type": "text/html",
        "X-Foo: y": "z",
        "Message-ID": "none",
        Date: "yesterday",
      },
    }, { metadata: { a: "x".repeat(5000) }, sendAt: T0 + 40 * DAY });
    assertEquals(findings(result), [
      "from is not at a domain of ours",
      "to[1] is not exactly one address: a name with special characters needs quotes",
      "to[2] is not an email address",
      "to[3] is at an address literal: mail goes to domains only",
      "cc[0] has control characters or line ends",
      "reply_to[0] is not an email address",
      "subject has control characters or line ends",
      "headers.X-Foo has control characters or line ends",
      "headers.Bcc is made from the field bcc",
      "headers.Content-Type is a header field that only we write",
      "headers.X-Foo: y is no header field name: letters, digits and hyphens, at most 76",
      "headers.Message-ID is not a message id: <left@right> in plain ASCII",
      "headers.Date is not a date as in RFC 5322 3.3",
      "text is missing: a message needs text, html or an attachment",
      "metadata is larger than 4 KB as JSON",
      "send_at is more than 30 days ahead",
    ]);
    assertEquals([store.messages.size, store.jobs.size, store.events.length], [0, 0, 0]);
  }));

test("One line tells how a send ended", () =>
  withWorld(async ({ send, lines }) => {
    await send({ to: ["a@b.test", "c@d.test"] }, { requestId: "r-1" });
    await send({ from: "eve@evil.test" }, { requestId: "r-2" });
    const [first, second, ...others] = lines();
    assertEquals(others, []);
    assertEquals([first!.request_id, first!.outcome, first!.recipients], ["r-1", "queued", 2]);
    assertEquals(first!.dkim, ["r1", "e1"]);
    assertEquals([second!.request_id, second!.outcome, second!.findings], ["r-2", "invalid", ["from"]]);
  }));
