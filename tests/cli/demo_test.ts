/**
 * The demo, in this process and whole: daemon, name server, receiver. It must succeed, it must be able to
 * fail, and it must leave nothing behind either way.
 */

import {
  assert,
  assertEquals,
  assertMatch,
  assertNotMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { SHOP_KEY_NAME } from "../../src/cli/demo/internet.ts";
import { type DemoOptions, runDemo } from "../../src/cli/demo/mod.ts";
import { sendMail } from "../../src/cli/demo/smtp_client.ts";
import { test } from "../support/test.ts";

interface Shown {
  out: string;
  err: string;
  code: number;
}

const ENV: Record<string, string> = {};
const env = { get: (name: string) => ENV[name], names: () => Object.keys(ENV) };

/** Runs it to its end; `onOutput` sees everything that was printed so far. */
async function demo(
  options: Partial<DemoOptions> = {},
  onOutput: (out: string) => void = () => {},
): Promise<Shown> {
  const shown: Shown = { out: "", err: "", code: -1 };
  const io = {
    out(text: string) {
      shown.out += text;
      onOutput(shown.out);
    },
    err(text: string) {
      shown.err += text;
    },
    env,
  };
  shown.code = await runDemo({ once: true, io, isColoured: false, ...options });
  const folder = /folder\s+(\S+)/.exec(shown.out)?.[1];
  assert(folder, "it names its folder");
  await assertGone(folder);
  return shown;
}

async function assertGone(folder: string): Promise<void> {
  await assertRejects(() => Deno.stat(folder), Deno.errors.NotFound);
}

async function until(isSo: () => boolean): Promise<void> {
  while (!isSo()) await new Promise((resolve) => setTimeout(resolve, 10));
}

/** The lines of one scene: from its title to the next empty line. */
function scene(out: string, title: RegExp): string {
  const found = out.split(/\n\n/).find((part) => title.test(part));
  assert(found, `there is a part ${title}`);
  return found;
}

test("demo --once shows each verdict and exits 0", async () => {
  const { out, err, code } = await demo();
  assertEquals(err, "");
  assertEquals(code, 0);
  assert(!out.includes("WRONG") && !out.includes("\x1b"), "no failure, and no colour in a pipe");
  const signed = scene(out, /signed with DKIM/);
  assertMatch(signed, /SMTP says +250 2\.0\.0 Ok/);
  assertMatch(signed, /signature +verifies\n/);
  assertMatch(signed, /client +127\.0\.0\.1 {2}TLSv1\.3/);
  assertMatch(signed, /spf +pass/);
  assertMatch(signed, /dkim +pass {2}shop\.example, demo2048, rsa-sha256/);
  assertMatch(signed, /dmarc +pass {2}policy reject, aligned: SPF and DKIM/);
  assertMatch(signed, /verdict +accept/);
  const forged = scene(out, /A forgery/);
  assertMatch(forged, /SMTP says +550 5\.7\.1 /);
  assertNotMatch(forged, /webhook/);
  const odd = scene(out, /charsets/);
  assertMatch(odd, /subject +こんにちは – Grüße/);
  assertMatch(odd, /attachment +Gäste und Führungen\.csv {2}\d+ bytes, text\/csv/);
  const doubtful = scene(out, /POST \/mail\/inbound/);
  assertMatch(doubtful, /spf +fail/);
  assertMatch(doubtful, /verdict +quarantine/);
  assertMatch(out, /All went as it should: \d+ checks\.\n$/);
});

test("demo --once exits 1 when the signer's key in DNS is another one", async () => {
  const { out, err, code } = await demo({
    records: { [SHOP_KEY_NAME]: { TXT: ["v=DKIM1; k=rsa; p="] } },
  });
  assertEquals(code, 1);
  assertStringIncludes(out, "WRONG: DKIM is ");
  assertMatch(err, /the demo failed: \d+ of \d+ checks are wrong/);
});

test("demo --once exits 1 when a forgery is let in", async () => {
  // Without a policy nobody asked to refuse what bears the bank's name.
  const { out, code } = await demo({ records: { "_dmarc.bank.example": {} } });
  assertEquals(code, 1);
  assertStringIncludes(out, "WRONG: the sender heard");
  assertStringIncludes(out, 'WRONG: webhooks about "A forgery');
});

test("demo --once exits 1 when the receiver does not take what it is sent", async () => {
  const { out, code } = await demo({ answer: () => ({ status: 500 }) });
  assertEquals(code, 1);
  assertMatch(out, /WRONG: the webhook's job is not done \(pending: Receiver answered 500\)/);
});

test("demo --once exits 1 when the receiver never answers", async () => {
  const { out, err, code } = await demo({ answer: () => "hang", patienceMs: 200 });
  assertEquals(code, 1);
  assertStringIncludes(out, "WRONG: the webhook's job is not done (not tried)");
  assertMatch(err, /the demo failed/);
});

test("demo stays up, shows further mail as it arrives, and ends with 0 when it is told to", async () => {
  const ending = new AbortController();
  const sent: Promise<string>[] = [];
  const { out, code } = await demo({ once: false, signal: ending.signal, isColoured: true }, (out) => {
    const port = /smtp:\/\/127\.0\.0\.1:(\d+)/.exec(out)?.[1];
    const isUp = out.includes("Ctrl-C ends the demo");
    if (isUp && sent.length === 0) {
      const mail = "From: <me@shop.example>\r\nSubject: Mine\r\n\r\nHello.\x1b]0;hi\x07\r\n";
      const bytes = new TextEncoder().encode(mail);
      sent.push(sendMail(Number(port), { from: "me@shop.example", to: "app@inbox.example", bytes }));
    }
    if (/Mine[^]*Hello\./.test(out)) ending.abort();
  });
  assertEquals(code, 0);
  assertMatch(await sent[0]!, /^250 /);
  const live = out.slice(out.indexOf("Ctrl-C ends the demo"));
  assertStringIncludes(live, "\x1b[32maccept\x1b[0m");
  assertStringIncludes(live, "Hello.\\u001b]0;hi\\u0007");
  assertMatch(out, /curl -sS http:\/\/127\.0\.0\.1:\d+\/mail\/inbound/);
  assertMatch(out, /task gomail message list --control-socket \S+gomail\.sock/);
  assertStringIncludes(out, "The demo has ended");
});

test("demo can be ended at any moment, and cleans up", async () => {
  const ending = new AbortController();
  const { err, code } = await demo({ once: false, signal: ending.signal }, (out) => {
    if (out.includes("A forgery")) ending.abort();
  });
  assertEquals(code, 1);
  assertStringIncludes(err, "ended before it was over");
});

test("demo whose output nobody reads any more ends, and cleans up", async () => {
  for (const last of ["folder", "A forgery", "Ctrl-C ends"]) {
    let out = "";
    const io = {
      out(text: string) {
        if (out.includes(last)) throw new Deno.errors.BrokenPipe("closed");
        out += text;
      },
      err() {},
      env,
    };
    const running = runDemo({ once: false, io, isColoured: false });
    if (last === "Ctrl-C ends") {
      await until(() => out.includes(last));
      const port = Number(/smtp:\/\/127\.0\.0\.1:(\d+)/.exec(out)?.[1]);
      const bytes = new TextEncoder().encode("From: <me@shop.example>\r\n\r\nHello.\r\n");
      await sendMail(port, { from: "me@shop.example", to: "app@inbox.example", bytes });
    }
    await assertRejects(() => running, Deno.errors.BrokenPipe);
    await assertGone(/folder\s+(\S+)/.exec(out)![1]!);
  }
});

test("demo runs from any directory as a process of its own, and Ctrl-C ends it cleanly", async () => {
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", main, "demo"],
    cwd: "/",
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const stderr = new Response(child.stderr).text();
  let out = "";
  for await (const text of child.stdout.pipeThrough(new TextDecoderStream())) {
    const wasUp = out.includes("Ctrl-C ends the demo");
    out += text;
    if (!wasUp && out.includes("Ctrl-C ends the demo")) child.kill("SIGINT");
  }
  const { code } = await child.status;
  assertEquals(await stderr, "");
  assertEquals(code, 0);
  assertMatch(out, /All went as it should[^]*The demo has ended, and its folder is gone\.\n$/);
});
