/** Commands that talk to the daemon: what they ask, what they print, what they say when it isn't there. */

import { assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import { fields, table } from "../../src/cli/format.ts";
import { test, withTempDir } from "../support/test.ts";
import { gomail, withDaemon } from "./support.ts";

const MESSAGE = {
  id: "01JBX2G7S9T4Q0V8N3M5K6H1CD",
  received_at: "2026-01-01T00:00:00.000Z",
  sender: "",
  recipients: ["a@example.com", "b@example.com"],
  size_bytes: 1234,
  verdict: "quarantine",
  subject: "evil \u001b]0;owned\u0007 \u202egnp.exe\nsecond line",
};

test("message list prints a table in which no escape sequence survives", () =>
  withDaemon(() => Response.json({ items: [MESSAGE], next_cursor: "abc" }), async ({ asked, run }) => {
    const ran = await run(
      "message list --limit 5 --cursor c --sender <> --recipient a@b --verdict quarantine",
    );
    assertEquals(ran.code, 0);
    assertEquals(asked[0]!.path, "/v1/messages?limit=5&cursor=c&sender=&recipient=a%40b&verdict=quarantine");
    const [head, row] = ran.out.split("\n");
    assertEquals(head!.split(/ +/), [
      "ID",
      "RECEIVED",
      "SENDER",
      "RECIPIENTS",
      "BYTES",
      "VERDICT",
      "SUBJECT",
    ]);
    assertEquals(head!.indexOf("SUBJECT"), row!.indexOf("evil"));
    assertStringIncludes(row!, "evil \\u001b]0;owned\\u0007 \\u202egnp.exe\\u000asecond line");
    assertStringIncludes(row!, "<>");
    assertEquals(ran.err, "more: --cursor abc\n");
  }));

test("message list --json is the API's answer, and an empty list says so", async () => {
  const answer = { items: [{ ...MESSAGE, subject: "\u009b31m" }], next_cursor: null };
  await withDaemon(() => Response.json(answer), async ({ run }) => {
    const ran = await run("message list --json");
    assertEquals(JSON.parse(ran.out), answer);
    assertNotMatch(ran.out, /\u009b/);
  });
  await withDaemon(() => Response.json({ items: [], next_cursor: null }), async ({ run }) => {
    const ran = await run("message list");
    assertEquals([ran.code, ran.out, ran.err], [0, "", "no messages\n"]);
  });
});

test("message show prints every field", () =>
  withDaemon(
    () =>
      Response.json({
        ...MESSAGE,
        authentication: { spf: { result: "pass" }, dkim: { signatures: [{ domain: "x" }] } },
      }),
    async ({ asked, run }) => {
      const ran = await run(`message show ${MESSAGE.id}`);
      assertEquals(asked[0]!.path, `/v1/messages/${MESSAGE.id}`);
      assertStringIncludes(ran.out, "  spf:\n    result: pass\n");
      assertStringIncludes(ran.out, "    signatures:\n");
      assertStringIncludes(ran.out, "domain: x");
      assertStringIncludes(ran.out, "recipients: a@example.com, b@example.com");
      assertEquals(JSON.parse((await run(`message show ${MESSAGE.id} --json`)).out).id, MESSAGE.id);
    },
  ));

test("message raw writes the exact bytes", async () => {
  const bytes = crypto.getRandomValues(new Uint8Array(50_000));
  await withDaemon(() => new Response(bytes), async ({ asked, run }) => {
    const ran = await run("message raw abc");
    assertEquals([ran.code, asked[0]!.path, ran.out], [0, "/v1/messages/abc/raw", ""]);
    assertEquals(ran.bytes, bytes);
  });
});

test("message replay says how many webhooks go out again", () =>
  withDaemon(() => Response.json({ replayed: 2 }), async ({ asked, run }) => {
    assertEquals((await run("message replay abc")).out, "2 webhooks queued again\n");
    assertEquals(JSON.parse((await run("message replay abc --json")).out), { replayed: 2 });
    assertEquals([asked[0]!.method, asked[0]!.path], ["POST", "/v1/messages/abc/replay"]);
  }));

test("an id can't become another path", () =>
  withDaemon(() => Response.json({}), async ({ asked, run }) => {
    for (const id of ["..", "."]) {
      const ran = await run(["message", "show", id]);
      assertEquals([ran.code, ran.out], [1, ""]);
    }
    assertEquals((await run(["message", "show", "../domains?x=1"])).code, 0);
    assertEquals(asked.map((ask) => ask.path), ["/v1/messages/..%2Fdomains%3Fx%3D1"]);
  }));

test("domain list, add and remove", () => {
  const items = [{ domain: "a.example", recipients: null, source: "config" }, {
    domain: "b.example",
    recipients: ["x@b.example"],
    source: "store",
  }];
  return withDaemon((ask) => Response.json(ask.method === "GET" ? { items } : {}), async ({ asked, run }) => {
    const list = await run("domain list");
    assertEquals(
      list.out,
      "DOMAIN     RECIPIENTS   FROM\na.example  all          config\nb.example  x@b.example  store\n",
    );
    assertEquals(JSON.parse((await run("domain list --json")).out), { items });
    assertEquals((await run("domain add c.example --recipient a@c.example --recipient b@c.example")).code, 0);
    assertStringIncludes((await run("domain add d.example")).out, "mail for d.example is accepted");
    assertStringIncludes((await run("domain remove d.example")).out, "no longer accepted");
    assertEquals(asked.slice(2).map(({ method, path, body }) => [method, path, body]), [
      ["POST", "/v1/domains", { domain: "c.example", recipients: ["a@c.example", "b@c.example"] }],
      ["POST", "/v1/domains", { domain: "d.example" }],
      ["DELETE", "/v1/domains/d.example", undefined],
    ]);
    // For scripts, what the API says.
    assertEquals((await run("domain add d.example --json")).out, "{}\n");
    assertEquals((await run("domain remove d.example --json")).out, "{}\n");
  });
});

test("the API's error message is what a person reads, made printable", async () => {
  const error = {
    error: "conflict",
    message: "Cannot remove the domain: it is in the config\u001b[2J",
    request_id: "r",
  };
  await withDaemon(() => Response.json(error, { status: 409 }), async ({ run }) => {
    const ran = await run("domain remove a.example");
    assertEquals([ran.code, ran.out], [1, ""]);
    assertEquals(ran.err, "gomail: Cannot remove the domain: it is in the config\\u001b[2J\n");
  });
  await withDaemon(() => new Response("<html>", { status: 502 }), async ({ run }) => {
    assertStringIncludes((await run("domain list")).err, "HTTP status 502");
  });
  await withDaemon(() => new Response("not json"), async ({ run }) => {
    assertStringIncludes((await run("domain list")).err, "its answer is not JSON");
  });
});

test("a daemon that isn't there is said in one line that helps", () =>
  withTempDir(async (dir) => {
    const missing = await gomail(`queue list --config /dev/null --control-socket ${dir}/none.sock`);
    assertEquals(missing.code, 1);
    assertStringIncludes(missing.err, "does not exist; start it with `gomail server`");
    const listener = Deno.listen({ transport: "unix", path: `${dir}/stale.sock` });
    await Deno.rename(`${dir}/stale.sock`, `${dir}/moved.sock`);
    listener.close();
    const stale = await gomail(`queue list --config /dev/null --control-socket ${dir}/moved.sock`);
    assertStringIncludes(stale.err, "nobody listens on");
    const folder = await gomail(
      `queue list --config /dev/null --control-socket ${dir}/none.sock/x/${"y".repeat(300)}`,
    );
    assertEquals([folder.code, folder.err.split("\n").length], [1, 2]);
  }));

test("a config with a mistake elsewhere is no reason not to find the daemon", () =>
  withDaemon(() => Response.json({ items: [] }), ({ socket }) =>
    withTempDir(async (dir) => {
      const path = `${dir}/c.yaml`;
      await Deno.writeTextFile(path, `port: nine\ncontrol_socket: ${socket}\n`);
      assertEquals((await gomail(["domain", "list", "--config", path])).code, 0);
      const missing = await gomail("domain list --config /nowhere.yaml");
      assertEquals([missing.code, missing.err], [1, "gomail: Cannot use /nowhere.yaml: it does not exist\n"]);
    })));

test("table() cuts long cells, fields() stops at a depth", () => {
  assertEquals(table([["x".repeat(500), "b"]]).length < 130, true);
  let deep: Record<string, unknown> = { end: 1 };
  for (let i = 0; i < 100; i++) deep = { deep };
  assertEquals(fields(deep).split("\n").length < 12, true);
  assertEquals(fields({ list: [[1], { a: 1 }], none: null, empty: [] }).includes("none: -"), true);
});
