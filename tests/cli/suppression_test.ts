/** The suppression commands: what they ask the daemon, and what they print. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { test } from "../support/test.ts";
import { gomail, withDaemon } from "./support.ts";

const ENTRY = {
  address: "ann@example.org",
  reason: "bounce",
  message_id: "01JBX2G7S9T4Q0V8N3M5K6H1CD",
  detail: "550 5.1.1 no such user\u001b[2J",
  created_at: "2026-01-01T00:00:00.000Z",
};

test("suppression list filters, and prints a table in which no escape sequence survives", () =>
  withDaemon(() => Response.json({ items: [ENTRY], next_cursor: "n" }), async ({ asked, run }) => {
    const ran = await run("suppression list Ann@example.org --reason bounce --limit 3 --cursor c");
    assertEquals(
      asked[0]!.path,
      "/v1/suppressions?address=Ann%40example.org&reason=bounce&limit=3&cursor=c",
    );
    assertEquals(ran.out.split("\n")[0]!.split(/ +/), ["ADDRESS", "REASON", "SINCE", "MESSAGE", "DETAIL"]);
    assertStringIncludes(ran.out, "550 5.1.1 no such user\\u001b[2J\n");
    assertEquals(ran.err, "more: --cursor n\n");
    assertEquals(JSON.parse((await run("suppression list --json")).out).items, [ENTRY]);
    assertEquals(asked[1]!.path, "/v1/suppressions");
  }));

test("an empty list of suppressed addresses says so", () =>
  withDaemon(() => Response.json({ items: [], next_cursor: null }), async ({ run }) => {
    const ran = await run("suppression list");
    assertEquals([ran.code, ran.out, ran.err], [0, "", "no addresses are suppressed\n"]);
  }));

test("suppression add says how the address stands in the list", () =>
  withDaemon(() => Response.json(ENTRY, { status: 200 }), async ({ asked, run }) => {
    const ran = await run(["suppression", "add", "ANN@example.org", "--detail", "asked by telephone"]);
    assertEquals([ran.code, ran.err], [0, ""]);
    assertEquals(ran.out, "ann@example.org is not written to (bounce, since 2026-01-01T00:00:00.000Z)\n");
    assertEquals(JSON.parse((await run("suppression add b@example.org --json")).out), ENTRY);
    assertEquals(asked.map(({ method, path, body }) => [method, path, body]), [
      ["POST", "/v1/suppressions", { address: "ANN@example.org", detail: "asked by telephone" }],
      ["POST", "/v1/suppressions", { address: "b@example.org" }],
    ]);
  }));

test("suppression remove names the address as one part of the path", () =>
  withDaemon(() => Response.json({ status: "removed" }), async ({ asked, run }) => {
    const ran = await run(["suppression", "remove", '"a/../b c"@example.org']);
    assertEquals([ran.code, ran.out], [0, '"a/../b c"@example.org is written to again\n']);
    assertEquals(
      (await run("suppression remove a%2Fb@example.org --json")).out,
      '{\n  "status": "removed"\n}\n',
    );
    assertEquals(asked.map(({ method, path }) => [method, path]), [
      ["DELETE", "/v1/suppressions/%22a%2F..%2Fb%20c%22%40example.org"],
      ["DELETE", "/v1/suppressions/a%252Fb%40example.org"],
    ]);
  }));

test("an address that is not in the list is one line and exit code 1", () => {
  const error = { error: "not_found", message: "That address is not suppressed", request_id: "r" };
  return withDaemon(() => Response.json(error, { status: 404 }), async ({ run }) => {
    const ran = await run("suppression remove ann@example.org");
    assertEquals([ran.code, ran.out, ran.err], [1, "", "gomail: That address is not suppressed\n"]);
  });
});

test("suppression commands that lack an address, or have two, exit 2", async () => {
  for (const args of ["add", "remove", "add a@x.example b@x.example", "list a@x.example b@x.example"]) {
    assertEquals((await gomail(`suppression ${args}`)).code, 2, args);
  }
});
