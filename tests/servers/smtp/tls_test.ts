/** STARTTLS for real: handshakes good and bad, and the certificate's life on disk. */

import { assertEquals, assertMatch } from "@std/assert";
import { X509Certificate } from "node:crypto";
import { generate } from "selfsigned";
import { FakeClock } from "../../support/fake_clock.ts";
import { test, withTempDir } from "../../support/test.ts";
import type { SmtpConversation } from "../../support/smtp_conversation.ts";
import { SMTP_LIMITS } from "../../../src/servers/smtp/mod.ts";
import { type Harness, type HarnessOptions, metricValue, until, withDoor } from "./harness.ts";

function withTls(over: HarnessOptions, fn: (h: Harness, dir: string) => Promise<void>): Promise<void> {
  return withTempDir((data_dir) =>
    withDoor(
      { ...over, config: { tls_enabled: true, starttls_enabled: true, data_dir, ...over.config } },
      (h) => fn(h, data_dir),
    )
  );
}

async function greeted(h: Harness): Promise<SmtpConversation> {
  const client = await h.connect();
  await client.expect(/^220 /);
  await client.command("EHLO client.example", /STARTTLS/);
  return client;
}

async function pairFor(name: string, days = 365): Promise<{ cert: string; private: string }> {
  return await generate([{ name: "commonName", value: name }], {
    keyType: "ec",
    algorithm: "sha256",
    notBeforeDate: new Date(Date.UTC(2025, 0, 1)),
    notAfterDate: new Date(Date.UTC(2026, 0, 1) + days * 86_400_000),
  });
}

/** The common name of the certificate that a new connection gets. */
async function nameServed(h: Harness): Promise<string> {
  const client = await greeted(h);
  const secure = await client.startTls();
  const name = new X509Certificate(secure.getPeerX509Certificate()!.raw).subject;
  await client.close();
  return name.replace(/^CN=/, "");
}

test("a mail over STARTTLS carries version and cipher, and nothing from before counts", () =>
  withTls({}, async (h) => {
    const client = await greeted(h);
    await client.command("MAIL FROM:<>", /^250/);
    await client.startTls();
    await client.command("RCPT TO:<bob@example.com>", /^503 /);
    const hello = await client.command("EHLO client.example", /^250/);
    assertEquals(hello.includes("STARTTLS"), false);
    await client.command("STARTTLS", /^503 /);
    await client.mail("Subject: x\r\n\r\n" + "secret\r\n".repeat(20_000));
    const { tls } = h.flow.mails[0]!.submission.connection;
    assertEquals(tls?.version, "TLSv1.3");
    assertMatch(tls!.cipher, /^TLS_/);
    assertEquals(h.flow.mails[0]!.raw.length, 14 + 160_000);
    await client.command("QUIT", /^221 /);
    await client.expectClosed();
    await client.close();
    await until(() => h.door.activeCount === 0);
    assertEquals(await metricValue(h.metrics, 'gomail_tls_connections_total{version="TLSv1.3"}'), 1);
    assertEquals(await metricValue(h.metrics, "gomail_plaintext_connections_total"), 0);
  }));

test("TLS 1.2 is taken where the config says so, and refused where it says 1.3", async () => {
  await withTls({}, async (h) => {
    const client = await greeted(h);
    assertEquals((await client.startTls({ maxVersion: "TLSv1.2" })).getProtocol(), "TLSv1.2");
  });
  await withTls({ config: { tls_min_version: "1.3" } }, async (h) => {
    const client = await greeted(h);
    let failed = false;
    await client.startTls({ maxVersion: "TLSv1.2" }).catch(() => failed = true);
    assertEquals(failed, true);
    await until(async () => await metricValue(h.metrics, "gomail_tls_handshake_errors_total") === 1);
  });
});

test("garbage in place of a ClientHello ends that session only", () =>
  withTls({}, async (h) => {
    const client = await greeted(h);
    await client.command("STARTTLS", /^220 /);
    client.send("MAIL FROM:<evil@sender.example>\r\n");
    await client.expectClosed();
    assertEquals(await metricValue(h.metrics, "gomail_tls_handshake_errors_total"), 1);
    assertMatch(h.log(), /TLS handshake failed/);
    await greeted(h);
  }));

test("a client that goes in the middle of the handshake leaves no session behind", () =>
  withTls({}, async (h) => {
    // The first bytes of a ClientHello, for those that get as far as that.
    for (const said of [[], [0x16, 3, 1, 2, 0, 1, 0, 1]]) {
      const client = await greeted(h);
      await client.command("STARTTLS", /^220 /);
      if (said.length > 0) client.send(new Uint8Array(said));
      await client.close();
      await until(() => h.door.activeCount === 0);
    }
    assertEquals(await metricValue(h.metrics, "gomail_tls_handshake_errors_total"), 2);
  }));

test("plaintext behind STARTTLS in the same packet is refused", () =>
  withTls({}, async (h) => {
    const client = await greeted(h);
    client.send("STARTTLS\r\nRSET\r\n");
    await client.expect(/^501 5\.5\.1 /);
    assertEquals(await client.expectClosed(), "");
    assertMatch(h.log(), /starttls_injection/);
  }));

test("without a certificate a self-signed one is made, kept private, and used again", () =>
  withTls({}, async (h, dir) => {
    assertEquals(await nameServed(h), "mx.example.com");
    const key = `${dir}/tls/self-signed.key`;
    assertEquals((await Deno.stat(key)).mode! & 0o777, 0o600);
    assertEquals((await Deno.stat(`${dir}/tls`)).mode! & 0o777, 0o700);
    const before = await Deno.readTextFile(key);
    assertEquals(await h.door.reloadTls(), true);
    assertEquals(await Deno.readTextFile(key), before);
    assertMatch(h.log(), /self-signed certificate/);
    const expiry = await metricValue(h.metrics, "gomail_tls_certificate_expiry_timestamp_seconds");
    assertEquals(expiry > Date.now() / 1000, true);
    // A half-written pair, as a crash leaves it, is replaced.
    await Deno.writeTextFile(key, "broken");
    assertEquals(await h.door.reloadTls(), true);
    assertEquals((await Deno.readTextFile(key)).includes("PRIVATE KEY"), true);
  }));

test("a changed certificate is picked up, and a broken one leaves the old in use", () =>
  withTempDir(async (dir) => {
    const [tls_cert_file, tls_key_file] = [`${dir}/cert.pem`, `${dir}/key.pem`];
    const write = async (cert: string, key: string) => {
      await Deno.writeTextFile(tls_cert_file, cert);
      await Deno.writeTextFile(tls_key_file, key);
    };
    const [one, two] = [await pairFor("one.example"), await pairFor("second.example")];
    await write(one.cert, one.private);
    const clock = new FakeClock();
    await withTls({ clock, config: { tls_cert_file, tls_key_file } }, async (h) => {
      assertEquals(await nameServed(h), "one.example");
      await write(two.cert, two.private);
      await clock.advance(SMTP_LIMITS.tlsPollMs);
      await until(async () => await nameServed(h) === "second.example");
      for (
        const [cert, key, problem] of [
          [one.cert, two.private, /do not belong together/],
          ["nonsense", two.private, /not a PEM certificate/],
          [two.cert, "nonsense", /not a PEM key/],
        ] as const
      ) {
        await write(cert, key);
        assertEquals(await h.door.reloadTls(), false);
        assertMatch(h.door.tlsProblem()!, problem);
        // Mail comes in: it is no trouble of the listeners.
        assertEquals(h.door.problems(), []);
        assertEquals(await nameServed(h), "second.example");
      }
      await Deno.remove(tls_cert_file);
      assertEquals(await h.door.reloadTls(), false);
      await write(one.cert, one.private);
      assertEquals(await h.door.reloadTls(), true);
      assertEquals(h.door.tlsProblem(), null);
      assertEquals(await nameServed(h), "one.example");
      assertEquals(h.log().includes("PRIVATE KEY"), false);
    });
  }));

test("an expired certificate is used, with an error in the log", () =>
  withTempDir(async (dir) => {
    const { cert, private: key } = await pairFor("old.example", -10);
    const [tls_cert_file, tls_key_file] = [`${dir}/cert.pem`, `${dir}/key.pem`];
    await Deno.writeTextFile(tls_cert_file, cert);
    await Deno.writeTextFile(tls_key_file, key);
    await withTls({ config: { tls_cert_file, tls_key_file } }, async (h) => {
      assertEquals(await nameServed(h), "old.example");
      assertMatch(h.log(), /TLS certificate has expired/);
    });
  }));

test("switched off by a reload, STARTTLS is no longer offered", () =>
  withTls({}, async (h) => {
    h.config.tls_enabled = false;
    assertEquals(await h.door.reloadTls(), true);
    const client = await h.connect();
    await client.expect(/^220 /);
    assertEquals((await client.command("EHLO client.example", /^250/)).includes("STARTTLS"), false);
  }));
