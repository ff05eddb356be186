/** `doctor` against a whole daemon and those it talks to: receivers, queue, clock, port 25, files, DKIM. */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import dgram from "node:dgram";
import { VERSION } from "../../src/base/version.ts";
import { withDaemon } from "../support/harness.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";
import { brief, type Found, freePort, hostOf, withHost, withServer } from "./doctor_support.ts";
import { type Asked, withDaemon as withFakeDaemon } from "./support.ts";

const HOUR_MS = 3_600_000;
const ids = (found: readonly Found[]) => found.map(({ id, status }) => `${id} ${status}`);

test("doctor sends receivers a wrong signature alone, unless --webhook is said, and no app sees more", () =>
  withDaemon({}, async (d) => {
    const host = await hostOf(d);
    d.receiver.answerWith(({ verified }) => ({ status: verified ? 200 : 401 }));
    const wrong = await host.findings("receiver");
    assertEquals(ids(wrong), ["receiver.verifies ok", "receiver.takes skipped"]);
    assertMatch(wrong[0]!.summary, /^http:\S+ refuses a sample with a wrong signature \(401\)$/);
    assertEquals(d.receiver.requests.map(({ verified }) => verified), [false]);
    // Beside the signature all is as in a real one.
    assertEquals(JSON.parse(new TextDecoder().decode(d.receiver.requests[0]!.body)).sample, true);
    const both = await host.findings("receiver", {}, ["--webhook"]);
    assertEquals(ids(both), ["receiver.verifies ok", "receiver.takes ok"]);
    assertEquals(d.receiver.requests.map(({ verified }) => verified).sort(), [false, false, true]);
    assertEquals((await d.jobs()).length, 0);
  }));

test("doctor finds receivers that take anything, refuse everything, are elsewhere, broken or gone", () =>
  withDaemon({}, async (d) => {
    const host = await hostOf(d);
    const answers: [number, string, RegExp][] = [
      [200, "receiver.verifies problem", /takes a sample with a wrong signature \(200\): anybody could send/],
      [404, "receiver.reachable problem", /answers 404: nobody takes webhooks there/],
      [302, "receiver.reachable problem", /redirects are not followed/],
      [500, "receiver.reachable problem", /answers 500$/],
      [429, "receiver.verifies unknown", /says nothing of signatures/],
      [400, "receiver.verifies ok", /refuses a sample with a wrong signature \(400\)/],
    ];
    for (const [status, id, said] of answers) {
      d.receiver.answerWith(() => ({ status }));
      const [found] = await host.findings("receiver");
      assertEquals(ids([found!]), [id]);
      assertMatch(found!.summary, said);
    }
    const [, right] = await host.findings("receiver", {}, ["--webhook"]);
    assertMatch(right!.summary, /does not take a signed sample: it answers 400/);
    d.receiver.answerWith(() => "drop");
    assertMatch(
      (await host.findings("receiver"))[0]!.summary,
      /can't be reached: Cannot deliver: connection/,
    );
    // Longer than it is waited for, and still within the check's own time. A cold start takes as long as that.
    d.receiver.answerWith(() => "hang");
    const [late] = await host.findings("receiver");
    assertEquals(late!.status, "unknown");
    assertMatch(late!.summary, /gave no answer within 4 s: it is slow, or not reached$/);
  }));

test("doctor says so where no receiver is configured, or no daemon there to send", () =>
  withHost(async (host) => {
    await host.configure("webhook_url:");
    assertEquals(ids(await host.findings("receiver")), ["receiver.reachable skipped"]);
    await host.configure();
    const [skipped] = await host.findings("receiver");
    assertEquals([skipped!.status, skipped!.remedy], ["skipped", "`systemctl start gomail`"]);
  }));

test("doctor compares the clock with the receiver's Date", () =>
  withDaemon({}, async (d) => {
    const host = await hostOf(d);
    const cases: [number, string, RegExp][] = [
      [0, "ok", /has the same time$/],
      [2 * 60_000, "notice", /the clock is (?:1[12]\d s|2 min) slow$/],
      [-2 * HOUR_MS, "problem", /the clock is 2 h fast: signatures of mail and webhooks are refused/],
    ];
    for (const [aheadMs, status, said] of cases) {
      d.receiver.answerWith(() => {
        return { status: 401, headers: { date: new Date(Date.now() + aheadMs).toUTCString() } };
      });
      const found = (await host.findings("clock")).filter(({ id }) => id === "clock.difference");
      assertEquals(found.map((finding) => finding.status), [status]);
      assertMatch(found[0]!.summary, said);
    }
  }));

/** A time server (RFC 4330 5) that is so far ahead, and does as `change` says. */
async function withTimeServer(
  { aheadMs = 0, change = () => {}, address = "127.0.0.1" }: {
    aheadMs?: number;
    change?: (answer: DataView) => void;
    address?: "127.0.0.1" | "::1";
  },
  use: (place: string) => Promise<void>,
): Promise<void> {
  const socket = dgram.createSocket(address === "::1" ? "udp6" : "udp4");
  socket.on("message", (asked: Uint8Array, from: { address: string; port: number }) => {
    const answer = new DataView(new ArrayBuffer(48));
    answer.setUint8(0, 0x24);
    answer.setUint8(1, 2);
    for (let i = 0; i < 8; i++) answer.setUint8(24 + i, asked[40 + i]!);
    const now = Date.now() + aheadMs + 2_208_988_800_000;
    for (const at of [32, 40]) {
      answer.setUint32(at, Math.floor(now / 1000));
      answer.setUint32(at + 4, Math.floor(now % 1000 / 1000 * 2 ** 32));
    }
    change(answer);
    socket.send(new Uint8Array(answer.buffer), from.port, from.address);
  });
  await new Promise<void>((resolve) => socket.bind(0, address, resolve));
  try {
    await use(`${address === "::1" ? "[::1]" : address}:${socket.address().port}`);
  } finally {
    await new Promise<void>((resolve) => socket.close(() => resolve()));
  }
}

test("doctor --ntp asks the named time server, and believes only a proper answer", () =>
  withHost(async (host) => {
    const ask = async (place: string) =>
      (await host.findings("clock", {}, ["--ntp", place])).filter(({ id }) => id === "clock.difference")[0]!;
    const cases: [Parameters<typeof withTimeServer>[0], string, RegExp][] = [
      [{}, "ok", /has the same time/],
      [{ aheadMs: 6 * 60_000 }, "problem", /the clock is 6 min slow/],
      [{ aheadMs: -90_000 }, "notice", /the clock is (?:89|90) s fast/],
      [{ change: (answer) => answer.setUint8(0, 0xe4) }, "unknown", /its own clock is not set/],
      [{ change: (answer) => answer.setUint8(1, 0) }, "unknown", /it sends us away/],
      [{ change: (answer) => answer.setUint32(24, 0) }, "unknown", /to another question/],
      [{ change: (answer) => answer.setUint8(0, 0x23) }, "unknown", /no SNTP/],
    ];
    for (const [server, status, said] of cases) {
      await withTimeServer(server, async (place) => {
        const found = await ask(place);
        assertEquals(found.status, status, found.summary);
        assertMatch(found.summary, said);
      });
    }
    assertMatch((await ask("none.test")).summary, /its name can't be resolved/);
    // A name whose other address leads nowhere from here: the one of IPv4, which comes first, answers nothing.
    await withTimeServer({ address: "::1" }, async (place) => {
      host.zone.set("clock.test", { A: ["127.0.0.9"], AAAA: ["::1"] });
      assertEquals((await ask(place.replace("[::1]", "clock.test"))).status, "ok");
    });
  }));

test("doctor calls the configured smarthost, and nobody for direct mail but who is named or ours", () =>
  withHost(async (host) => {
    const out = async (...args: string[]) =>
      brief(await host.findings("port25.out", {}, args))[0]!.replace(/\d{4,5}/, "N");
    const server = { hostname: "127.0.0.1", port: 0 };
    await withServer(server, "220 relay.test ESMTP\r\n", async (port) => {
      await host.configure(`outbound_smarthost: 127.0.0.1:${port}`);
      assertEquals(await out(), "ok: outbound_smarthost 127.0.0.1:N greets us");
      await host.configure("outbound_transport: direct");
      assertMatch(await out(), /^skipped: .*can't be told without calling another mail host/);
      assertEquals(await out("--probe", `127.0.0.1:${port}`), "ok: port N of 127.0.0.1 greets us");
    });
    await withServer(server, "554 go away\r\n", async (port) => {
      await host.configure(`outbound_smarthost: 127.0.0.1:${port}`);
      assertMatch(await out(), /^problem: .* is no mail server that greets us: 554 go away$/);
    });
    await withServer(server, "", async (port) => {
      await host.configure(`outbound_smarthost: 127.0.0.1:${port}`);
      assertMatch(await out(), /^problem: .* says nothing$/);
    });
    await host.configure(`outbound_smarthost: 127.0.0.1:${freePort()}`);
    assertMatch(await out(), /^problem: .* refuses the connection$/);
    await host.configure("outbound_smarthost: none.test:25");
    assertMatch(await out(), /^problem: .*its name has no address now$/);
    assertMatch(await out("--probe", "none.test"), /^unknown: none\.test has no address/);
    assertMatch(await out("--probe", `127.0.0.1:${freePort()}`), /^problem: .* refuses the connection$/);
    // Names lead to private addresses only where somebody typed them.
    await host.configure("outbound_transport: direct");
    host.zone.set("example.com", { MX: [{ exchange: "backup.test", priority: 20 }] });
    host.zone.set("backup.test", { A: ["127.0.0.1"] });
    assertMatch(await out(), /^skipped: /);
    const [inwards] = await host.findings("port25.in");
    assertEquals([inwards!.status, inwards!.remedy], [
      "skipped",
      "from another network: `nc -vz mail.example.com 25`",
    ]);
  }));

test("doctor does not call port 25 closed where a host is slow to greet, or turns us away", () =>
  withHost(async (host) => {
    const out = async (port: number) =>
      brief(await host.findings("port25.out", {}, ["--probe", `127.0.0.1:${port}`]))[0]!;
    const server = { hostname: "127.0.0.1", port: 0 };
    await withServer(server, "", async (port) => {
      assertMatch(await out(port), /^unknown: .* takes the connection, and does not greet us within 4 s$/);
    });
    await withServer(server, "554 5.7.1 You are listed\r\n", async (port) => {
      assertMatch(await out(port), /^notice: .* is open, and does not greet us: 554 5\.7\.1 You are listed$/);
    });
  }));

test("doctor calls a host by both its kinds of address, since this one may have a way to one alone", () =>
  withHost(async (host) => {
    const refused = "127.0.0.9";
    await withServer({ hostname: "::1", port: 0 }, "220 six.test ESMTP\r\n", async (port) => {
      host.zone.set("six.test", { A: [refused], AAAA: ["::1"] });
      const found = await host.findings("port25.out", {}, ["--probe", `six.test:${port}`]);
      assertEquals(brief(found), [`ok: port ${port} of six.test greets us`]);
      await host.configure(`outbound_smarthost: six.test:${port}`);
      const through = await host.findings("port25.out");
      assertEquals(brief(through), [`ok: outbound_smarthost six.test:${port} greets us`]);
    });
  }));

test("doctor sees webhooks that wait for long and dead letters, in a real queue", () =>
  withDaemon({ webhook_url: "http://127.0.0.1:9/" }, async (d) => {
    const host = await hostOf(d);
    await d.send();
    await until(async () => (await d.jobs())[0]?.attempts > 0, "the first attempt");
    assertEquals(ids(await host.findings("queue")), [
      "queue.webhook_age ok",
      "queue.dead ok",
      "queue.smtp_age ok",
    ]);
  }));

const job = (more: Record<string, unknown>) => ({
  attempts: 3,
  due_at: new Date(Date.now() + HOUR_MS).toISOString(),
  last_error: "Receiver answered 500",
  ...more,
});

/** A daemon that is well, and whose queue has `items` for the query that `matches`. */
const queueOf = (matches: RegExp, items: unknown[], next: string | null = null) => ({ path }: Asked) =>
  Response.json(
    path === "/health"
      ? { version: VERSION, uptime: 1, checks: {} }
      : { items: matches.test(decodeURIComponent(path)) ? items : [], next_cursor: next },
  );

test("doctor judges the queue by age, carrier and state; what is to be sent later is not late", () =>
  withHost(async (host) => {
    const overdue = job({ due_at: new Date(Date.now() - HOUR_MS).toISOString() });
    const cases: [RegExp, unknown[], string[]][] = [
      [/webhook.*pending.*=10m/, [job({})], ["webhook_age notice"]],
      [/webhook.*pending.*=1h/, [job({})], ["webhook_age problem"]],
      [/webhook.*pending.*=1d/, [overdue], ["webhook_age problem", "webhook_overdue problem"]],
      [/smtp.*pending.*=4h/, [job({})], ["smtp_age notice"]],
      [/smtp.*pending.*=1d/, [job({ attempts: 0 })], []],
      [/webhook.*=dead/, [job({}), job({})], ["dead problem"]],
      [/state=held/, [job({})], ["held notice"]],
    ];
    for (const [matches, items, expected] of cases) {
      await withFakeDaemon(queueOf(matches, items), async ({ socket, asked }) => {
        await host.configure(`control_socket: ${socket}`);
        const bad = (await host.findings("queue")).filter(({ status }) => status !== "ok");
        assertEquals(ids(bad), expected.map((id) => `queue.${id}`));
        // It looks, and does nothing.
        assert(asked.every(({ method }) => method === "GET"));
        if (expected[0] === "dead problem") {
          assertEquals(bad[0]!.summary, "2 dead letters that no app got, for example: Receiver answered 500");
        }
      });
    }
    await withFakeDaemon(queueOf(/webhook.*=dead/, [job({})], "more"), async ({ socket }) => {
      await host.configure(`control_socket: ${socket}`);
      assertMatch((await host.findings("queue.dead"))[0]!.summary, /^1 or more dead letters/);
    });
  }));

test("doctor sees mail that is stuck behind pages of mail to be sent later, and does not look for ever", () =>
  withHost(async (host) => {
    const later = Array(500).fill(job({ attempts: 0 }));
    const stuck = job({ attempts: 0, due_at: new Date(Date.now() - HOUR_MS).toISOString() });
    const cases: [number, string[]][] = [
      [1, ["queue.smtp_age notice", "queue.smtp_overdue problem"]],
      [19, ["queue.smtp_age notice", "queue.smtp_overdue problem"]],
      [20, ["queue.smtp_age unknown"]],
    ];
    for (const [pages, expected] of cases) {
      const answer = (asked: Asked) => {
        const { pathname, searchParams } = new URL(asked.path, "http://daemon");
        const isSmtp = searchParams.get("carrier") === "smtp";
        if (pathname === "/health" || !isSmtp) return queueOf(/^$/, [])(asked);
        const page = Number(searchParams.get("cursor") ?? 0);
        return page < pages
          ? Response.json({ items: later, next_cursor: String(page + 1) })
          : Response.json({ items: [stuck], next_cursor: null });
      };
      await withFakeDaemon(answer, async ({ socket, asked }) => {
        await host.configure(`control_socket: ${socket}`);
        const bad = (await host.findings("queue")).filter(({ status }) => status !== "ok");
        assertEquals(ids(bad), expected);
        assert(asked.length < 50, `asked ${asked.length} times`);
        if (pages > 1) return;
        assertEquals(
          bad[0]!.summary,
          "1 outgoing mail owed for more than 1d, for example: Receiver answered 500",
        );
      });
    }
  }));

test("doctor knows the daemon's DKIM keys, and asks about domains that were added to it", () =>
  withDaemon({ mail_hostname: "mail.example.com" }, async (d) => {
    const host = await hostOf(d);
    const post = (path: string, body: unknown) =>
      d.api(path, {
        method: "POST",
        headers: { "content-type": "application/json" },
        body: JSON.stringify(body),
      });
    await post("/v1/domains", { domain: "added.test" });
    const found = await host.findings("dns");
    const dkim = found.filter(({ id }) => id === "dns.dkim").map(({ summary }) => summary.split(":")[0]);
    assertEquals([...new Set(dkim)], ["example.com", "added.test"]);
    assertEquals(found.filter(({ id }) => id === "dns.ptr"), []);
  }));

test("doctor finds secrets and sockets that are open to other users", () =>
  withHost(async (host) => {
    const data = `${host.dir}/data`;
    await Deno.mkdir(`${data}/dkim/example.com`, { recursive: true, mode: 0o700 });
    const key = `${data}/dkim/example.com/a.pem`;
    await Deno.writeTextFile(key, "", { mode: 0o600 });
    await Deno.writeTextFile(`${data}/webhook_secret`, "", { mode: 0o600 });
    await Deno.writeTextFile(`${host.dir}/tls.key`, "", { mode: 0o600 });
    await host.configure(`tls_key_file: ${host.dir}/tls.key`);
    assertEquals(ids(await host.findings("files")), ["files.modes ok"]);
    await Deno.chmod(`${data}/webhook_secret`, 0o644);
    await Deno.chmod(key, 0o644);
    // Nobody gets in there.
    assertEquals(ids(await host.findings("files")), ["files.modes ok"]);
    await Deno.chmod(data, 0o711);
    await Deno.chmod(`${host.dir}/tls.key`, 0o604);
    const socket = Deno.listen({ transport: "unix", path: `${host.dir}/gomail.sock` });
    await Deno.chmod(`${host.dir}/gomail.sock`, 0o666);
    const open = await host.findings("files");
    socket.close();
    assertEquals(ids(open), [
      "files.data_dir notice",
      "files.secrets problem",
      "files.dkim problem",
      "files.keys problem",
      "files.control_socket problem",
    ]);
    assertEquals(open[2]!.remedy, `\`chmod o-rwx ${key}\``);
    assertStringIncludes(open[4]!.summary, "has mode 0666: every user of this host may do everything");
  }));
