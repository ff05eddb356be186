/** Clients that are not ours: what they send arrives, in the clear and over STARTTLS. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import nodemailer from "nodemailer";
import { portOf } from "../support/daemon_process.ts";
import { idOf, plainMail, type TestDaemon, withDaemon } from "../support/harness.ts";
import { test, testIf } from "../support/test.ts";
import { until } from "../support/until.ts";

async function installed(command: string, ...args: string[]): Promise<boolean> {
  try {
    await new Deno.Command(command, { args, stdout: "null", stderr: "null" }).output();
    return true;
  } catch {
    return false;
  }
}

/** Its TLS needs a Perl module that is a package of its own. */
async function swaksKnowsTls(): Promise<boolean> {
  const { stdout } = await new Deno.Command("swaks", { args: ["--support"], stderr: "null" }).output();
  return new TextDecoder().decode(stdout).includes("TLS supported");
}

const hasOpenssl = await installed("openssl", "version");
const hasSwaks = await installed("swaks", "--version") && await swaksKnowsTls();

test("nodemailer sends an attachment and UTF-8 over STARTTLS, and the app gets them as they were", () =>
  withDaemon({}, async (d) => {
    const transport = nodemailer.createTransport({
      host: "127.0.0.1",
      port: portOf(d.daemon.addresses.smtp[0]),
      requireTLS: true,
      tls: { rejectUnauthorized: false },
    });
    const pdf = crypto.getRandomValues(new Uint8Array(50_000));
    const info = await transport.sendMail({
      from: "Älice <alice@sender.example>",
      to: "bob@example.com",
      subject: "Grüße aus Zürich ✉",
      text: "Schöne Grüße.\n.\n..\nEnde.",
      html: "<p>Schöne Grüße</p>",
      attachments: [{ filename: "Rechnung Nº 5.pdf", content: pdf as never, contentType: "application/pdf" }],
    });
    transport.close();
    const payload = await d.payload(idOf(info.response));
    assertEquals(payload.subject, "Grüße aus Zürich ✉");
    assertEquals(payload.text?.trimEnd().replaceAll("\r\n", "\n"), "Schöne Grüße.\n.\n..\nEnde.");
    const [attachment] = payload.attachments;
    assertEquals([attachment!.filename, attachment!.size], ["Rechnung Nº 5.pdf", pdf.length]);
    assertEquals(Uint8Array.fromBase64(attachment!.content_base64!), pdf);
    assertMatch(payload.connection.tls!.version, /^TLSv1\.[23]$/);
    const bytes = (await d.api(`/v1/messages/${payload.id}/attachments/0`)).bytes;
    assertEquals(bytes, pdf);
  }));

test("STARTTLS works with a client that waits before its ClientHello", () =>
  withDaemon({}, async (d) => {
    for (const waitMs of [0, 20, 200]) {
      const c = await d.smtp();
      await c.command("STARTTLS", /^220 /);
      await new Promise((go) => setTimeout(go, waitMs));
      await c.upgrade();
      await c.command("EHLO client.example", /^250[ -]/);
      const payload = await d.payload(idOf(await c.mail(plainMail())));
      assertMatch(payload.connection.tls!.version, /^TLSv1\.[23]$/);
      await c.close();
    }
  }));

/** A conversation through `openssl s_client`, as a person types it. */
async function throughOpenssl(d: TestDaemon, ...args: string[]): Promise<string> {
  const port = portOf(d.daemon.addresses.smtp[0]);
  const child = new Deno.Command("openssl", {
    args: ["s_client", "-connect", `127.0.0.1:${port}`, "-starttls", "smtp", "-quiet", "-crlf", ...args],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const writer = child.stdin.getWriter();
  let said = "";
  const reading = (async () => {
    for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) said += text;
  })();
  const steps: [string, RegExp][] = [
    ["EHLO client.example", /^250 \S+\s*$/m],
    ["MAIL FROM:<alice@sender.example>", /^250 2\.1\.0/m],
    ["rcpt to:<bob@example.com>", /^250 2\.1\.5/m],
    ["DATA", /^354 /m],
    ["From: alice@sender.example\nSubject: By hand\n\nHello.\n.", /^250 2\.0\.0 .*queued/m],
    ["quit", /^221 /m],
  ];
  // The first reply after the handshake is the last of the EHLO that openssl says by itself.
  try {
    for (const [line, wanted] of steps) {
      await writer.write(new TextEncoder().encode(line + "\n"));
      await until(() => wanted.test(said), `${wanted} from openssl; had ${JSON.stringify(said)}`);
    }
  } finally {
    // It ends by itself after QUIT; otherwise it is told to.
    await writer.close().catch(() => {
      // It has ended.
    });
    try {
      child.kill();
    } catch {
      // It has ended.
    }
    await child.status;
    await reading;
  }
  return said;
}

testIf(
  hasOpenssl,
  "openssl is not installed",
  "STARTTLS works with openssl s_client, TLS 1.2 and 1.3",
  () =>
    withDaemon({}, async (d) => {
      for (const [flag, version] of [["-tls1_2", "TLSv1.2"], ["-tls1_3", "TLSv1.3"]] as const) {
        const payload = await d.payload(idOf(await throughOpenssl(d, flag)));
        assertEquals(payload.connection.tls?.version, version);
      }
    }),
);

testIf(
  hasSwaks,
  "swaks with TLS is not installed",
  "swaks delivers, in the clear and with --tls",
  () =>
    withDaemon({}, async (d) => {
      for (const [i, tls] of [[], ["--tls"]].entries()) {
        const { success, stdout, stderr } = await new Deno.Command("swaks", {
          args: [
            ...["--server", "127.0.0.1", "--port", String(portOf(d.daemon.addresses.smtp[0]))],
            ...["--from", "alice@sender.example", "--to", "bob@example.com,carol@example.com"],
            ...["--helo", "client.example", "--header", "Subject: From swaks", ...tls],
          ],
        }).output();
        assert(success, new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr));
        await d.receiver.waitFor(i + 1);
        const payload = JSON.parse(new TextDecoder().decode(d.receiver.requests[i]!.body));
        assertEquals(payload.subject, "From swaks");
        assertEquals(payload.recipients, ["bob@example.com", "carol@example.com"]);
        assertEquals(payload.connection.tls !== null, tls.length > 0);
      }
    }),
);
