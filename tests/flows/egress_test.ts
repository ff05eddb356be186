/**
 * What leaves the daemon by HTTP, webhooks and MTA-STS policies, and where it must not go: the whole daemon, real
 * DNS packets, receivers that mean ill. More spellings of private addresses are in bad_input_http_test.ts (50),
 * each range in tests/base/address_test.ts, the door by itself in tests/delivery/egress.
 */

import { assert, assertEquals } from "@std/assert";
import { startReceiver } from "../../src/cli/demo/receiver.ts";
import { DaemonProcess } from "../support/daemon_process.ts";
import { idOf, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { HOSTILE, type HostileWay, startHostileServer } from "../support/hostile_server.ts";
import { sendMail } from "../support/sending.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

const PRIVATE = "Cannot deliver: the host has a private address (see webhook_allow_private)";

/** A route of its own for each of these URLs, in order. */
const routesTo = (urls: string[]) => urls.map((url, i) => ({ match: `u${i}@example.com`, url }));

/** One mail to all of these routes; how each ended (its error, or else its state), by lane, once all have. */
async function endsOf(d: TestDaemon, routes: { match: string }[]): Promise<string[]> {
  const id = idOf(await d.send(plainMail(), { to: routes.map(({ match }) => match) }));
  const ends = async () => {
    const jobs = await d.jobs(id);
    return routes.map(({ match }) => {
      const job = jobs.find(({ lane }) => lane === match);
      return String(job?.last_error ?? job?.state);
    });
  };
  await until(async () => !(await ends()).some((end) => end === "pending"), "an end to each");
  return await ends();
}

/** By names that a stranger's DNS may give to anything. */
const ZONE = {
  "aws.example": { A: ["169.254.169.254"] },
  "aws6.example": { AAAA: ["fd00:ec2::254"] },
  "google6.example": { AAAA: ["fd20:ce::254"] },
  "alibaba.example": { A: ["100.100.100.200"] },
  "oracle.example": { A: ["192.0.0.192"] },
  "azure.example": { A: ["168.63.129.16"] },
  "mapped.example": { AAAA: ["::ffff:127.0.0.1"] },
  "mixed6.example": { A: ["93.184.215.14"], AAAA: ["::1"] },
  "alias.example": { CNAME: "aws.example" },
  "many.example": { A: [...Array.from({ length: 20 }, (_, i) => `93.184.215.${i + 1}`), "10.0.0.1"] },
};

const SPELLINGS = [
  "１２７.0.0.1",
  "127。0。0。1",
  "127.0.0.1.",
  "%31%32%37.0.0.1",
  "127.0.0.%31",
  "0x7f.0x0.0x0.0x1",
  "0X7F000001",
  "017700000001",
  "127.0.1",
  "127.1",
  "0",
  "LOCALHOST",
  "localhost.",
  "a.b.localhost",
  "loc%61lhost",
  "[0:0:0:0:0:0:0:1]",
  "[::ffff:7f00:1]",
  "[::127.0.0.1]",
  "[fe80::1]",
];

test("A webhook to this host or to a cloud's metadata is refused, however it is spelt or named", () =>
  withDaemon({ webhook_allow_private: false }, async (d) => {
    const hosts = [...SPELLINGS, ...Object.keys(ZONE)];
    const routes = routesTo(hosts.map((host) => `http://${host}:${d.receiver.port}/latest/meta-data/`));
    await d.reload({ routes });
    const ends = await endsOf(d, routes);
    assertEquals(hosts.map((host, i) => [host, ends[i]]), hosts.map((host) => [host, PRIVATE]));
    assertEquals(d.receiver.connections, 0);
  }, { zone: ZONE }));

test("A name that has no address, that DNS does not tell, or that can be none, is asked for again later", () => {
  const zone = { "empty.example": { TXT: ["x"] }, "sick.example": {} };
  return withDaemon({ webhook_allow_private: false }, async (d) => {
    d.zone.behave("sick.example", { rcode: "SERVFAIL" });
    const names = ["empty.example", "sick.example", "missing.example", `${"a".repeat(64)}.example`];
    const routes = routesTo(names.map((name) => `http://${name}/`));
    await d.reload({ routes });
    const text = "Cannot deliver: the host name can't be resolved now";
    assertEquals(await endsOf(d, routes), names.map(() => text));
  }, { zone });
});

test("A name is asked once, for the check and the connection: what it says after that gains nothing", async () => {
  const [checked, other] = [await startReceiver({ host: "127.0.0.2" }), await startReceiver()];
  const url = `http://rebind.example:${checked.port}/`;
  try {
    await withDaemon({ webhook_url: url }, async (d) => {
      await d.send();
      await checked.waitFor(1);
      // For whoever asks again.
      d.zone.set("rebind.example", { A: ["127.0.0.1"] });
      await d.send();
      await checked.waitFor(2);
      assertEquals([d.zone.queries("rebind.example", "A"), other.connections], [1, 0]);
    }, { zone: { "rebind.example": { A: ["127.0.0.2"] } } });
  } finally {
    await checked.close();
    await other.close();
  }
});

test("No status that points elsewhere leads there", async () => {
  const inner = await startReceiver();
  const statuses = [300, 301, 302, 303, 305, 307, 308];
  const headers = { location: inner.url, "content-location": inner.url, refresh: `0; url=${inner.url}` };
  const outer = await startReceiver({ answer: ({ path }) => ({ status: Number(path.slice(1)), headers }) });
  try {
    const routes = routesTo(statuses.map((status) => `http://127.0.0.1:${outer.port}/${status}`));
    await withDaemon({ routes }, async (d) => {
      const wanted = statuses.map((status) => `Receiver answered ${status}; redirects are not followed`);
      assertEquals(await endsOf(d, routes), wanted);
      assertEquals(inner.connections, 0);
    });
  } finally {
    await inner.close();
    await outer.close();
  }
});

const ANSWERS: Record<HostileWay, string> = {
  interim: "Cannot deliver: the answer is too long",
  continue: "Cannot deliver: the answer is too long",
  blankLines: "Cannot deliver: the answer is too long",
  headers: "Cannot deliver: the answer's headers are too long",
  emptyHeaders: "Cannot deliver: the answer's headers are too long",
  oneHeader: "Cannot deliver: the answer's headers are too long",
  reason: "Cannot deliver: the answer's headers are too long",
  lengths: "Cannot deliver: the answer is not HTTP",
  // A status of 200 is a delivery, whatever comes after.
  body: "delivered",
  chunkExtension: "delivered",
  trailers: "delivered",
};

test("Answers that never end are ended by a limit, long before the deadline, and the daemon goes on", async () => {
  const ways = Object.keys(ANSWERS) as HostileWay[];
  const bad = startHostileServer((path) => HOSTILE[path as HostileWay]);
  const routes = routesTo(ways.map((way) => `http://127.0.0.1:${bad.port}/${way}`));
  try {
    // Longer than any wait of this test.
    await withDaemon({ routes, webhook_timeout: "10m" }, async (d) => {
      const ends = await endsOf(d, routes);
      assertEquals(Object.fromEntries(ways.map((way, i) => [way, ends[i]])), ANSWERS);
      await bad.allEnded();
      await d.sendAndHear();
    });
  } finally {
    await bad.close();
  }
});

test("A compressed bomb is read as it comes, to the limit, and never unpacked", async () => {
  const zeros = new Blob([new Uint8Array(32 * 1024 * 1024)]).stream();
  const bomb = await new Response(zeros.pipeThrough(new CompressionStream("gzip"))).bytes();
  assert(bomb.length < 64 * 1024);
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen() {} },
    () => new Response(bomb, { headers: { "content-encoding": "gzip" } }),
  );
  try {
    await withDaemon({ webhook_url: `http://127.0.0.1:${server.addr.port}/` }, async (d) => {
      const id = idOf(await d.send());
      await until(async () => (await d.jobs(id))[0]?.state === "delivered", "the delivery");
      assertEquals((await d.jobs(id))[0].attempts, 1);
    });
  } finally {
    await server.shutdown();
  }
});

test("A domain's MTA-STS policy is not fetched from a private place, and its mail goes on without", async () => {
  const places: Record<string, { A?: string[]; AAAA?: string[] }> = {
    "loopback.example": { A: ["127.0.0.1"] },
    "metadata.example": { A: ["169.254.169.254"] },
    "mixed.example": { A: ["93.184.215.14", "10.0.0.1"] },
    "inner6.example": { AAAA: ["fd00:ec2::254"] },
    "azure.example": { A: ["168.63.129.16"] },
  };
  const domains = Object.keys(places);
  const zone = Object.fromEntries(domains.flatMap((domain) => [
    [`_mta-sts.${domain}`, { TXT: ["v=STSv1; id=1;"] }],
    [`mta-sts.${domain}`, places[domain]!],
    // Null MX: nobody is called for the mail itself.
    [domain, { MX: [{ exchange: ".", priority: 0 }] }],
  ]));
  await withDaemon({ outbound_transport: "direct", outbound_allow_private: false }, async (d) => {
    for (const domain of domains) await sendMail(d, { to: `ann@${domain}` });
    const said = () => d.lines.filter(({ msg }) => msg === "Cannot fetch an MTA-STS policy");
    await until(() => said().length >= domains.length, "a line for each domain");
    assertEquals(
      said().map(({ domain, reason }) => [domain, reason]).sort(),
      domains.map((domain) => [domain, "the host has a private address (see outbound_allow_private)"]).sort(),
    );
  }, { zone });
});

test("A proxy in the daemon's environment is not taken for webhooks", async () => {
  const [proxy, receiver] = [await startReceiver(), await startReceiver()];
  const env = { NODE_USE_ENV_PROXY: "1", HTTP_PROXY: proxy.url, http_proxy: proxy.url };
  try {
    await withTempDir(async (dir) => {
      const values = { webhook_url: receiver.url, disk_reserve: 0, tls_enabled: false };
      const daemon = await DaemonProcess.start(dir, values, { env });
      try {
        const c = await SmtpConversation.connect(daemon.addresses.smtp[0]!);
        await c.expect(/^220 /);
        await c.command("EHLO client.example", /^250[ -]/);
        await c.mail(plainMail());
        await c.close();
        await receiver.waitFor(1);
        assertEquals([receiver.count, proxy.connections], [1, 0]);
      } finally {
        await daemon.kill();
      }
    });
  } finally {
    await proxy.close();
    await receiver.close();
  }
});
