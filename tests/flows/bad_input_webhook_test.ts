/**
 * Receivers and addresses that are meant to lead the webhook astray, through the whole daemon. What a receiver may do
 * wrong once is in receiver_test.ts; the carrier alone is tested in tests/delivery/webhook.
 *
 * 50 webhooks to private places                       refused, nobody is connected to, and the mail is kept
 * 51 a receiver that never ends its answer            a deadline, a retry; other routes are not held up
 * 52 redirects, 410, Retry-After, TLS (RFC 9110 15)   a failure; final; heard up to a cap; not delivered
 * 53 ids and signatures over retries and rotation     same id, new time and signature; two at once
 * 54 a mail that can't be delivered                   its own trouble: everything behind it goes on
 */

import { assert, assertEquals, assertMatch, assertNotEquals } from "@std/assert";
import { Webhook } from "standardwebhooks";
import { newWebhookSecret } from "../../src/base/secret.ts";
import { startReceiver } from "../../src/cli/demo/receiver.ts";
import { makeCertificate } from "../support/certificates.ts";
import { idOf, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { postJson } from "../support/sending.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

/** So many attempts at the mail's only job were made. */
const attempted = (d: TestDaemon, id: string, count = 1) =>
  until(async () => (await d.jobs(id))[0]?.attempts === count, `attempt ${count}`);

const retry = (d: TestDaemon, id: string) => postJson(d, "/v1/queue/retry", { message_id: id });

const PRIVATE_HOSTS = [
  "127.0.0.1",
  "2130706433",
  "0x7f.1",
  "0177.0.0.1",
  "localhost",
  "a.localhost.",
  "[::1]",
  "[::ffff:127.0.0.1]",
  "[64:ff9b::7f00:1]",
  "[2002:7f00:1::]",
  "10.0.0.1",
  "100.64.0.1",
  "169.254.169.254",
  "[fe80::1]",
  "[fd00::1]",
  "0.0.0.0",
  "rebind.example",
  "mixed.example",
];

test("50: a webhook to a private place is not sent, however it is written, and its mail stays", async () => {
  const zone = {
    "rebind.example": { A: ["127.0.0.1"] },
    "mixed.example": { A: ["203.0.114.1", "127.0.0.1"] },
  };
  await withDaemon({ webhook_allow_private: false }, async (d) => {
    const { port } = d.receiver;
    const routes = PRIVATE_HOSTS.map((host, i) => ({
      match: `u${i}@example.com`,
      url: `http://${host}:${port}/`,
    }));
    routes.push({ match: "user@example.com", url: `http://a:b@127.0.0.1:${port}/` });
    await d.reload({ routes });
    const to = routes.map(({ match }) => match);
    const id = idOf(await d.send(plainMail(), { to }));
    await until(async () => (await d.jobs(id)).every((job) => job.last_error), "an attempt at each");
    const errors = new Set((await d.jobs(id)).map((job) => job.last_error));
    assertEquals([...errors].sort(), [
      "Cannot deliver: the URL holds a user name or password",
      "Cannot deliver: the host has a private address (see webhook_allow_private)",
    ]);
    assertEquals([(await d.jobs(id)).length, d.receiver.connections], [routes.length, 0]);
  }, { zone });
});

test("50: the address that was checked is the one that is connected to, and a kept connection is no way round it", async () => {
  const zone = { "pinned.example": { A: ["127.0.0.1"] } };
  await withDaemon({}, async (d) => {
    const routes = [{ match: "pin@example.com", url: `http://pinned.example:${d.receiver.port}/pinned` }];
    await d.reload({ routes });
    const send = async () => idOf(await d.send(plainMail(), { to: ["pin@example.com"] }));
    await d.payload(await send());
    // No other resolver knows the name, and between check and connection ours is not asked again.
    const asked = d.zone.queries("pinned.example");
    d.zone.set("pinned.example", { A: ["127.0.0.9"] });
    await d.payload(await send());
    assertEquals([d.zone.queries("pinned.example"), d.receiver.count], [asked, 2]);
    await d.reload({ routes, webhook_allow_private: false });
    const refused = await send();
    await until(async () => (await d.jobs(refused))[0]?.last_error, "the attempt");
    assertMatch((await d.jobs(refused))[0].last_error, /private address/);
    assertEquals(d.receiver.count, 2);
  }, { zone });
});

test("51: answers that never end, or are none, cost one deadline and hold up no other route", async () => {
  const bad = await startReceiver({ answer: ({ path }) => path.slice(1) as "endless" });
  const ways = ["hang", "endless", "drip", "half", "garbage", "drop", "switch"];
  const at = (path: string) => `http://127.0.0.1:${bad.port}/${path}`;
  const routes = ways.map((way) => ({ match: `${way}@example.com`, url: at(way) }));
  try {
    await withDaemon({ routes, webhook_timeout: "4s" }, async (d) => {
      const id = idOf(await d.send(plainMail(), { to: ways.map((way) => `${way}@example.com`) }));
      await d.sendAndHear(plainMail(), { to: ["bob@example.com"] });
      const ends = async () =>
        Object.fromEntries(
          (await d.jobs(id)).map((job) => [job.lane.split("@")[0], job.last_error ?? job.state]),
        );
      await until(async () => !Object.values(await ends()).includes("pending"), "an end to each");
      const late = "Cannot deliver: no answer within 4 s";
      // A status of 200 is a delivery, whatever the body does.
      assertEquals(await ends(), {
        hang: late,
        half: late,
        endless: "delivered",
        drip: "delivered",
        garbage: "Cannot deliver: the answer is not HTTP",
        drop: "Cannot deliver: connection lost",
        switch: "Receiver answered 101",
      });
    });
  } finally {
    await bad.close();
  }
});

test("51: an answer may be large, packed, or come in parts: what counts is its status, and little of it is read", async () => {
  const receiver = await startReceiver();
  const squeezed = "\x1f\x8b\x08".padEnd(1_000, "\0");
  receiver.answerWith(({ path }) =>
    path === "/huge"
      ? { status: 500, body: "x".repeat(20_000_000) }
      : path === "/bomb"
      ? { status: 200, headers: { "content-encoding": "gzip" }, body: squeezed }
      : path === "/headers"
      ? { status: 200, headers: { "x-large": "x".repeat(200_000) } }
      : { status: 200, headers: { "content-length": "5" }, body: "12345" }
  );
  const ways = ["huge", "bomb", "headers", "plain"];
  const routes = ways.map((way) => ({
    match: `${way}@example.com`,
    url: `http://127.0.0.1:${receiver.port}/${way}`,
  }));
  try {
    await withDaemon({ routes }, async (d) => {
      const id = idOf(await d.send(plainMail(), { to: ways.map((way) => `${way}@example.com`) }));
      await until(async () => (await d.jobs(id)).every((job) => job.attempts > 0), "an attempt at each");
      const ends = Object.fromEntries((await d.jobs(id)).map((job) => [job.lane.split("@")[0], job]));
      assertEquals([ends.huge.state, ends.huge.last_code], ["pending", 500]);
      assertEquals([ends.bomb.state, ends.plain.state], ["delivered", "delivered"]);
      assertEquals(ends.headers.state, "pending");
      // Nothing of what the other side said is kept as our own words.
      assert(!(await d.api(`/v1/queue/${ends.huge.id}`)).text.includes("xxxx"));
    });
  } finally {
    await receiver.close();
  }
});

/** A receiver that says these bytes, and again every few milliseconds if it is to go on. */
async function startTalker(
  bytes: string,
  goesOn: boolean,
): Promise<{ port: number; close(): Promise<void> }> {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const talk = async (connection: Deno.Conn) => {
    try {
      await connection.read(new Uint8Array(65_536));
      do {
        await connection.write(new TextEncoder().encode(bytes));
        await new Promise((resolve) => setTimeout(resolve, 5));
      } while (goesOn);
      await connection.readable.pipeTo(new WritableStream());
    } catch {
      // The daemon has had enough, which is what is waited for.
      connection.close();
    }
  };
  const talking: Promise<void>[] = [];
  const accepting = (async () => {
    for await (const connection of listener) talking.push(talk(connection));
  })();
  return {
    port: listener.addr.port,
    async close() {
      listener.close();
      await accepting;
      await Promise.all(talking);
    },
  };
}

test("51: interim answers are no answer, however many there are", async () => {
  const interim = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n";
  const polite = await startTalker(`${interim}HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n`, false);
  const endless = await startTalker(interim, true);
  const at = ({ port }: { port: number }) => `http://127.0.0.1:${port}/`;
  const routes = [
    { match: "polite@example.com", url: at(polite) },
    { match: "endless@example.com", url: at(endless) },
  ];
  try {
    await withDaemon({ routes, webhook_timeout: "3s" }, async (d) => {
      const to = ["polite@example.com", "endless@example.com", "bob@example.com"];
      const id = idOf(await d.send(plainMail(), { to }));
      await until(async () => (await d.jobs(id)).every((job) => job.attempts > 0), "an attempt at each");
      const ends = (await d.jobs(id)).map((job) => [job.lane.split("@")[0], job.state, job.last_error]);
      assertEquals(ends.sort(), [
        ["*", "delivered", null],
        ["endless", "pending", "Cannot deliver: no answer within 3 s"],
        ["polite", "delivered", null],
      ]);
    });
  } finally {
    await polite.close();
    await endless.close();
  }
});

test("52: a redirect leads nowhere, 410 is final, Retry-After has a cap, and TLS that is not proved is no TLS", async () => {
  const elsewhere = await startReceiver();
  const unproved = await startReceiver({
    tls: await makeCertificate("localhost"),
  });
  try {
    const routes = [
      { match: "tls@example.com", url: unproved.url },
      { match: "plain@example.com", url: unproved.url.replace("https", "http") },
    ];
    await withDaemon({ routes }, async (d) => {
      const at = (i: number) => ({ match: `${i}@example.com`, url: `${d.receiver.url}/${i}` });
      for (const status of [301, 302, 303, 307, 308, 300, 304]) {
        d.receiver.answerWith(() => ({ status, headers: { location: elsewhere.url } }));
        const id = idOf(await d.send());
        await attempted(d, id);
        const [job] = await d.jobs(id);
        assertEquals([job.state, job.last_code], ["pending", status]);
        await postJson(d, "/v1/queue/drop", { message_id: id });
      }
      // A success in between: so many failures in a row would pause the endpoint.
      const succeed = async () => {
        d.receiver.answerWith(() => ({ status: 200 }));
        await d.sendAndHear();
      };
      await succeed();
      for (const status of [410, 406, 422]) {
        d.receiver.answerWith(() => ({ status }));
        const id = idOf(await d.send());
        await until(async () => (await d.jobs(id))[0]?.state === "dead", `the dead letter after ${status}`);
      }
      await succeed();
      const far = new Date(Date.now() + 30 * 86_400_000).toUTCString();
      const afters = ["99999999999", far, "-5", "soon", "1e3"];
      // Each at an endpoint of its own: who asks for time is left alone, by other mails too.
      await d.reload({ routes: [...routes, ...afters.map((_, i) => at(i))] });
      d.receiver.answerWith(({ path }) => ({
        status: 503,
        headers: { "retry-after": afters[Number(path.split("/").at(-1))] ?? "0" },
      }));
      const late = idOf(await d.send(plainMail(), { to: afters.map((_, i) => at(i).match) }));
      await until(async () => (await d.jobs(late)).every((job) => job.attempts > 0), "an attempt at each");
      for (const job of await d.jobs(late)) {
        const after = afters[Number(job.lane[0])]!;
        const waitMs = Date.parse(job.due_at) - Date.parse(job.last_attempt_at);
        assert(waitMs > 0 && waitMs <= 3_600_000 * 1.2, `${after}: ${waitMs} ms`);
        if (/^\d+$|GMT$/.test(after)) assert(waitMs >= 3_600_000, `${after}: ${waitMs} ms`);
        else assert(waitMs < 60_000, `${after}: ${waitMs} ms`);
      }
      const id = idOf(await d.send(plainMail(), { to: ["tls@example.com", "plain@example.com"] }));
      await until(async () => (await d.jobs(id)).every((job) => job.attempts > 0), "both attempts");
      for (const job of await d.jobs(id)) {
        assertEquals([job.state, job.last_code], ["pending", null], job.lane);
      }
      assertEquals([elsewhere.connections, unproved.count], [0, 0]);
    });
  } finally {
    await elsewhere.close();
    await unproved.close();
  }
});

test("53: over retries the id stays, time and signature do not, and while secrets rotate there are two signatures", () =>
  withDaemon({}, async (d) => {
    const next = newWebhookSecret();
    d.receiver.answerWith(() => ({ status: 500 }));
    const id = idOf(await d.send());
    await attempted(d, id);
    const secondOf = (at: number) => Number(d.webhooks(id)[at]!.headers["webhook-timestamp"]);
    const again = async (count: number) => {
      await until(() => Math.floor(Date.now() / 1000) > secondOf(count - 2), "the next second");
      await retry(d, id);
      await attempted(d, id, count);
    };
    await again(2);
    await d.reload({ webhook_secret_next: next });
    await again(3);
    await d.reload({ webhook_secret: next });
    d.receiver.answerWith(() => ({ status: 200 }));
    await again(4);

    const tries = d.webhooks(id);
    const of = (name: string) => tries.map(({ headers }) => headers[name]!);
    assertEquals(new Set(of("webhook-id")).size, 1);
    assertEquals([...new Set(of("webhook-timestamp"))].length, 4);
    assertEquals(new Set(of("webhook-signature").flatMap((text) => text.split(" "))).size, 5);
    assertEquals(of("webhook-signature").map((text) => text.split(" ").length), [1, 1, 2, 1]);
    const good = (secret: string) =>
      tries.map(({ body, headers }) => {
        try {
          new Webhook(secret).verify(new TextDecoder().decode(body), headers);
          return true;
        } catch {
          return false;
        }
      });
    // The official library takes either while both are in use.
    assertEquals(good(d.secret), [true, true, true, false]);
    assertEquals(good(next), [false, false, true, true]);
    // Another mail, and another route of the same one, have ids of their own.
    const routes = [{ match: "amy@example.com", url: d.receiver.url }];
    await d.reload({ webhook_secret: next, routes });
    const both = idOf(await d.send(plainMail(), { to: ["amy@example.com", "bob@example.com"] }));
    await until(() => d.webhooks(both).length === 2, "both webhooks");
    const [one, two] = d.webhooks(both).map(({ headers }) => headers["webhook-id"]);
    assertNotEquals(one, two);
    assert(one !== of("webhook-id")[0] && two !== of("webhook-id")[0]);
  }));

test("54: a mail that its receiver never takes, or that can't be read any more, blocks nothing behind it", () =>
  withDaemon({ shutdown_timeout: "1s" }, async (d) => {
    const poison = "poison";
    const subjectOf = (body: Uint8Array) => JSON.parse(new TextDecoder().decode(body)).subject;
    let way: "hang" | { status: number } = { status: 500 };
    d.receiver.answerWith(({ body }) => subjectOf(body) === poison ? way : { status: 200 });
    // Large enough to lie in a file of its own.
    const large = plainMail({ Subject: poison }, `${"x".repeat(76)}\r\n`.repeat(4_000));
    const lost = idOf(await d.send(large));
    await attempted(d, lost);
    await d.sendAndHear();
    const blobs: string[] = [];
    const walk = async (dir: string) => {
      for await (const { name, isDirectory } of Deno.readDir(dir)) {
        if (isDirectory) await walk(`${dir}/${name}`);
        else if (name.includes(lost)) blobs.push(`${dir}/${name}`);
      }
    };
    await walk(`${d.dir}/data`);
    assertEquals(blobs.length, 1);
    await Deno.remove(blobs[0]!);
    await retry(d, lost);
    await attempted(d, lost, 2);
    await d.sendAndHear();
    assertEquals((await d.jobs(lost))[0].state, "pending");
    // And one that holds its connection for as long as it may.
    way = "hang";
    const hanging = idOf(await d.send(plainMail({ Subject: poison })));
    await until(() => d.webhooks(hanging).length > 0, "the request that hangs");
    for (let i = 0; i < 3; i++) await d.sendAndHear();
    // It still hangs: the others have not waited for its deadline.
    const [{ state, attempts }] = await d.jobs(hanging);
    assertEquals([state, attempts], ["pending", 0]);
  }));
