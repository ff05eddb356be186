/** API tokens through the whole daemon: made by the command, used over HTTP, kept in the database as a hash. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { systemClock } from "../../src/base/clock.ts";
import { createLogger } from "../../src/base/log.ts";
import { configOf } from "../../src/config/schema.ts";
import { type Daemon, startDaemon } from "../../src/daemon/compose.ts";
import { gomail, type Ran } from "../cli/support.ts";
import { TEST_TOKEN } from "../support/daemon_process.ts";
import { type TestDaemon, withDaemon } from "../support/harness.ts";
import { test, withTempDir } from "../support/test.ts";

const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

function commandOn(socket: string): (args: string) => Promise<Ran> {
  const env = { MAIL_CONTROL_SOCKET: socket, MAIL_CONFIG: "/dev/null" };
  return (args) => gomail(`token ${args}`, { env });
}

const command = (d: TestDaemon) => commandOn(`${d.dir}/gomail.sock`);

async function create(d: TestDaemon, args: string): Promise<string> {
  const ran = await command(d)(`create ${args}`);
  assertEquals(ran.code, 0, ran.err);
  return ran.out.trim();
}

const idOf = (token: string) => token.slice(4, 16);

/** Files below `dir` in which `text` stands. */
async function filesWith(dir: string, text: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(dir)) {
    const path = `${dir}/${entry.name}`;
    if (entry.isDirectory) found.push(...await filesWith(path, text));
    else if (entry.isFile) {
      const bytes = await Deno.readFile(path);
      if (new TextDecoder("latin1").decode(bytes).includes(text)) found.push(path);
    }
  }
  return found;
}

const MAIL = JSON.stringify({
  from: "shop@example.com",
  to: ["ann@example.org"],
  subject: "Hi",
  text: "Hello",
  dry_run: true,
});

function send(d: TestDaemon, token: string) {
  const headers = { ...bearer(token), "content-type": "application/json" };
  return d.fetch("/mail/send", { method: "POST", body: MAIL, headers });
}

test("A token from the command line may do what its scopes say, until it is revoked", () =>
  withDaemon({}, async (d) => {
    const token = await create(d, "shop --scope send");
    assertEquals((await send(d, token)).status, 200);
    const read = await d.fetch("/v1/messages", { headers: bearer(token) });
    assertEquals([read.status, read.json.error], [403, "forbidden"]);
    assertMatch(read.headers.get("www-authenticate")!, /insufficient_scope.*scope="read"/);
    const posted = await d.post(undefined, {}, bearer(await create(d, "mx --scope inbound")));
    assertEquals(posted.status, 200);
    const reader = bearer(await create(d, "dashboard --scope read"));
    const id = posted.json.message_id;
    assertEquals((await d.fetch(`/v1/messages/${id}/raw`, { headers: reader })).status, 200);
    assertEquals(
      (await d.fetch(`/v1/messages/${id}/replay`, { method: "POST", headers: reader })).status,
      403,
    );

    const { items } = (await d.api("/v1/tokens")).json;
    assertEquals(items.map(({ name }: { name: string }) => name).sort(), ["dashboard", "mx", "shop"]);
    assertEquals((await command(d)(`revoke ${idOf(token)}`)).code, 0);
    assertEquals((await send(d, token)).status, 401);
    assertEquals((await command(d)(`revoke ${idOf(token)}`)).err, "gomail: There is no such token\n");

    const told = d.lines.filter(({ msg }) => /^Token (created|revoked)$/.test(String(msg)));
    assertEquals(told.map(({ msg, token_id }) => [msg, token_id === idOf(token)]), [
      ["Token created", true],
      ["Token created", false],
      ["Token created", false],
      ["Token revoked", true],
    ]);
    const everything = d.rawLines.join("\n") + await d.metrics();
    assert(!everything.includes(token.slice(17)));
  }));

test("No file has the token in it, and the database has its hash", () =>
  withDaemon({}, async (d) => {
    const token = await create(d, "shop --scope send");
    assertEquals((await send(d, token)).status, 200);
    const hash = [...new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(token)))]
      .map((byte) => byte.toString(16).padStart(2, "0")).join("");
    const data = `${d.dir}/data`;
    assertEquals(await filesWith(data, token.slice(17)), []);
    assert((await filesWith(data, idOf(token))).length > 0, "the id is in the files");
    assert((await filesWith(data, hash)).length > 0, "the hash is in the files");
  }));

test("A token's own limit holds, from loopback too, and nobody else's", () =>
  withDaemon({}, async (d) => {
    const limited = bearer(await create(d, "slow --scope read --rate-limit 1 --burst 2"));
    const ask = (headers: Record<string, string>) => d.fetch("/v1/domains", { headers });
    const answers = [await ask(limited), await ask(limited), await ask(limited)];
    assertEquals(answers.map(({ status }) => status), [200, 200, 429]);
    assertEquals(answers.map(({ headers }) => headers.get("x-ratelimit-remaining")), ["1", "0", "0"]);
    assertEquals(answers[2]!.headers.get("x-ratelimit-limit"), "1");
    assert(Number(answers[2]!.headers.get("retry-after")) > 30);
    const free = await ask(bearer(await create(d, "quick --scope read")));
    assertEquals([free.status, free.headers.get("x-ratelimit-limit")], [200, null]);
    assertEquals((await ask(bearer(TEST_TOKEN))).status, 200);
  }));

test("A token ends when its time is over, by the daemon's clock", () => {
  let aheadMs = 0;
  const clock = { ...systemClock, now: () => Date.now() + aheadMs };
  return withDaemon({}, async (d) => {
    const token = await create(d, "guest --scope read --expires 12h");
    const ask = () => d.fetch("/v1/domains", { headers: bearer(token) });
    assertEquals((await ask()).status, 200);
    aheadMs = 12 * 3_600_000 - 60_000;
    assertEquals((await ask()).status, 200);
    aheadMs += 61_000;
    const expired = await ask();
    assertEquals(expired.status, 401);
    assertMatch(expired.headers.get("www-authenticate")!, /invalid_token.*expired/);
    assertMatch((await command(d)("list")).out, /guest.*\(expired\)/);
    // The clock went wrong and was set right again.
    aheadMs = 0;
    assertEquals((await ask()).status, 200);
  }, { clock });
});

test("A restart keeps the tokens, what they may do and when they were used, and forgets the revoked", () =>
  withTempDir(async (dir) => {
    const socket = `${dir}/gomail.sock`;
    const values = {
      port: 0,
      data_dir: `${dir}/data`,
      control_socket: socket,
      bearer_token: TEST_TOKEN,
      mail_hostname: "mx.example.com",
      primary_domain: "example.com",
      smtp_listen: [],
      metrics_enabled: false,
      dns_servers: ["127.0.0.1:9"],
      disk_reserve: 0,
    };
    const log = createLogger({ level: "error", format: "json", clock: systemClock, write: () => {} });
    const run = commandOn(socket);
    const ask = async (daemon: Daemon, token: string, path = "/v1/domains") => {
      const answer = await fetch(`http://${daemon.addresses.api}${path}`, { headers: bearer(token) });
      const json = await answer.json();
      return { status: answer.status, limit: answer.headers.get("x-ratelimit-limit"), json };
    };
    const during = async <T>(fn: (daemon: Daemon) => Promise<T>): Promise<T> => {
      const daemon = await startDaemon(configOf(values), { log, mailThreads: 1 });
      try {
        return await fn(daemon);
      } finally {
        await daemon.stop();
      }
    };
    const made = await during(async (daemon) => {
      const kept = (await run("create kept --scope read --rate-limit 60")).out.trim();
      const gone = (await run("create gone --scope admin")).out.trim();
      assertEquals((await ask(daemon, kept)).status, 200);
      assertEquals((await run(`revoke ${idOf(gone)}`)).code, 0);
      return { kept, gone };
    });
    await during(async (daemon) => {
      const listed = (await ask(daemon, TEST_TOKEN, "/v1/tokens")).json.items;
      assertEquals(listed.map(({ id }: { id: string }) => id), [idOf(made.kept)]);
      assert(listed[0].last_used_at !== null, "the last use was written at the stop");
      const { status, limit } = await ask(daemon, made.kept);
      assertEquals([status, limit], [200, "60"]);
      assertEquals((await ask(daemon, made.gone)).status, 401);
      assertEquals((await ask(daemon, made.kept, "/v1/tokens")).status, 403);
    });
  }));
