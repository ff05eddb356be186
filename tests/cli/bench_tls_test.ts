/** `gomail bench` and STARTTLS: taken where it is offered, required, verified or left, and never tricked. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { makeCertificate } from "../support/certificates.ts";
import { type FakeMxOptions, startFakeMx } from "../support/fake_mx.ts";
import { type ConfigValues, payloadOf, type TestDaemon, withDaemon } from "../support/harness.ts";
import { test, withTempDir } from "../support/test.ts";
import { gomail, type Ran } from "./support.ts";

const TO = "inbox@example.com";
const SHORT = "--rate 10/s --duration 1s --connections 2";
const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const pair = await makeCertificate("localhost");

const envOf = (controlSocket: string): Record<string, string> => ({
  MAIL_CONFIG: "/dev/null",
  MAIL_CONTROL_SOCKET: controlSocket,
  MAIL_PRIMARY_DOMAIN: "example.com",
  MAIL_METRICS_ENABLED: "false",
});

const benchOn = (d: TestDaemon, args: string): Promise<Ran> =>
  gomail(`bench ${d.daemon.addresses.smtp[0]} --to ${TO} ${SHORT} ${args}`, {
    env: envOf(`${d.dir}/gomail.sock`),
  });

/** A daemon with a certificate of an operator's own making, for localhost. */
function withCertificate(
  values: ConfigValues,
  use: (d: TestDaemon, certificateFile: string) => Promise<void>,
): Promise<void> {
  return withTempDir(async (dir) => {
    const [tls_cert_file, tls_key_file] = [`${dir}/cert.pem`, `${dir}/key.pem`];
    await Deno.writeTextFile(tls_cert_file, pair.cert);
    await Deno.writeTextFile(tls_key_file, pair.key, { mode: 0o600 });
    await withDaemon({ tls_cert_file, tls_key_file, ...values }, (d) => use(d, tls_cert_file));
  });
}

async function withServer(
  options: FakeMxOptions,
  use: (server: Awaited<ReturnType<typeof startFakeMx>>, bench: (args: string) => Promise<Ran>) => Promise<
    void
  >,
): Promise<void> {
  const server = await startFakeMx(options);
  try {
    const at = `${server.host}:${server.port}`;
    const env = envOf("/nonexistent/gomail.sock");
    await use(server, (args) => gomail(`bench ${at} --to ${TO} ${SHORT} ${args}`, { env }));
  } finally {
    await server.close();
  }
}

const stored = async (d: TestDaemon): Promise<unknown[]> => (await d.api("/v1/messages")).json.items;

test("bench takes STARTTLS where it is offered, so that a host that requires it can be measured", () =>
  withCertificate({ starttls_required: true }, async (d) => {
    const ran = await benchOn(d, "--json");
    assertEquals(ran.code, 0, ran.err);
    const { facts, connections, mails, receiver } = JSON.parse(ran.out);
    assertEquals([mails.accepted, receiver.arrived, receiver.lost], [10, 10, 0]);
    assertEquals(connections.map(({ count }: { count: number }) => count), [2]);
    assertMatch(connections[0].tls, /^TLSv1\.3 TLS_[A-Z0-9_]+$/);
    assertEquals(facts.STARTTLS, "auto: where it is offered, certificate not checked");
    // By the host's own account as well.
    const versions = d.receiver.requests.map((request) => payloadOf(request).connection.tls?.version);
    assertEquals(new Set(versions), new Set(["TLSv1.3"]));
  }));

test("--tls off stays in the clear, which a host that requires TLS refuses before any mail", () =>
  withCertificate({ starttls_required: true }, async (d) => {
    const ran = await benchOn(d, "--tls off");
    assertEquals([ran.code, ran.out], [1, ""]);
    assertMatch(ran.err, /Cannot send to inbox@example\.com: the server said 530 5\.7\.0 /);
    assertEquals(await stored(d), []);
  }));

test("--tls require sends nothing to a host that has none, which --tls auto measures in the clear", () =>
  withDaemon({ tls_enabled: false }, async (d) => {
    const refused = await benchOn(d, "--tls require");
    assertEquals([refused.code, refused.out], [1, ""]);
    assertMatch(
      refused.err,
      /: the server does not offer TLS \(--tls auto takes it only where it is offered\)$/m,
    );
    assertEquals(await stored(d), []);
    const clear = await benchOn(d, "--tls auto");
    assertEquals(clear.code, 0, clear.err);
    assertMatch(clear.out, /^connections: 2 in the clear$/m);
  }));

test("--tls verify needs a certificate that is trusted, and for the name that was given", () =>
  withCertificate({}, async (d, certificateFile) => {
    const port = d.daemon.addresses.smtp[0]!.split(":").at(-1);
    const env = envOf(`${d.dir}/gomail.sock`);
    const args = `bench localhost:${port} --to ${TO} ${SHORT} --tls verify`.split(" ");
    const refused = await gomail(args, { env });
    assertEquals([refused.code, refused.out], [1, ""]);
    assertMatch(
      refused.err,
      /: STARTTLS: the certificate is not trusted \(--tls require takes any certificate\)$/m,
    );
    assertEquals(await stored(d), []);
    // Authorities are read when a process starts.
    const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-check", MAIN, ...args],
      env: { ...env, NODE_EXTRA_CA_CERTS: certificateFile },
    }).output();
    assertEquals(code, 0, new TextDecoder().decode(stderr));
    assertMatch(new TextDecoder().decode(stdout), /^connections: 2 by TLSv1\.3 /m);
    const address = await benchOn(d, "--tls verify");
    assertEquals(address.code, 2);
    assertMatch(address.err, /--tls verify needs a host's name/);
  }));

test("--report says how the connections were made", () =>
  withTempDir((dir) =>
    withServer({ tls: pair }, async (server, bench) => {
      const ran = await bench(`--report ${dir}/r.html`);
      assertEquals(ran.code, 0, ran.err);
      assertEquals(new Set(server.mails.map(({ tls }) => tls)), new Set([true]));
      const html = await Deno.readTextFile(`${dir}/r.html`);
      assertMatch(html, /<td>connections<\/td><td>2 by TLSv1\.3 /);
      assertStringIncludes(html, "<td>STARTTLS</td><td>auto: where it is offered");
    })
  ));

const OFFERED = ["PIPELINING", "8BITMIME", "STARTTLS"];

test("words slipped in behind the answer to STARTTLS end bench, and nothing goes in the clear", () =>
  withServer(
    { keywords: OFFERED, on: (line) => line === "STARTTLS" ? "220 Go\r\n250 injected" : undefined },
    async (server, bench) => {
      for (const mode of ["auto", "require"]) {
        const ran = await bench(`--tls ${mode}`);
        assertEquals([ran.code, ran.out], [1, ""]);
        assertMatch(ran.err, /: STARTTLS: text after the answer to STARTTLS \(/);
      }
      assertEquals(server.lines, Array(2).fill(["EHLO bench.invalid", "STARTTLS"]).flat());
    },
  ));

test("a handshake that fails is told, and not gone round in the clear", () =>
  withServer(
    { keywords: OFFERED, on: (line) => line === "STARTTLS" ? { say: "220 Go", then: "garbage" } : undefined },
    async (server, bench) => {
      const ran = await bench("");
      assertEquals([ran.code, ran.out], [1, ""]);
      assertMatch(ran.err, /: STARTTLS: .+ \(--tls off sends in the clear\)$/m);
      assertEquals(server.mails, []);
      assertEquals((await bench("--tls off")).code, 0);
      assertEquals(server.mails.length, 10);
    },
  ));

test("STARTTLS that is offered and not given now is done without, unless it is required", () =>
  withServer(
    { keywords: OFFERED, on: (line) => line === "STARTTLS" ? "454 4.7.0 Not now" : undefined },
    async (server, bench) => {
      assertMatch((await bench("--tls require")).err, /: the server does not offer TLS \(/);
      assertEquals(server.mails, []);
      assertEquals((await bench("")).code, 0);
      assertEquals(server.mails.length, 10);
    },
  ));
