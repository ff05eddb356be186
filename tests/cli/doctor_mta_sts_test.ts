/** `doctor` on our own MTA-STS policy, fetched over real TLS: what senders would make of it. */

import { assertEquals, assertMatch } from "@std/assert";
import https from "node:https";
import type { AddressInfo } from "node:net";
import { systemClock } from "../../src/base/clock.ts";
import { createResolver } from "../../src/base/resolver.ts";
import { type Finding, runChecks, type Subject } from "../../src/cli/doctor/check.ts";
import { mtaStsCheck } from "../../src/cli/doctor/mta_sts.ts";
import { upkeepOf } from "../../src/cli/doctor/upkeep.ts";
import { startZoneServer, type ZoneServer } from "../../src/cli/demo/zone_server.ts";
import { type Config, configOf } from "../../src/config/schema.ts";
import { makeCertificate } from "../support/certificates.ts";
import { test } from "../support/test.ts";

const TXT = "_mta-sts.example.com";
const POLICY = "version: STSv1\nmode: enforce\nmx: mail.example.com\nmax_age: 604800\n";

interface Web {
  zone: ZoneServer;
  answer: { status: number; type: string; body: string };
  look(values?: Partial<Config>): Promise<Finding[]>;
}

/** A domain with a policy, and the web server that has it. */
async function withPolicy(
  fn: (web: Web) => Promise<void>,
  certificateOf = "mta-sts.example.com",
): Promise<void> {
  const pair = await makeCertificate(certificateOf);
  const zone = await startZoneServer({
    records: {
      [TXT]: { TXT: ["v=STSv1; id=1;"] },
      "mta-sts.example.com": { A: ["127.0.0.1"] },
      "example.com": { MX: [{ exchange: "mail.example.com", priority: 10 }] },
    },
  });
  const answer = { status: 200, type: "text/plain", body: POLICY };
  const server = https.createServer({ cert: pair.cert, key: pair.key }, (_, response) => {
    response.writeHead(answer.status, { "content-type": answer.type, connection: "close" });
    response.end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port: httpsPort } = server.address() as AddressInfo;
  const look = async (values: Partial<Config> = {}) => {
    const resolver = createResolver({ servers: [zone.address], timeoutMs: 1000, clock: systemClock });
    const base = { ...configOf(), outbound_allow_private: true, tls_cert_file: "/x.pem" };
    const config = { ...base, ...values };
    const upkeep = upkeepOf(true);
    const subject = { config, upkeep, resolver, clock: systemClock } as unknown as Subject;
    const check = mtaStsCheck("example.com", { ca: [pair.cert], httpsPort });
    try {
      return await runChecks([check], subject, new AbortController());
    } finally {
      resolver.close();
    }
  };
  try {
    await fn({ zone, answer, look });
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()));
    await zone.close();
  }
}

const brief = (found: readonly Finding[]) => found.map(({ id, status }) => `${id} ${status}`);

test("doctor finds an MTA-STS policy that fits in order, and none no fault", () =>
  withPolicy(async ({ zone, look }) => {
    const [fine] = await look();
    assertEquals([fine!.status, fine!.summary], ["ok", "example.com: MTA-STS policy with mode enforce"]);
    zone.remove(TXT);
    assertEquals(brief(await look()), ["mta_sts.policy skipped"]);
  }));

test("doctor finds what makes senders that hold to a policy keep our mail", () =>
  withPolicy(async ({ zone, answer, look }) => {
    zone.set("example.com", {
      MX: [{ exchange: "mail.example.com", priority: 10 }, { exchange: "b.example.com", priority: 20 }],
    });
    const [missing] = await look();
    assertEquals(missing!.id, "mta_sts.mx");
    assertMatch(missing!.summary, /does not name b\.example\.com, an MX: senders do not deliver there/);
    answer.body = POLICY.replace("mail.example.com", "*.example.com");
    assertEquals(brief(await look()), ["mta_sts.policy ok"]);
    answer.body = POLICY.replace("enforce", "testing");
    assertEquals(brief(await look()), ["mta_sts.mx notice"]);
    answer.body = POLICY.replace("enforce", "none");
    assertEquals(brief(await look()), ["mta_sts.policy ok"]);
    answer.body = POLICY.replace("mail.example.com", "*.example.com").replace("604800", "60");
    assertEquals(brief(await look()), ["mta_sts.age notice", "mta_sts.policy ok"]);
    answer.body = POLICY.replace("mail.example.com", "*.example.com");
    const unsigned = await look({ tls_cert_file: undefined } as unknown as Partial<Config>);
    assertEquals(brief(unsigned), ["mta_sts.certificate problem", "mta_sts.policy ok"]);
  }));

test("doctor tells why a policy can't be had: wrong record, status, type, text", () =>
  withPolicy(async ({ zone, answer, look }) => {
    const cases: [Partial<typeof answer>, RegExp][] = [
      [{ status: 404 }, /can't be had: status 404/],
      [{ status: 301 }, /status 301/],
      [{ type: "text/html" }, /not text\/plain/],
      [{ body: "version: STSv2\n" }, /its version is not STSv1/],
      [{ body: POLICY.replace("enforce", "strict") }, /its mode is unknown/],
      [{ body: "x".repeat(100_000) }, /too long/],
    ];
    for (const [change, said] of cases) {
      Object.assign(answer, { status: 200, type: "text/plain", body: POLICY }, change);
      const [found] = await look();
      assertEquals([found!.id, found!.status], ["mta_sts.file", "problem"]);
      assertMatch(found!.summary, said);
    }
    zone.set(TXT, { TXT: ["v=STSv1; id=1;", "v=STSv1; id=2;"] });
    assertMatch((await look())[0]!.summary, /has more than one record: no policy/);
    zone.set(TXT, { TXT: ["v=STSv1; id=not good;"] });
    assertMatch((await look())[0]!.summary, /has a wrong record: no policy/);
    zone.behave(TXT, { rcode: "SERVFAIL" });
    assertEquals(brief(await look()), ["mta_sts.policy unknown"]);
  }));

test("doctor does not call a policy server on a private address, and says that this is all it knows", () =>
  withPolicy(async ({ look }) => {
    const [found] = await look({ outbound_allow_private: false });
    assertEquals([found!.id, found!.status], ["mta_sts.file", "unknown"]);
    assertMatch(found!.summary, /private address \(see outbound_allow_private\)/);
  }));

test("doctor holds a policy server to its name in the certificate", () =>
  withPolicy(async ({ look }) => {
    assertEquals(brief(await look()), ["mta_sts.file problem"]);
  }, "www.example.com"));
