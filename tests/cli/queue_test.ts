/** The queue's commands: which filter they ask the daemon for, and how a stranger's words are printed. */

import { assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import { test } from "../support/test.ts";
import { withDaemon } from "./support.ts";

const EVERY_FILTER = [
  ...["--carrier", "smtp", "--state", "dead", "--lane", "*", "--message", "m1", "--event", "mail.queued"],
  ...["--recipient", "*@Example.org", "--older-than", "2h"],
];
const ASKED_FOR = {
  carrier: "smtp",
  state: "dead",
  lane: "*",
  message_id: "m1",
  event: "mail.queued",
  recipient: "*@Example.org",
  older_than: "2h",
};

test("queue list passes every filter on and prints the jobs", () => {
  const job = {
    id: "evt_1",
    state: "dead",
    carrier: "smtp",
    lane: "example.org",
    event: "mail.queued",
    message_id: "m1",
    recipients: ["ann@example.org"],
    attempts: 3,
    due_at: null,
    last_error: "HTTP 500\u001b[2J",
  };
  return withDaemon(() => Response.json({ items: [job], next_cursor: "n" }), async ({ asked, run }) => {
    const ran = await run(["queue", "list", "a", "b", ...EVERY_FILTER, "--limit", "2", "--cursor", "c"]);
    const query = Object.fromEntries(new URL(asked[0]!.path, "http://x").searchParams);
    assertEquals(query, { ids: "a,b", ...ASKED_FOR, limit: "2", cursor: "c" });
    assertStringIncludes(ran.out, "HTTP 500\\u001b[2J");
    assertStringIncludes(ran.out, "ann@example.org");
    assertEquals(ran.out.split("\n")[0]!.split(/ {2,}/).at(-1), "LAST ERROR");
    assertEquals(ran.err, "more: --cursor n\n");
  });
});

test("queue list shows what is owed and dead letters, unless a state, jobs or a mail are named", () =>
  withDaemon(() => Response.json({ items: [], next_cursor: null }), async ({ asked, run }) => {
    const stateOf = async (args: string) => {
      const { err } = await run(`queue list ${args}`);
      return [new URL(asked.at(-1)!.path, "http://x").searchParams.get("state"), err];
    };
    const owed = "pending,held,dead";
    assertEquals(await stateOf(""), [owed, "the queue is empty\n"]);
    assertEquals(await stateOf("--carrier smtp --older-than 2h"), [owed, "no such jobs\n"]);
    assertEquals(await stateOf("--state all"), [null, "no such jobs\n"]);
    assertEquals(await stateOf("--state delivered,dropped"), ["delivered,dropped", "no such jobs\n"]);
    assertEquals(await stateOf("evt_1"), [null, "no such jobs\n"]);
    assertEquals(await stateOf("--message m1"), [null, "no such jobs\n"]);
    assertEquals(await stateOf("--message m1 --state held"), ["held", "no such jobs\n"]);
  }));

test("queue hold, release, retry and drop act by id or filter, and say how many", () =>
  withDaemon(
    (ask) => Response.json({ matched: 1, dry_run: Boolean((ask.body as { dry_run?: boolean }).dry_run) }),
    async ({ asked, run }) => {
      assertEquals((await run("queue hold a b")).out, "1 job held\n");
      assertEquals((await run("queue release --lane *@x.example")).out, "1 job released\n");
      assertEquals((await run(["queue", "retry", ...EVERY_FILTER])).out, "1 job made due\n");
      assertEquals((await run("queue drop --all --dry-run")).out, "1 job would be dropped\n");
      assertEquals(JSON.parse((await run("queue drop x --json")).out), { matched: 1, dry_run: false });
      assertEquals(asked.map(({ method, path, body }) => [method, path, body]), [
        ["POST", "/v1/queue/hold", { ids: ["a", "b"] }],
        ["POST", "/v1/queue/release", { lane: "*@x.example" }],
        ["POST", "/v1/queue/retry", ASKED_FOR],
        ["POST", "/v1/queue/drop", { all: true, dry_run: true }],
        ["POST", "/v1/queue/drop", { ids: ["x"] }],
      ]);
    },
  ));

test("ids with commas between them are several to the list and to the four alike", () =>
  withDaemon(
    ({ method }) => Response.json(method === "GET" ? { items: [], next_cursor: null } : { matched: 3 }),
    async ({ asked, run }) => {
      await run("queue list a,b c");
      assertEquals(new URL(asked[0]!.path, "http://x").searchParams.get("ids"), "a,b,c");
      await run("queue drop a,b c");
      assertEquals(asked[1]!.body, { ids: ["a", "b", "c"] });
    },
  ));

test("each of the four can count first", () =>
  withDaemon(() => Response.json({ matched: 5, dry_run: true }), async ({ asked, run }) => {
    for (const [verb, past] of [["hold", "held"], ["release", "released"], ["retry", "made due"]]) {
      assertEquals((await run(`queue ${verb} --older-than 30m --dry-run`)).out, `5 jobs would be ${past}\n`);
    }
    assertEquals(
      asked.map(({ body }) => body),
      [1, 2, 3].map(() => ({ older_than: "30m", dry_run: true })),
    );
  }));

test("queue drop without ids, filter or --all touches nothing, and --all stands alone", () =>
  withDaemon(() => Response.json({ matched: 9 }), async ({ asked, run }) => {
    for (
      const args of [
        "queue drop",
        "queue drop --dry-run",
        "queue drop --all x",
        "queue drop --all --state dead",
        "queue drop --all --older-than 3d",
        "queue drop --lane= --state dead",
        "queue drop --recipient a@x.example --recipient b@x.example",
        "queue drop --reciepient a@x.example",
      ]
    ) {
      assertEquals((await run(args)).code, 2, args);
    }
    assertEquals(asked, []);
  }));

const SHOWN = {
  id: "smtp_1",
  carrier: "smtp",
  destination: "ann@example.org",
  state: "pending",
  attempts_made: 2,
  attempts: [
    {
      number: 1,
      at: "2026-01-01T00:00:00.000Z",
      took_ms: 812,
      outcome: "deferred",
      code: 451,
      remote: "mx1.example.org[192.0.2.1]:25",
      transcript: "< 220 mx1\u001b]0;owned\u0007\r\n> EHLO us\n< 451 4.7.1 later\u009b2J\rgone\n",
    },
    {
      number: 2,
      at: "2026-01-01T00:10:00.000Z",
      took_ms: 3,
      outcome: "deferred",
      code: null,
      remote: null,
      transcript: "",
    },
  ],
};

test("queue show prints the job and what was said in each attempt, and no control character of it", () =>
  withDaemon(() => Response.json(SHOWN), async ({ asked, run }) => {
    const ran = await run("queue show a/../b");
    assertEquals([ran.code, ran.err, asked[0]!.path], [0, "", "/v1/queue/a%2F..%2Fb"]);
    assertStringIncludes(ran.out, "destination: ann@example.org\n");
    assertStringIncludes(ran.out, "attempts_made: 2\n");
    assertStringIncludes(
      ran.out,
      [
        "",
        "attempt 1: 2026-01-01T00:00:00.000Z, deferred, 451, mx1.example.org[192.0.2.1]:25, 812 ms",
        "    < 220 mx1\\u001b]0;owned\\u0007",
        "    > EHLO us",
        "    < 451 4.7.1 later\\u009b2J\\u000dgone",
        "",
        "attempt 2: 2026-01-01T00:10:00.000Z, deferred, 3 ms",
        "",
      ].join("\n"),
    );
    assertNotMatch(ran.out, /[^\n\x20-\x7e]/);
    const asJson = await run("queue show x --json");
    assertEquals(JSON.parse(asJson.out), SHOWN);
    assertNotMatch(asJson.out, /[^\n\x20-\x7e]/);
  }));

test("queue show of an answer without attempts is the job alone, and an id is no path", () =>
  withDaemon(() => Response.json({ id: "evt_1", state: "dead" }), async ({ asked, run }) => {
    assertEquals((await run("queue show evt_1")).out, "id: evt_1\nstate: dead\n");
    assertEquals((await run("queue show ..")).code, 1);
    assertEquals((await run("queue show")).code, 2);
    assertEquals(asked.length, 1);
  }));
