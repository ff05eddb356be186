/**
 * The queue's filters, through the doors: any query, body and command line is an answer or a refusal that names
 * what is wrong, and what a filter means is the same in the list, in the four actions, and on the command line.
 */

import { assert, assertEquals, assertMatch } from "@std/assert";
import fc from "fast-check";
import { systemClock } from "../../../src/base/clock.ts";
import { parseMailbox } from "../../../src/mail/address.ts";
import type { HttpDeps } from "../../../src/servers/http/mod.ts";
import type { Vault } from "../../../src/store/mod.ts";
import type { JobAction, Store } from "../../../src/store/types.ts";
import { gomail } from "../../cli/support.ts";
import { type Harness, post, withDoor } from "../../servers/http/harness.ts";
import { openTestStore } from "../../store/support.ts";
import { hostile, soup } from "../arbitraries.ts";
import { type FuzzTarget, largeProperty, property } from "../property.ts";
import { NOW, queue, queueActions, QueueWorld, type Words, words } from "./queue_world.ts";

const ACTIONS = ["hold", "release", "retry", "drop"] as const;
const PAGES_MAX = 50;
const clock: HttpDeps["clock"] = { ...systemClock, now: () => NOW };

interface Answer {
  status: number;
  // deno-lint-ignore no-explicit-any -- a check picks out of any answer what it wants
  json: any;
}

async function ask(h: Harness, path: string, init?: RequestInit): Promise<Answer> {
  const response = await h.call(path, init);
  return { status: response.status, json: await response.json() };
}

const search = (h: Harness, query: URLSearchParams) => ask(h, `/v1/queue?${query}`);
const act = (h: Harness, action: JobAction, body: unknown) => ask(h, `/v1/queue/${action}`, post(body));

/** A refusal says what is wrong with which of the things that were given. */
function checkRefusal({ status, json }: Answer, given: readonly string[]): void {
  assertEquals([status, json.error], [400, "validation_error"]);
  const { problems } = json.details;
  assert(problems.length > 0 && problems.length <= 50);
  for (const { path, problem } of problems) {
    assert(typeof problem === "string" && problem !== "" && problem.length < 300, problem);
    // Names are cut where they are shown.
    assert(
      given.some((name) => path.startsWith(name.toWellFormed().slice(0, 100)) && path.length < 200),
      `not given: ${path}`,
    );
  }
}

/** In memory where the host has that: nobody pulls the plug here, and syncing is most of what a store takes. */
async function withQuickStore<T>(use: (store: Vault) => Promise<T>): Promise<T> {
  const isThere = await Deno.stat("/dev/shm").then(({ isDirectory }) => isDirectory, () => false);
  const dir = await Deno.makeTempDir({ prefix: "gomail-test-", ...(isThere && { dir: "/dev/shm" }) });
  try {
    const store = await openTestStore(dir);
    return await use(store).finally(() => store.close());
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** For as long as `use` runs, the door's store is this one. */
async function withWorld(
  h: Harness,
  made: Parameters<typeof QueueWorld.make>[1],
  use: (w: QueueWorld) => Promise<void>,
) {
  await withQuickStore(async (store) => {
    Object.assign(h.deps, { store, queue: queueActions(store, clock) });
    await use(await QueueWorld.make(store, made));
  });
}

// --- the grammar

const NAMES = ["ids", "carrier", "state", "lane", "message_id", "event", "recipient", "older_than"];
const FITTING: Record<string, string[]> = {
  ids: ["a", "a,b", "a,", ",", "x,".repeat(999) + "x", "x,".repeat(1000) + "x"],
  carrier: ["webhook", "smtp", "SMTP"],
  state: ["pending", "held", "delivered", "dead", "dropped", "Dead", "pending,held", "held,", "held,Dead"],
  lane: ["*", "x".repeat(1000), "x".repeat(1001)],
  message_id: ["01JBX2G7S9T4Q0V8N3M5K6H1CD", "x"],
  event: ["mail.received", "*"],
  recipient: [
    "ann@a.example",
    "*@a.example",
    "*@B\u00fccher.example",
    "postmaster",
    "*",
    "a@b@c",
    "@a.example",
  ],
  older_than: ["1h", "0", "30m30m", "1.5h", "-1h", "1w", "1h".repeat(60), "9999999999999"],
};
const field = fc.constantFrom(...NAMES).chain((name) =>
  fc.tuple(fc.constant(name), fc.oneof({ weight: 4, arbitrary: fc.constantFrom(...FITTING[name]!) }, hostile))
);

const STATES = ["pending", "held", "delivered", "dead", "dropped"];
const OWED = ["pending", "held", "dead"];
const WORD = (text: string) => text.length >= 1 && text.length <= 1000;

/** What of the grammar can be said in a line each. */
const FITS: Record<string, (text: string) => boolean> = {
  ids: (text) => text.split(",").every(WORD) && text.split(",").length <= 1000,
  carrier: (text) => ["webhook", "smtp"].includes(text),
  state: (text) =>
    text.split(",").length <= STATES.length && text.split(",").every((one) => STATES.includes(one)),
  lane: WORD,
  message_id: WORD,
  event: WORD,
  recipient: (text) =>
    WORD(text) && (/^postmaster$/i.test(text) || !("problem" in parseMailbox(text, { smtpUtf8: true }))),
  older_than: (text) =>
    text.length <= 100 && /^(\d{1,12}|(\d{1,12}(ms|s|m|h|d))+)$/.test(text) && !/\n/.test(text),
};

const oneGrammar = (h: Harness) =>
  property(
    "words-mean-the-same-in-a-query-and-in-a-body",
    fc.uniqueArray(field, { selector: ([name]) => name, minLength: 1, maxLength: 4 }),
    async (fields) => {
      // Half a surrogate is no text: a URL can't carry it, and JSON with it is refused.
      const given = fields.map(([name, text]) => [name, text.toWellFormed()] as [string, string]);
      const asked: unknown[] = [];
      const store = { listJobs: (filter: unknown) => (asked.push(filter), { items: [], nextCursor: null }) };
      Object.assign(h.deps, {
        store,
        queue: (_: JobAction, filter: unknown) => (asked.push(filter), Promise.resolve(0)),
      });
      const answers = [
        await search(h, new URLSearchParams(given)),
        ...await Promise.all(ACTIONS.map((action) => act(h, action, Object.fromEntries(given)))),
      ];
      const wrong = given.filter(([name, text]) => !FITS[name]!(text)).map(([name]) => name);
      for (const answer of answers) {
        if (wrong.length === 0) assertEquals(answer.status, 200, JSON.stringify(answer.json));
        else checkRefusal(answer, wrong);
      }
      assertEquals(asked.length, wrong.length === 0 ? answers.length : 0);
      for (const filter of asked) assertEquals(filter, asked[0]);
    },
  );

const CURSORS = ["czE", "czEy", "ZTE", "cw", "====", "c", "czk5OTk5OTk5OTk5OTk5OQ", "cy0x", "czE=", "a.b"];
const anyQuery = (h: Harness, empty: Store) =>
  property(
    "any-query-is-a-page-or-a-refusal",
    fc.array(
      fc.oneof(
        { weight: 3, arbitrary: field },
        {
          weight: 2,
          arbitrary: fc.tuple(
            fc.constant("limit"),
            fc.oneof(
              fc.constantFrom("1", "500", "501", "0", "-1", "1e2", "", " 5", "0x1f4", "1.0", "NaN"),
              hostile,
            ),
          ),
        },
        {
          weight: 2,
          arbitrary: fc.tuple(fc.constant("cursor"), fc.oneof(fc.constantFrom(...CURSORS), hostile)),
        },
        {
          weight: 1,
          arbitrary: fc.tuple(fc.oneof(fc.constantFrom("all", "dry_run", "__proto__"), hostile), hostile),
        },
      ),
      { maxLength: 4 },
    ),
    async (pairs) => {
      Object.assign(h.deps, { store: empty });
      const query = new URLSearchParams(pairs.map(([name, text]) => [name, text] as [string, string]));
      const answer = await search(h, query);
      const names = [...query.keys()];
      if (answer.status !== 200) return checkRefusal(answer, names);
      assertEquals(answer.json, { items: [], next_cursor: null });
      assertEquals(names, [...new Set(names)].filter((name) => [...NAMES, "limit", "cursor"].includes(name)));
      const limit = query.get("limit");
      if (limit !== null) {
        assert(Number(limit) >= 1 && Number(limit) <= 500 && Number.isInteger(Number(limit)));
      }
    },
  );

const jsonValue = fc.oneof(
  fc.constantFrom<unknown>(null, true, false, 0, -1, 1.5, 1e15, 90, "", [], {}, ["a"], [["a"]], [1], [
    "a",
    "",
  ], "true"),
  fc.jsonValue({ maxDepth: 2 }),
);
const bodyEntry = fc.oneof(
  { weight: 3, arbitrary: fc.tuple(fc.constantFrom(...NAMES, "all", "dry_run"), jsonValue) },
  { weight: 3, arbitrary: field },
  { weight: 2, arbitrary: fc.tuple(fc.constantFrom("all", "dry_run"), fc.boolean()) },
  {
    weight: 1,
    arbitrary: fc.tuple(fc.oneof(fc.constantFrom("sate", "limit", "cursor"), hostile), jsonValue),
  },
);

const anyBody = (h: Harness) =>
  property(
    "any-body-is-a-number-or-a-refusal",
    fc.record({
      action: fc.constantFrom(...ACTIONS),
      entries: fc.array(bodyEntry, { maxLength: 4 }),
      bare: fc.option(
        fc.oneof(jsonValue.map((value) => JSON.stringify(value)), soup(["{", "}", '"all"', ":", "true"])),
        {
          freq: 8,
        },
      ),
    }),
    async ({ action, entries, bare }) => {
      const asked: { filter: Record<string, unknown>; dryRun: boolean }[] = [];
      Object.assign(h.deps, {
        queue(_: JobAction, filter: Record<string, unknown>, dryRun: boolean) {
          asked.push({ filter, dryRun });
          return Promise.resolve(3);
        },
      });
      const body = Object.fromEntries(entries as [string, unknown][]);
      const answer = await act(h, action, bare ?? body);
      if (answer.status !== 200) {
        assertEquals(asked, []);
        // Of a body that is no JSON, or not an object, the whole of it is to blame.
        return checkRefusal(answer, bare === null ? ["all", "body", ...Object.keys(body)] : ["", "body"]);
      }
      const given: Record<string, unknown> = bare === null ? body : JSON.parse(bare);
      const { all, dry_run, ...filter } = given;
      assertEquals(answer.json, { matched: 3, dry_run: dry_run === true });
      assertEquals(asked.map(({ dryRun }) => dryRun), [dry_run === true]);
      // Nothing that was given is forgotten, and everything has to be asked for aloud.
      assertEquals(Object.keys(asked[0]!.filter).length, Object.keys(filter).length);
      assertEquals(all === true, Object.keys(filter).length === 0);
    },
  );

// --- what it means

/** Every page of the list. */
async function listed(h: Harness, words: Words, limit: number): Promise<Record<string, unknown>[]> {
  const items: Record<string, unknown>[] = [];
  let cursor: string | null = null;
  for (let pages = 0;; pages++) {
    assert(pages < PAGES_MAX, "pages without an end");
    const query = new URLSearchParams({ ...words, limit: String(limit), ...(cursor !== null && { cursor }) });
    const { status, json } = await search(h, query);
    assertEquals(status, 200, JSON.stringify(json));
    assert(json.items.length <= limit, "more than was asked for");
    items.push(...json.items);
    cursor = json.next_cursor;
    if (cursor === null) return items;
  }
}

const bodyOf = (words: Words) => Object.keys(words).length === 0 ? { all: true } : words;
const step = fc.record({
  action: fc.constantFrom(...ACTIONS),
  words,
  limit: fc.integer({ min: 1, max: 20 }),
});

async function checkStep(
  h: Harness,
  world: QueueWorld,
  { action, words, limit }: { action: JobAction; words: Words; limit: number },
): Promise<void> {
  const first = await search(h, new URLSearchParams(words));
  const body = bodyOf(words);
  if (first.status !== 200) {
    checkRefusal(first, Object.keys(words));
    return checkRefusal(await act(h, action, body), Object.keys(words));
  }
  const found = await listed(h, words, limit);
  assertEquals(found.map(({ id }) => id), world.meant(words).map(({ id }) => id), "the list is another");
  const count = world.changes(action, words).length;
  const counted = await act(h, action, { ...body, dry_run: true });
  assertEquals(counted.json, { matched: count, dry_run: true });
  const told = world.act(action, words);
  const done = await act(h, action, body);
  assertEquals(done.json, { matched: count, dry_run: false }, "not what was counted first");
  const all = await listed(h, {}, 500);
  const known = new Set(world.jobs.map(({ id }) => id));
  const news = all.filter(({ id }) => !known.has(id as string)).reverse();
  assertEquals(news.length, told, "an end that nobody is told of");
  world.learn(news);
  assertEquals(
    all.map(({ id, state }) => [id, state]),
    world.meant({}).map(({ id, state }) => [id, state]),
  );
}

const agreement = (h: Harness) =>
  property(
    "a-filter-means-what-it-says",
    fc.record({ queue, steps: fc.array(step, { minLength: 1, maxLength: 3 }) }),
    ({ queue, steps }) =>
      withWorld(h, queue, async (world) => {
        for (const { words, ...rest } of steps) {
          await checkStep(h, world, { ...rest, words: world.named(words) });
        }
      }),
  );

// --- the command line

const FLAGS: Record<string, string> = {
  ...{ carrier: "--carrier", state: "--state", lane: "--lane", message_id: "--message", event: "--event" },
  ...{ recipient: "--recipient", older_than: "--older-than" },
};

/** The words as somebody types them; an id that begins with a dash would be a flag. */
function typed(words: Words, apart: boolean): string[] {
  const { ids, ...rest } = words;
  const flags = Object.entries(rest).flatMap(([name, text]) =>
    apart && !text.startsWith("-") ? [FLAGS[name]!, text] : [`${FLAGS[name]}=${text}`]
  );
  return [...flags, "--", ...(ids === undefined ? [] : apart ? ids.split(",") : [ids])];
}

async function typing(h: Harness, args: string[]) {
  const env = { MAIL_CONTROL_SOCKET: h.control, MAIL_CONFIG: "/dev/null" };
  const { code, out, err } = await gomail(["queue", ...args], { env });
  assert([0, 1, 2].includes(code));
  if (code !== 0) assertMatch(err, /^gomail: [^\p{Cc}]+\n$/u);
  return { code, err, json: code === 0 ? JSON.parse(out) : null };
}

/** How many ids it takes differs: a query is a line. */
const noIds = fc.array(field.filter(([name]) => name !== "ids"), { maxLength: 2 }).map((fields) =>
  Object.fromEntries(fields.map(([name, text]) => [name, text.toWellFormed()])) as Words
);

const commands = (h: Harness) =>
  largeProperty(
    "the-command-line-says-the-same",
    fc.record({
      queue,
      words: fc.oneof({ weight: 4, arbitrary: words }, noIds),
      action: fc.constantFrom(...ACTIONS),
      apart: fc.boolean(),
    }),
    ({ queue, words, action, apart }) =>
      withWorld(h, queue, async (world) => {
        const meant = world.named(words);
        const args = typed(meant, apart);
        // Without a state the list shows what is owed, unless it is named: the same is meant by all of them.
        const state = meant.state === undefined ? ["--state", "all"] : [];
        const list = await typing(h, ["list", "--json", "--limit", "500", ...state, ...args]);
        const all = Object.keys(meant).length === 0 ? ["--all"] : [];
        const count = await typing(h, [action, "--json", "--dry-run", ...all, ...args]);
        assertEquals([count.code, count.err], [list.code, list.err]);
        if (list.code !== 0) return;
        assertEquals(
          list.json.items.map(({ id }: { id: string }) => id),
          world.meant(meant).map(({ id }) => id),
        );
        const owed = await typing(h, ["list", "--json", "--limit", "500", ...args]);
        const isNamed = [meant.state, meant.ids, meant.message_id].some((word) => word !== undefined);
        assertEquals(
          owed.json.items.map(({ id }: { id: string }) => id),
          world.meant(meant).filter((job) => isNamed || OWED.includes(job.state)).map(({ id }) => id),
        );
        assertEquals(count.json, { matched: world.changes(action, meant).length, dry_run: true });
      }),
  );

export async function open(): Promise<FuzzTarget> {
  const opened = Promise.withResolvers<[Harness, Store]>();
  const closing = Promise.withResolvers<void>();
  const closed = withQuickStore((store) =>
    withDoor({ deps: { clock } }, async (h) => {
      opened.resolve([h, store]);
      await closing.promise;
    })
  );
  closed.catch(opened.reject);
  const [h, empty] = await opened.promise;
  return {
    properties: [oneGrammar(h), anyQuery(h, empty), anyBody(h), agreement(h), commands(h)],
    async close() {
      closing.resolve();
      await closed;
    },
  };
}
