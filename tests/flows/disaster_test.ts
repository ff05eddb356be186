/**
 * The drill: a host that takes mail by SMTP and sends mail for apps is backed up while it works, goes on working, and
 * is lost whole, data and config. On an empty host the last backup is restored. What was acknowledged before that
 * backup began is there, byte for byte; what was still owed is delivered; what comes twice can be told by its ids;
 * keys, secrets, lists and idempotency keys are as they were; and of what is lost restore has said since when.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import { parse } from "@std/yaml";
import { startReceiver } from "../../src/cli/demo/receiver.ts";
import { startZoneServer, type ZoneServer } from "../../src/cli/demo/zone_server.ts";
import { LoadConnection } from "../load/smtp_load.ts";
import { DaemonProcess } from "../support/daemon_process.ts";
import { Api, Arrivals, Load, messageIdOf, postMail, sha256 } from "../support/disaster.ts";
import { SENDER_ZONE } from "../support/harness.ts";
import { MailSink } from "../support/mail_sink.ts";
import { run } from "../support/program.ts";
import { mxZone, switchOnSigning, verifiedSignatures } from "../support/sending.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";

const MAIN = new URL("../../main.ts", import.meta.url).pathname;
const CONNECTIONS = 5;
const APPS = 2;
/** Acknowledged anew before the next thing happens. */
const MAILS = 40;
const HOSTS: [string, number, string][] = [["mx.customer.example", 10, "127.0.0.1"]];
const RETURN_PATH = /^bounces\+([0-9a-z]{26})-0-/;
/** Answers for the receiver that is in trouble, by the address that a mail came to. */
const LATE = "late@example.com", SILENT = "silent@example.com";

/** Everything that is not the host, and is still there when that is gone. */
interface Outside {
  dir: string;
  zone: ZoneServer;
  sink: MailSink;
  arrivals: Arrivals;
  load: Load;
  /** Return paths of what reached the sink, taken or not. */
  reached: string[];
  /** As the first host was configured. */
  values: Record<string, unknown>;
  /** Whoever was in trouble is well again. */
  recover(): void;
}

async function withOutside(fn: (outside: Outside) => Promise<void>): Promise<void> {
  let isWell = false;
  const arrivals = new Arrivals();
  const reached: string[] = [];
  await withTempDir(async (dir) => {
    const zone = await startZoneServer({
      records: {
        ...SENDER_ZONE,
        ...Object.assign({}, ...["quick", "late", "silent"].map((name) => mxZone(`${name}.example`, HOSTS))),
      },
    });
    const receiver = await startReceiver();
    receiver.answerWith((request) => ({ status: arrivals.take(request).verified ? 200 : 400, delayMs: 10 }));
    const troubled = await startReceiver();
    troubled.answerWith((request) => {
      arrivals.take(request);
      if (isWell) return { status: 200 };
      return new TextDecoder().decode(request.body).includes(SILENT) ? "hang" : { status: 503 };
    });
    const sink = await MailSink.start({
      keep: true,
      script: {
        recipient: (address) => !isWell && address.includes("@late.") ? "451 4.7.1 Not now" : null,
        message: ({ from, to }) => {
          reached.push(from);
          // Taken, perhaps: whoever sent it will never hear.
          return !isWell && to[0]?.includes("@silent.") ? new Promise(() => {}) : null;
        },
      },
    });
    const values = {
      dns_servers: [zone.address],
      webhook_url: receiver.url,
      routes: [LATE, SILENT].map((match) => ({ match, url: troubled.url })),
      outbound_transport: "direct",
      outbound_port: sink.port,
      outbound_allow_private: true,
      disk_reserve: 0,
    };
    try {
      const recover = () => void (isWell = true);
      await fn({ dir, zone, sink, arrivals, load: new Load(), reached, values, recover });
    } finally {
      await sink.close();
      await troubled.close();
      await receiver.close();
      await zone.close();
    }
  });
}

/** The program, as an operator runs it; gives what it says. */
async function gomail(...args: string[]): Promise<string> {
  const { DENO_COVERAGE_DIR: _, ...env } = Deno.env.toObject();
  const all = ["run", "-A", "--no-check", MAIN, ...args];
  const { code, out, err } = await run(Deno.execPath(), all, { env: { ...env, MAIL_CONFIG: "/dev/null" } });
  assertEquals(code, 0, `${args.join(" ")}: ${err}`);
  return out;
}

const backup = (config: string, dir: string, ...flags: string[]) =>
  gomail("backup", "create", "--config", config, "--dir", `${dir}/off-host`, ...flags).then((out) =>
    out.trim()
  );

/** What an operator set up, and what the API shows of it. */
async function setUp(api: Api, zone: ZoneServer): Promise<void> {
  await switchOnSigning({ zone, api: api.api.bind(api) });
  const made = [
    await api.post("/v1/suppressions", { address: "gone@customer.example" }),
    await api.post("/v1/bans", { range: "198.51.100.0/24", reason: "Drill" }),
    await api.post("/v1/domains", { domain: "added.example" }),
    await api.post("/v1/tokens", { name: "app", scopes: ["read"] }),
  ];
  assertEquals(made.map(({ status }) => status), [201, 201, 201, 201]);
}

async function settings(api: Api): Promise<unknown> {
  const lists = ["suppressions", "bans", "domains", "tokens", "dkim", "domains/example.com/dkim/records"];
  return await Promise.all(lists.map((list) => api.api(`/v1/${list}`).then(({ json }) => json.items)));
}

/** Some of each kind that is not done with: deferred and in flight, webhooks and outgoing mail. */
async function owe({ load, reached, arrivals }: Outside, daemon: DaemonProcess, api: Api) {
  const connection = await LoadConnection.open(daemon.smtpPort);
  for (const recipient of [LATE, LATE, SILENT, SILENT]) assert(await load.sendOne(connection, recipient, 1));
  await connection.close();
  for (const to of ["a@late.example", "b@late.example", "c@silent.example"]) {
    assert(await load.postOne(api, to));
  }
  const mails = load.acknowledged.map(({ id }) => id);
  await until(async () => {
    const jobs = await api.all("/v1/queue?state=pending");
    return jobs.filter(({ attempts }) => attempts > 0).length >= 4;
  }, "the deferrals");
  await until(
    () => reached.length > 0 && mails.slice(2, 4).every((id) => arrivals.of(id).length > 0),
    "some in flight",
  );
  return { webhooks: mails.slice(0, 4), posted: mails.slice(4) };
}

type Bodies = Map<string, string>;

/** SHA-256 of each mail's stored bytes; of what was handed over to us, those bytes are the end. */
async function bodiesOf(api: Api, mails: Load["acknowledged"]): Promise<Bodies> {
  const found: Bodies = new Map();
  for (const { id, sent } of mails) {
    const { status, bytes } = await api.api(`/v1/messages/${id}/raw`);
    assertEquals(status, 200, id);
    if (sent !== null) assertEquals(sha256(bytes.subarray(-sent.length)), sha256(sent), id);
    found.set(id, sha256(bytes));
  }
  return found;
}

/** The place of an app that has read every event there is. */
async function newestCursor(api: Api): Promise<string> {
  for (let cursor = "";;) {
    const { json } = await api.api(`/v1/events?limit=500${cursor === "" ? "" : `&cursor=${cursor}`}`);
    cursor = json.next_cursor;
    if (json.items.length < 500) return cursor;
  }
}

/** The first life, up to its end: backed up under load, twice, and lost. */
async function firstLife(outside: Outside) {
  const { dir, zone, arrivals, load, recover } = outside;
  const host = `${dir}/first`;
  await Deno.mkdir(host);
  const daemon = await DaemonProcess.start(host, outside.values, { keepLines: false });
  let sending: Promise<unknown> = Promise.resolve();
  try {
    arrivals.secret = await Deno.readTextFile(`${host}/data/webhook_secret`);
    const api = new Api(daemon);
    await setUp(api, zone);
    const owed = await owe(outside, daemon, api);
    sending = Promise.all([
      ...Array.from({ length: CONNECTIONS }, () => load.send(daemon.smtpPort, "bob@example.com")),
      ...Array.from({ length: APPS }, (_, n) => load.post(api, `app${n}-`)),
    ]);
    const more = () => {
      const wanted = load.acknowledged.length + MAILS;
      return until(() => load.acknowledged.length >= wanted, "more mails");
    };
    await more();
    await backup(daemon.configFile, dir);
    await more();
    // Here the last backup begins.
    const before = [...load.acknowledged];
    const file = await backup(daemon.configFile, dir, "--incremental");
    assertMatch(file, /\.incremental\.tar$/);
    const shown = await settings(api);
    const config = await Deno.readTextFile(daemon.configFile);
    const bodies = await bodiesOf(api, before);
    // Some of what was owed is delivered meanwhile, and will be once more.
    recover();
    const again = [owed.webhooks[0]!, owed.posted[0]!];
    for (const message_id of again) await api.post("/v1/queue/retry", { message_id });
    const { sink } = outside;
    await until(
      () => sink.mails.some(({ to }) => to[0] === "a@late.example") && arrivals.of(again[0]!).length > 1,
      "deliveries after the backup",
    );
    await more();
    const cursor = await newestCursor(api);
    return { before, file, shown, config, bodies, owed, again, cursor };
  } finally {
    await daemon.kill();
    await sending;
    arrivals.isAfter = true;
    await Deno.remove(host, { recursive: true });
  }
}

/** The restored config is the one that was lost, and here is what it takes to use it on another host. */
async function restoredValues(host: string, lost: string): Promise<Record<string, unknown>> {
  const text = await Deno.readTextFile(`${host}/data/restored-config/gomail.yaml`);
  assertEquals(text, lost);
  return {
    ...parse(text) as Record<string, unknown>,
    data_dir: `${host}/data`,
    control_socket: `${host}/gomail.sock`,
  };
}

/** Of what is lost: all of it came after the backup began, and after the time that restore has named. */
function checkLost(outside: Outside, said: string, stored: ReadonlySet<string>, before: ReadonlySet<string>) {
  const [, time, last] = /Not in it: whatever was acknowledged after (\S+) \(message (\w+)\)/.exec(said) ??
    [];
  assert(time && last, said);
  assert(stored.has(last));
  const lost = outside.load.acknowledged.filter(({ id }) => !stored.has(id));
  assert(lost.length >= MAILS, `${lost.length} lost`);
  for (const { id, at } of lost) {
    assert(!before.has(id), `${id} was acknowledged before the backup began`);
    assert(at >= Date.parse(time), `${id} was acknowledged before ${time}`);
  }
  return lost.length;
}

type FirstLife = Awaited<ReturnType<typeof firstLife>>;

/** What came more than once came under one id, and what must have come twice did. */
function checkDuplicates(
  { arrivals, sink, reached }: Outside,
  { owed, again }: FirstLife,
  stored: ReadonlySet<string>,
) {
  assertEquals(arrivals.all.filter(({ verified }) => !verified), []);
  for (const id of new Set(arrivals.all.map((arrival) => arrival.id))) {
    const ids = new Set(arrivals.of(id).map(({ webhookId }) => webhookId));
    assert(ids.size <= 1, `${id} came as ${[...ids]}`);
  }
  for (const id of owed.webhooks) {
    const both = new Set(arrivals.of(id).map(({ isAfter }) => isAfter));
    assertEquals(both, new Set([false, true]), id);
  }
  // By SMTP: Message-ID and the id in the return path.
  const twice = sink.mails.filter(({ to }) => to[0] === "a@late.example");
  assertEquals(twice.length, 2);
  assertEquals(new Set(twice.map(({ bytes }) => messageIdOf(bytes))).size, 1);
  assertMatch(messageIdOf(twice[0]!.bytes), /^<.+@.+>$/);
  for (const { from } of twice) assertEquals(RETURN_PATH.exec(from)?.[1]?.toUpperCase(), again[1]);
  const silent = reached.filter((from) => RETURN_PATH.exec(from)?.[1]?.toUpperCase() === owed.posted[2]);
  assert(silent.length >= 2 && new Set(silent).size === 1);
  return [...stored].filter((id) => new Set(arrivals.of(id).map(({ isAfter }) => isAfter)).size === 2).length;
}

/** The store that came back, against what is known of the first host. */
async function checkStore(outside: Outside, first: FirstLife, api: Api, said: string) {
  assertEquals((await api.api("/health/ready")).status, 200);
  assertEquals(await settings(api), first.shown);
  const before = new Set(first.before.map(({ id }) => id));
  const restored = await api.all("/v1/messages");
  const stored = new Set(restored.map(({ id }) => id as string));
  assertEquals([...before].filter((id) => !stored.has(id)), []);
  const bodies = await bodiesOf(api, outside.load.acknowledged.filter(({ id }) => stored.has(id)));
  assertEquals(new Map([...bodies].filter(([id]) => before.has(id))), first.bodies);
  return { before, restored, stored, lost: checkLost(outside, said, stored, before) };
}

/** Everything owed at the time of the backup is delivered by this host, and whoever is to know of a mail does. */
async function checkDeliveries({ arrivals, sink }: Outside, first: FirstLife, api: Api, told: {
  restored: { id: string; direction: string }[];
  owed: number;
  startedAt: number;
}) {
  await until(async () => (await api.all("/v1/queue?state=pending")).length === 0, "an empty queue");
  const made = (await api.all("/v1/queue")).filter(({ created_at, last_attempt_at, state }) =>
    state === "delivered" && Date.parse(created_at) < told.startedAt &&
    Date.parse(last_attempt_at) >= told.startedAt
  );
  assertEquals(made.length, told.owed);
  const untold = told.restored.filter(({ id, direction }) =>
    arrivals.of(id, direction === "inbound" ? "mail.received" : "mail.delivered").length === 0
  );
  assertEquals(untold, []);
  const posted = first.before.filter(({ key }) => key !== null);
  assertEquals(posted.filter(({ key }) => !sink.mails.some(({ to }) => to[0] === key)), []);
  // An app that asks again hears what it heard before.
  for (const { key, id } of posted.slice(0, MAILS)) {
    const { status, json } = await postMail(api, key!);
    assertEquals([status, json.id], [202, id]);
  }
}

/** New mail comes in, and goes out with signatures of the old keys; who pulls events hears of it. */
async function checkLife(
  { load, arrivals, sink, zone }: Outside,
  daemon: DaemonProcess,
  api: Api,
  cursor: string,
) {
  const connection = await LoadConnection.open(daemon.smtpPort);
  assert(await load.sendOne(connection, "bob@example.com", 1));
  await connection.close();
  const { id } = load.acknowledged.at(-1)!;
  assert(await load.postOne(api, "new@quick.example"));
  const sent = () => sink.mails.find(({ to }) => to[0] === "new@quick.example");
  await until(() => arrivals.of(id).length > 0 && sent() !== undefined, "new mail");
  const signatures = await verifiedSignatures({ zone }, sent()!.bytes);
  assertEquals(signatures, ["ed25519-sha256 pass", "rsa-sha256 pass"]);
  const { json } = await api.api(`/v1/events?limit=500&cursor=${cursor}`);
  const heard = json.items.map((item: { event: string; id: string }) => `${item.event} ${item.id}`);
  assert(heard.includes(`mail.received ${id}`), heard.join(", "));
}

test("A host lost whole under load comes back from its last backup, owes what it owed, and says what is lost", () =>
  withOutside(async (outside) => {
    const first = await firstLife(outside);
    const host = `${outside.dir}/second`;
    await Deno.mkdir(host);
    const said = await gomail("restore", first.file, "--data-dir", `${host}/data`);
    const owed = Number(/^(\d+) deliveries owed at that time/m.exec(said)?.[1]);
    // What owe() made, and what the load had under way.
    assert(owed >= first.owed.webhooks.length + first.owed.posted.length, said);
    const values = await restoredValues(host, first.config);
    const startedAt = Date.now();
    const daemon = await DaemonProcess.start(host, values, { keepLines: false });
    try {
      const api = new Api(daemon);
      const { before, restored, stored, lost } = await checkStore(outside, first, api, said);
      // What waits for its next attempt need not.
      await gomail("queue", "retry", "--state", "pending", "--config", daemon.configFile);
      await checkDeliveries(outside, first, api, { restored, owed, startedAt });
      const twice = checkDuplicates(outside, first, stored);
      await checkLife(outside, daemon, api, first.cursor);
      console.log(
        `${before.size} acknowledged before the last backup, ${stored.size} restored, ${lost} later ones lost, ` +
          `${owed} owed, ${twice} came before and after`,
      );
    } finally {
      await daemon.kill();
    }
  }));
