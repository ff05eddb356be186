/** The webhook commands: what they ask the daemon, and what they print. */

import { assertEquals, assertStringIncludes } from "@std/assert";
import { test } from "../support/test.ts";
import { withDaemon } from "./support.ts";

const ITEM = {
  url: "https://app.example.com/mail",
  webhook_id: "01JZ0000000000000000000001",
  status: 200,
  took_ms: 12,
  outcome: "delivered",
  error: null,
  answer: "thanks\u001b[2J",
};

test("webhook test shows each answer in a line without escape sequences, and exits by what it means", () => {
  const failed = {
    ...ITEM,
    status: null,
    outcome: "deferred",
    error: "Cannot deliver: connection refused",
    answer: null,
  };
  let items = [ITEM];
  return withDaemon(() => Response.json({ items }), async ({ asked, run }) => {
    const fine = await run("webhook test https://app.example.com/mail");
    assertEquals([fine.code, fine.out], [
      0,
      "https://app.example.com/mail: 200 in 12 ms, delivered\n  thanks\\u001b[2J\n",
    ]);
    items = [ITEM, failed as unknown as typeof ITEM];
    const mixed = await run("webhook test");
    assertEquals(mixed.code, 1);
    assertStringIncludes(mixed.out, "no answer in 12 ms, deferred\n  Cannot deliver: connection refused\n");
    assertEquals((await run("webhook test --json")).code, 1);
    assertEquals(asked.map(({ path, body }) => [path, body]).slice(0, 2), [
      ["/v1/webhook/test", { url: ITEM.url }],
      ["/v1/webhook/test", {}],
    ]);
  });
});

test("webhook rotate-secret prints the new secret alone, and says on stderr what comes next", () =>
  withDaemon(
    ({ body }) =>
      Response.json(
        (body as { action: string }).action === "rotate" ? { status: "rotated", next: "whsec_abc" } : {},
      ),
    async ({ asked, run }) => {
      const rotated = await run("webhook rotate-secret");
      assertEquals([rotated.code, rotated.out], [0, "whsec_abc\n"]);
      assertStringIncludes(rotated.err, "--retire");
      assertEquals((await run("webhook rotate-secret --retire")).out, "The first secret signs no more\n");
      assertEquals((await run("webhook rotate-secret --cancel")).out, "The second secret signs no more\n");
      assertEquals((await run("webhook rotate-secret --retire --cancel")).code, 2);
      assertEquals(asked.map(({ body }) => body), [{ action: "rotate" }, { action: "retire" }, {
        action: "cancel",
      }]);
    },
  ));
