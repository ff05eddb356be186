/** /v1/queue: one filter grammar for looking and for acting, and a job with what was said about it. */

import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { filterOf, jobActionBody, jobActions, jobQuery } from "../../../src/servers/http/schemas_queue.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { test } from "../../support/test.ts";
import { ID, job } from "./fakes.ts";
import { overSocket, post, verdictOf, withDoor } from "./harness.ts";

const NOW = Date.UTC(2026, 5, 1);

/** Each field of the grammar as a query has it, as JSON may have it, and what the store is asked. */
const FIELDS: [field: string, query: string, value: unknown, filter: Record<string, unknown>][] = [
  ["ids", "a,b", ["a", "b"], { ids: ["a", "b"] }],
  ["carrier", "smtp", "smtp", { carrier: "smtp" }],
  ["state", "held", "held", { state: "held" }],
  ["state", "held,dead", ["held", "dead"], { state: ["held", "dead"] }],
  ["lane", "*@x.example", "*@x.example", { lane: "*@x.example" }],
  ["message_id", ID, ID, { messageId: ID }],
  ["event", "mail.delivered", "mail.delivered", { event: "mail.delivered" }],
  ["recipient", "Ann@Bücher.example", "Ann@Bücher.example", { recipient: "Ann@xn--bcher-kva.example" }],
  ["older_than", "1h30m", "1h30m", { createdBefore: NOW - 5_400_000 }],
];
const EVERYTHING = Object.assign({}, ...FIELDS.map(([, , , filter]) => filter));

/** A body from a query's words, as the command line makes it. */
const bodyOf = (fields: typeof FIELDS) => Object.fromEntries(fields.map(([name, , value]) => [name, value]));
const queryOf = (fields: typeof FIELDS) =>
  new URLSearchParams(Object.fromEntries(fields.map(([name, query]) => [name, query])));

test("Every field of the filter means the same to the list and to the four actions", () => {
  for (const fields of [...FIELDS.map((field) => [field]), FIELDS]) {
    const wanted = Object.assign({}, ...fields.map(([, , , filter]) => filter));
    const { limit: _, ...listed } = jobQuery.parse(Object.fromEntries(queryOf(fields)));
    assertEquals(filterOf(listed, NOW), wanted);
    assertEquals(filterOf(jobActionBody.parse(bodyOf(fields)), NOW), wanted);
  }
  const grammar = [...new Set(FIELDS.map(([name]) => name))];
  assertEquals(Object.keys(jobQuery.shape), [...grammar, "limit", "cursor"]);
  assertEquals(Object.keys(jobActionBody.shape), [...grammar, "all", "dry_run"]);
});

test("All fields given reach the store together, and the actions take the same ones", () => {
  const clock = new FakeClock(NOW);
  return withDoor({}, async (h) => {
    h.deps.clock = { ...h.deps.clock, now: () => clock.now() };
    const listed = await h.call(`/v1/queue?${queryOf(FIELDS)}&limit=3&cursor=abc`);
    assertEquals([listed.status, (await listed.json()).items.length], [200, 0]);
    assertEquals(h.store.jobQueries, [[EVERYTHING, { limit: 3, cursor: "abc" }]]);
    for (const action of jobActions) {
      const done = await h.call(`/v1/queue/${action}`, post({ ...bodyOf(FIELDS), dry_run: true }));
      assertEquals(await done.json(), { matched: 7, dry_run: true });
    }
    assertEquals(h.actions, jobActions.map((action) => [action, EVERYTHING, true]));
  });
});

test("A recipient is a whole address, all of a domain, or postmaster", () => {
  const recipientOf = (text: string) => filterOf(jobActionBody.parse({ recipient: text }), NOW).recipient;
  assertEquals(recipientOf("*@EXAMPLE.org"), "*@example.org");
  assertEquals(recipientOf("*@[192.0.2.1]"), "*@[192.0.2.1]");
  assertEquals(recipientOf('"a b"@example.org'), '"a b"@example.org');
  assertEquals(recipientOf("Postmaster"), "Postmaster");
  for (
    const text of ["*", "ann", "@example.org", "*@*", "*@", "*@.org", "a b@example.org", "a@b@c\n", "", "%"]
  ) {
    assertEquals(jobActionBody.safeParse({ recipient: text }).success, false, text);
  }
});

test("older_than is a duration of the configuration's, and never before the beginning of time", () => {
  const before = (older_than: unknown) => filterOf(jobActionBody.parse({ older_than }), NOW).createdBefore;
  assertEquals([before("3d"), before("90"), before(90)], [NOW - 3 * 86_400_000, NOW - 90_000, NOW - 90_000]);
  assertEquals([before("999999999999d"), before(999_999_999_999)], [0, 0]);
  for (
    const wrong of [
      "",
      "2 h",
      "-1h",
      "1w",
      "h",
      "1.5h",
      "2026-01-01",
      -1,
      1.5,
      null,
      true,
      [],
      "1h".repeat(99),
    ]
  ) {
    assertEquals(jobActionBody.safeParse({ older_than: wrong }).success, false, String(wrong));
  }
});

test("The queue is listed by filter, and a job shows where to only when that is an address", () =>
  withDoor({}, async (h) => {
    h.store.jobs = [job, { ...job, id: "s-1", carrier: "smtp", destination: "b@example.com" }];
    const answer = await h.call("/v1/queue?limit=500");
    const text = await answer.text();
    assert(!text.includes("https://example.com/hook"));
    const { items, next_cursor } = JSON.parse(text);
    assertEquals([items[0].id, items[0].created_at, next_cursor], ["j-1", "2026-01-01T00:00:00.000Z", null]);
    assertEquals([items[0].destination, items[1].destination], [undefined, "b@example.com"]);
    assertEquals(h.store.jobQueries[0], [{}, { limit: 500, cursor: undefined }]);
  }));

test("A misspelt or malformed filter is 400 with its name, in a query and in a body, and nothing is done", () =>
  withDoor({}, async (h) => {
    const wrong: [field: string, value: string][] = [
      ["state", "lost"],
      ["state", "held,lost"],
      ["state", "held,"],
      ["state", ""],
      ["state", "held,".repeat(9) + "dead"],
      ["carrier", "pigeon"],
      ["recipient", "ann"],
      ["older_than", "soon"],
      ["ids", ""],
      ["ids", "a,,b"],
      ["ids", "x,".repeat(1000) + "x"],
      ["lane", ""],
      ["event", "x".repeat(1001)],
    ];
    for (const [name, value] of wrong) {
      for (
        const response of [
          await h.call(`/v1/queue?${new URLSearchParams({ [name]: value })}`),
          await h.call("/v1/queue/drop", post({ [name]: value })),
        ]
      ) {
        const { error, details } = await response.json();
        assertEquals([response.status, error], [400, "validation_error"], name);
        assertStringIncludes(details.problems[0].path, name);
      }
    }
    for (const name of ["sate", "older-than", "messageId", "createdBefore", "__proto__", "recipients"]) {
      assertEquals(await verdictOf(h.call(`/v1/queue?${name}=1`)), [400, "validation_error"], name);
      const body = `{"state":"dead","${name}":"x"}`;
      assertEquals(await verdictOf(h.call("/v1/queue/drop", post(body))), [400, "validation_error"], name);
    }
    assertEquals(await verdictOf(h.call("/v1/queue?lane=a&lane=b")), [400, "validation_error"]);
    assertEquals([h.actions, h.store.jobQueries], [[], []]);
  }));

test("Queue actions need a filter or all, and can count first", () =>
  withDoor({}, async (h) => {
    const act = (action: string, body: unknown) => h.call(`/v1/queue/${action}`, post(body));
    assertEquals(await (await act("drop", { state: "dead", dry_run: true })).json(), {
      matched: 7,
      dry_run: true,
    });
    assertEquals(await (await act("retry", { ids: ["j-1"] })).json(), { matched: 7, dry_run: false });
    assertEquals(await (await act("hold", { all: true })).json(), { matched: 7, dry_run: false });
    assertEquals(h.actions, [
      ["drop", { state: "dead" }, true],
      ["retry", { ids: ["j-1"] }, false],
      ["hold", {}, false],
    ]);
    const refused = [{}, { all: false }, { all: true, lane: "*" }, { all: true, older_than: "0s" }, {
      ids: [],
    }];
    for (const body of [...refused, { dry_run: true }, { all: "yes" }, { lane: null }, [], "x"]) {
      assertEquals(await verdictOf(act("release", body)), [400, "validation_error"]);
    }
    const text = h.call("/v1/queue/drop", { method: "POST", body: "{}" });
    assertEquals(await verdictOf(text), [415, "unsupported_media_type"]);
    assertEquals(await verdictOf(act("drop", { lane: "x".repeat(2 ** 20) })), [413, "payload_too_large"]);
    assertEquals(h.actions.length, 3);
  }));

test("A job is shown with its attempts and what was said in each", () =>
  withDoor({}, async (h) => {
    h.store.jobs = [{ ...job, id: "s-1", carrier: "smtp", destination: "b@example.com", attempts: 2 }];
    h.store.attempts.push({
      number: 2,
      at: Date.UTC(2026, 0, 2),
      tookMs: 812,
      outcome: "deferred",
      code: 451,
      remote: "mx.example.com[192.0.2.1]:25",
      transcript: "< 220 mx\n> EHLO us\n< 451 later",
    });
    const shown = await (await h.call("/v1/queue/s-1")).json();
    assertEquals([shown.id, shown.destination, shown.attempts_made], ["s-1", "b@example.com", 2]);
    assertEquals(shown.attempts, [{
      number: 2,
      at: "2026-01-02T00:00:00.000Z",
      took_ms: 812,
      outcome: "deferred",
      code: 451,
      remote: "mx.example.com[192.0.2.1]:25",
      transcript: "< 220 mx\n> EHLO us\n< 451 later",
    }]);
    assertEquals(h.store.jobQueries, [[{ ids: ["s-1"] }, { limit: 1 }]]);
    const head = await h.call("/v1/queue/s-1", { method: "HEAD" });
    assertEquals([head.status, await head.text()], [200, ""]);
  }));

test("A job that is not there is 404, whatever its id looks like", () =>
  withDoor({}, async (h) => {
    for (
      const id of [
        "x",
        "%00",
        "%zz",
        "a%2Fb",
        "%2e%2e%2fdomains",
        "'%20OR%201=1--",
        "%F0%9F%92%A3",
        "x".repeat(5000),
      ]
    ) {
      const { status } = await overSocket(h.control, `/v1/queue/${id}`);
      assertEquals(status, 404, id);
    }
    assert(h.store.jobQueries.some(([filter]) => filter.ids?.[0] === "a/b"));
  }));

test("The actions' paths take POST alone, and no job's path takes one", () =>
  withDoor({}, async (h) => {
    for (
      const [path, init, allow] of [
        ["drop", {}, "POST"],
        ["hold", { method: "HEAD" }, "POST"],
        ["explode", post({ all: true }), "GET, HEAD"],
        ["j-1", { method: "DELETE" }, "GET, HEAD"],
      ] as const
    ) {
      const response = await h.call(`/v1/queue/${path}`, init);
      await response.body?.cancel();
      assertEquals([response.status, response.headers.get("allow")], [405, allow], path);
    }
    await (await h.call("/v1/queue/retry", post({ all: true }))).body?.cancel();
    await (await h.call("/v1/queue/j-1")).body?.cancel();
    const metrics = await (await fetch(`${h.metricsBase}/metrics`)).text();
    assertStringIncludes(metrics, 'method="POST",endpoint="/v1/queue/retry",status="200"');
    assertStringIncludes(metrics, 'method="GET",endpoint="/v1/queue/{id}",status="200"');
    assertEquals(h.actions.length, 1);
  }));
