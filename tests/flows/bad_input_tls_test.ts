/**
 * STARTTLS and what comes instead of a handshake, through the whole daemon (RFC 3207).
 *
 *  9 STARTTLS abuse (RFC 3207 4.2, RFC 5321 4.1.4)     501, 503; what was said before TLS is forgotten
 * 10 TLS garbage, stalls, TLS 1.0 and 1.1 (RFC 8996)   the handshake fails, the connection ends, no other does
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { makeCertificate } from "../support/certificates.ts";
import { plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { bytesOf, DOORS, stored } from "../support/hostile.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

test("9: STARTTLS takes nothing with it, neither what came before nor what stands behind it", () =>
  withDaemon(DOORS, async (d) => {
    // Extra bytes: a whole command, half a line, a byte, and a ClientHello that did not wait for the 220.
    for (const behind of ["RSET\r\n", "MAIL FR", "\0", "\r", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc"]) {
      const c = await d.smtp();
      c.send(bytesOf("STARTTLS\r\n" + behind));
      assertMatch(await c.expectClosed(), /^501 5\.5\.1 [^\n]*\r\n$/, JSON.stringify(behind));
      await c.close();
    }
    const c = await d.smtp();
    for (const parameters of ["now", "x=y", "<>", "\x7f"]) await c.command(`STARTTLS ${parameters}`, /^501 /);
    await c.command("MAIL FROM:<forgotten@sender.example>", /^250 /);
    await c.command("RCPT TO:<forgotten@example.com>", /^250 /);
    await c.startTls();
    // Hello, sender and recipients are forgotten; half a command from before is no beginning of the next.
    await c.command("DATA", /^503 /);
    await c.command("RCPT TO:<bob@example.com>", /^503 /);
    await c.command("MAIL FROM:<alice@sender.example>", /^503 /);
    await c.command("EHLO again.example", /^250-(?![^]*STARTTLS)/);
    await c.command("STARTTLS", /^503 /);
    await c.mail(plainMail());
    await c.close();
    await until(() => d.receiver.count > 0, "the webhook");
    const { sender, recipients, connection } = JSON.parse(
      new TextDecoder().decode(d.receiver.requests[0]!.body),
    );
    assertEquals([sender, recipients], ["alice@sender.example", ["bob@example.com"]]);
    assertEquals([connection.client_helo, connection.tls.version], ["again.example", "TLSv1.3"]);
    // Where it is not offered there is none.
    for (const door of ["proxy", "lmtp"] as const) {
      const other = await d.smtp(door);
      await other.command("STARTTLS", /^502 /);
      await other.close();
    }
    await d.reload({ tls_enabled: false });
    const without = await SmtpConversation.connect(d.daemon.addresses.smtp[0]!);
    await without.expect(/^220 /);
    await without.command("EHLO client.example", /^250-(?![^]*STARTTLS)/);
    await without.command("STARTTLS", /^502 /);
    await without.close();
  }));

/** A list with its length in front. */
const sized = (bytes: number[], width = 2): number[] => [
  ...Array.from({ length: width }, (_, i) => (bytes.length >> (8 * (width - 1 - i))) & 255),
  ...bytes,
];

/** A ClientHello as a client makes it that knows nothing newer than this version (RFC 5246 7.4.1.2, RFC 8422). */
function clientHello(minor: 1 | 2 | 3): Uint8Array {
  // ECDHE with AES in both kinds, and plain RSA; the last ones are all that TLS 1.0 and 1.1 know.
  const ciphers = [
    ...(minor === 3 ? [0xc0, 0x2b, 0xc0, 0x2f] : []),
    0xc0,
    0x09,
    0xc0,
    0x13,
    0,
    0x2f,
    0,
    0x35,
  ];
  const extension = (type: number, bytes: number[]) => [0, type, ...sized(bytes)];
  const extensions = [
    ...extension(10, sized([0, 29, 0, 23])),
    ...extension(11, sized([0], 1)),
    ...(minor === 3 ? extension(13, sized([4, 3, 8, 4, 4, 1])) : []),
    ...extension(23, []),
  ];
  const body = [3, minor, ...new Array(32).fill(7), 0, ...sized(ciphers), 1, 0, ...sized(extensions)];
  return new Uint8Array([22, 3, 1, ...sized([1, ...sized(body, 3)])]);
}

/** What the server says to these bytes where a ClientHello is due, until it ends or has said a whole record. */
async function handshake(d: TestDaemon, bytes: Uint8Array): Promise<Uint8Array> {
  const [hostname, port] = d.daemon.addresses.smtp[0]!.split(":");
  using connection = await Deno.connect({ hostname: hostname!, port: Number(port) });
  const buffer = new Uint8Array(65_536);
  const heard = async () => buffer.slice(0, await connection.read(buffer) ?? 0);
  await heard();
  for (const line of ["EHLO client.example\r\n", "STARTTLS\r\n"]) {
    await connection.write(bytesOf(line));
    await heard();
  }
  await connection.write(bytes);
  // A reset is an end as well.
  return await heard().catch(() => new Uint8Array());
}

const HANDSHAKE = 22;
const ALERT = 21;

test("10: TLS 1.0 and 1.1 are refused where the same client with TLS 1.2 is taken, and garbage is no handshake", () =>
  withDaemon({}, async (d) => {
    assertEquals((await handshake(d, clientHello(3)))[0], HANDSHAKE);
    for (const minor of [1, 2] as const) {
      const heard = await handshake(d, clientHello(minor));
      // A fatal alert, or nothing: never a ServerHello.
      assert(heard.length === 0 || (heard[0] === ALERT && heard[5] === 2), `TLS 1.${minor - 1}: ${heard}`);
    }
    const hello = clientHello(3);
    const garbage = [
      bytesOf("RSET\r\nMAIL FROM:<a@sender.example>\r\n"),
      bytesOf("\x80\x2e\x01\x00\x02".padEnd(60, "A")),
      new Uint8Array(20_000).fill(0x16),
      new Uint8Array([22, 3, 1, 0xff, 0xff, ...hello]),
      // A session id longer than the whole.
      new Uint8Array([...hello.subarray(0, 43), 0xff, ...hello.subarray(44)]),
    ];
    for (const bytes of garbage) {
      const heard = await handshake(d, bytes);
      assert(heard.length === 0 || heard[0] === ALERT, `${heard.subarray(0, 20)}`);
    }
    const failed = /^gomail_tls_handshake_errors_total (\d+)$/m;
    await until(async () => Number(failed.exec(await d.metrics())?.[1]) >= 7, "the failures to be counted");
    assertEquals(d.lines.filter((line) => line.level === "error"), []);
    await d.send();
    assertEquals(await stored(d), 1);
  }));

test("10: a handshake that stalls ends at its deadline, whatever part of it came", () =>
  withDaemon({}, async (d) => {
    const hello = clientHello(3);
    const stalled = await Promise.all([0, 1, 5, 40, hello.length].map(async (length) => {
      const c = await d.smtp();
      await c.command("STARTTLS", /^220 /);
      if (length > 0) c.send(hello.subarray(0, length));
      return c;
    }));
    // Meanwhile others are served.
    await d.send();
    for (const c of stalled) {
      assert(!/^\d\d\d /m.test(await c.expectClosed()));
      await c.close();
    }
    await until(
      async () => /^gomail_tls_handshake_errors_total 5$/m.test(await d.metrics()),
      "the failures to be counted",
    );
    await until(async () => /^gomail_active_connections 0$/m.test(await d.metrics()), "the sessions to end");
  }, { smtpLimits: { tlsHandshakeMs: 300 } }));

test("certificate files that can't be used are the check tls, while mail comes in as before", () =>
  withDaemon({}, async (d) => {
    const files = { tls_cert_file: `${d.dir}/cert.pem`, tls_key_file: `${d.dir}/key.pem` };
    await Deno.writeTextFile(files.tls_cert_file, (await makeCertificate("mx.example.com")).cert);
    await Deno.writeTextFile(files.tls_key_file, (await makeCertificate("mx.example.com")).key);
    await d.reload(files);
    // Health is kept for a second.
    await until(async () => (await d.api("/health")).json.status === "degraded", "the check to see it");
    const { checks } = (await d.api("/health")).json;
    assertEquals([checks.tls.status, checks.smtp.status], ["degraded", "ok"]);
    assertMatch(checks.tls.detail, /do not belong together$/);
    const c = await d.smtp();
    await c.startTls();
    await c.command("EHLO client.example", /^250/);
    await c.mail(plainMail());
    await c.close();
  }));
