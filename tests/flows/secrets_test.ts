/**
 * Secrets stay secret: after a session with right and wrong tokens, failing receivers, signed URLs and broken
 * configs, none of them is in a log line, a metric or an answer; and nobody else can read our files.
 *
 * 63 secrets in logs, ps, files   nowhere
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { newWebhookSecret } from "../../src/base/secret.ts";
import { startReceiver } from "../../src/cli/demo/receiver.ts";
import { startZoneServer } from "../../src/cli/demo/zone_server.ts";
import { type DaemonProcess, portOf, TEST_TOKEN, withProcess } from "../support/daemon_process.ts";
import { idOf, payloadOf, plainMail, readAnswer, SENDER_ZONE } from "../support/harness.ts";
import { SmtpConversation } from "../support/smtp_conversation.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

const WRONG_TOKEN = "wr0ng-token-7d1a93bc";
const LARGE = plainMail({}, `${"x".repeat(76)}\r\n`.repeat(20_000));

interface Session {
  dir: string;
  daemon: DaemonProcess;
  /** What must show up nowhere, by name. */
  secrets: Record<string, string>;
  values: Record<string, unknown>;
  /** Texts of all answers so far. */
  answers: string[];
}

async function withSession(fn: (session: Session) => Promise<void>): Promise<void> {
  await withTempDir(async (dir) => {
    const zone = await startZoneServer({ records: SENDER_ZONE });
    const secrets: Record<string, string> = {
      bearer_token: TEST_TOKEN,
      wrong_token: WRONG_TOKEN,
      webhook_secret: newWebhookSecret(),
      webhook_secret_next: newWebhookSecret(),
      webhook_bearer_token: "rec3ivers-0wn-token",
      route_secret: newWebhookSecret(),
    };
    const receiver = await startReceiver({ secret: secrets.webhook_secret! });
    // An answer that hands our own secrets back, as a careless debug page does.
    receiver.answerWith((request) => ({
      status: request.index < 2 ? 500 : 200,
      headers: { "x-echo": request.headers["authorization"] ?? "" },
      body: JSON.stringify(request.headers),
    }));
    const values = {
      log_level: "debug",
      dns_servers: [zone.address],
      webhook_url: receiver.url,
      webhook_secret: secrets.webhook_secret,
      webhook_secret_next: secrets.webhook_secret_next,
      webhook_bearer_token: secrets.webhook_bearer_token,
      routes: [{ match: "bad@example.com", url: "http://127.0.0.1:9/", secret: secrets.route_secret }],
    };
    try {
      await withProcess(dir, values, async (daemon) => {
        const session = { dir, daemon, secrets, values, answers: [] };
        await sendMails(session);
        await receiver.waitFor(3);
        const large = receiver.requests.map(payloadOf).find((payload) => payload.raw_url)!;
        const url = new URL(large.raw_url!);
        secrets.url_signature = url.searchParams.get("signature")!;
        secrets.url_key = (await Deno.readTextFile(`${dir}/data/url_key`)).trim();
        await askEverything(session, url);
        await fn(session);
      });
    } finally {
      await receiver.close();
      await zone.close();
    }
  });
}

async function sendMails({ daemon, answers }: Session): Promise<void> {
  const c = await SmtpConversation.connect(daemon.smtpPort);
  await c.expect(/^220 /);
  await c.command("EHLO client.example", /^250[ -]/);
  for (
    const [mail, to] of [[plainMail(), "bob"], [LARGE, "carol"], [plainMail(), "bad"], [plainMail(), "dan"]]
  ) {
    answers.push(await c.mail(mail!, { to: [`${to}@example.com`] }));
  }
  await c.close();
}

async function ask({ daemon, answers }: Session, path: string, token: string | null, init: RequestInit = {}) {
  const headers = new Headers(init.headers);
  if (token) headers.set("authorization", `Bearer ${token}`);
  const response = await fetch(`http://127.0.0.1:${daemon.apiPort}${path}`, { ...init, headers });
  const answer = await readAnswer(response);
  answers.push(`${JSON.stringify([...answer.headers])} ${answer.text}`);
  return answer;
}

async function askEverything(session: Session, url: URL): Promise<void> {
  const id = idOf(session.answers[0]!);
  const paths = [
    "/v1/messages",
    `/v1/messages/${id}`,
    "/v1/queue",
    "/v1/domains",
    "/health",
    "/openapi.json",
  ];
  for (const path of paths) assertEquals((await ask(session, path, TEST_TOKEN)).status, 200, path);
  // The one answer that may show a token is not among the answers.
  const made = await fetch(`http://127.0.0.1:${session.daemon.apiPort}/v1/tokens`, {
    method: "POST",
    body: JSON.stringify({ name: "shop", scopes: ["send"] }),
    headers: { authorization: `Bearer ${TEST_TOKEN}`, "content-type": "application/json" },
  });
  const { id: tokenId, token: apiToken } = await made.json();
  session.secrets.api_token = apiToken.slice(tokenId.length + 5);
  assertEquals((await ask(session, "/openapi.json", apiToken)).status, 200);
  assertEquals((await ask(session, "/v1/messages", apiToken)).status, 403);
  assertEquals((await ask(session, `/v1/tokens/${apiToken}`, TEST_TOKEN, { method: "DELETE" })).status, 404);
  assertEquals((await ask(session, "/v1/tokens", TEST_TOKEN)).status, 200);
  assertEquals((await ask(session, `/v1/tokens/${tokenId}`, TEST_TOKEN, { method: "DELETE" })).status, 200);
  assertEquals((await ask(session, "/openapi.json", apiToken)).status, 401);
  for (const token of [WRONG_TOKEN, `${TEST_TOKEN}x`, "Basic abc"]) {
    assertEquals((await ask(session, "/v1/messages", token)).status, 401);
  }
  assertEquals((await ask(session, `/v1/messages?token=${TEST_TOKEN}`, null)).status, 401);
  assertEquals((await ask(session, `/nowhere/${WRONG_TOKEN}`, WRONG_TOKEN)).status, 404);
  assertEquals((await ask(session, url.pathname + url.search, null)).status, 200);
  assertEquals(
    (await ask(session, url.pathname + url.search.replace("expires=", "expires=1"), null)).status,
    403,
  );
  const broken = {
    method: "POST",
    body: `{"raw": "${WRONG_TOKEN}`,
    headers: { "content-type": "application/json" },
  };
  assertEquals((await ask(session, "/mail/inbound", TEST_TOKEN, broken)).status, 400);
  const cursor = await ask(session, `/v1/messages?cursor=${WRONG_TOKEN}`, TEST_TOKEN);
  assert(cursor.status === 400, cursor.text);
}

test("63: no secret shows in log lines, metrics, answers or ps, whatever goes wrong", () =>
  withSession(async (session) => {
    const { daemon, secrets, values, answers } = session;
    // Secrets in a config that is refused are secrets all the same.
    Object.assign(secrets, {
      weak_token: "sh0rt-secret",
      bad_secret: "whsec_n0t!base64-s3cr3t",
      url_password: "p4ssw0rd-x",
    });
    await daemon.writeConfig({
      ...values,
      bearer_token: secrets.weak_token,
      webhook_secret: secrets.bad_secret,
      webhook_url: `http://user:${secrets.url_password}@127.0.0.1/`,
    });
    assertMatch((await daemon.reload()).msg, /the old one stays/);
    await until(
      () => daemon.lines.filter((line) => line.msg === "Delivery attempt").length >= 4,
      "the attempts",
    );
    const metrics = await fetch(`http://127.0.0.1:${portOf(daemon.addresses.metrics)}/metrics`);
    const places = {
      log: daemon.rawLines.join("\n"),
      metrics: await metrics.text(),
      // The signed URL itself is only in webhooks; what was stored of the mails is not looked at here.
      answers: answers.join("\n"),
      // What ps shows to everybody on the host.
      ps: await Deno.readTextFile(`/proc/${daemon.pid}/cmdline`),
    };
    assert(places.ps.includes("server"));
    assert(places.log.length > 1000 && places.metrics.includes("gomail_"));
    for (const [place, text] of Object.entries(places)) {
      for (const [name, secret] of Object.entries(secrets)) {
        // The request that was refused for its cursor or path may be quoted to who sent it, and to nobody else.
        if (place === "answers" && name === "wrong_token") continue;
        assert(!text.includes(secret), `${name} is in the ${place}: ${lineWith(text, secret)}`);
        assert(
          !text.includes(secret.replace(/^whsec_/, "")),
          `${name} is in the ${place} without its prefix`,
        );
      }
    }
  }));

function lineWith(text: string, part: string): string {
  return text.split("\n").find((line) => line.includes(part)) ?? "";
}

test("63: everything in the data directory is for its owner alone, and the control socket for its group", () =>
  withSession(async ({ dir }) => {
    const modes: string[] = [];
    const walk = (path: string) => {
      for (const entry of Deno.readDirSync(path)) {
        const at = `${path}/${entry.name}`;
        const mode = (Deno.lstatSync(at).mode! & 0o777).toString(8);
        modes.push(`${entry.isDirectory ? "directory" : "file"} ${mode}`);
        if (entry.isDirectory) walk(at);
      }
    };
    const modeOf = (path: string) => (Deno.lstatSync(path).mode! & 0o777).toString(8);
    walk(`${dir}/data`);
    assertEquals([...new Set(modes)].sort(), ["directory 700", "file 600"]);
    assert(modes.length >= 10, "database, log, keys, certificate, blobs");
    assertEquals(modeOf(`${dir}/data`), "700");
    assertEquals(modeOf(`${dir}/gomail.sock`), "660");
  }));
