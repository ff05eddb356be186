/** The token commands: what they ask the daemon, and that a script can take the token from stdout as it is. */

import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { test } from "../support/test.ts";
import { gomail, withDaemon } from "./support.ts";

const ITEM = {
  id: "7k2m9xq4h1tc",
  name: "shop \u001b[2J",
  scopes: ["send", "read"],
  rate_limit_per_minute: 600,
  rate_limit_burst: 50,
  created_at: "2026-01-01T00:00:00.000Z",
  expires_at: "2026-04-01T00:00:00.000Z",
  last_used_at: null,
  expired: false,
};
const TOKEN = `gmt_${ITEM.id}_${"A".repeat(43)}`;
const MADE = { ...ITEM, token: TOKEN };

test("token create prints the token alone, and says on stderr that this is the only time", () =>
  withDaemon(() => Response.json(MADE, { status: 201 }), async ({ asked, run }) => {
    const ran = await run(
      "token create shop --scope send,read --expires 90d --rate-limit 600 --burst 50",
    );
    assertEquals([ran.code, ran.out], [0, `${TOKEN}\n`]);
    assertEquals(
      ran.err,
      "token 7k2m9xq4h1tc is good until 2026-04-01T00:00:00.000Z; it is shown this once, so keep it now\n",
    );
    assertEquals(asked.map(({ method, path, body }) => [method, path, body]), [["POST", "/v1/tokens", {
      name: "shop",
      scopes: ["send", "read"],
      expires_in: "90d",
      rate_limit_per_minute: 600,
      rate_limit_burst: 50,
    }]]);
  }));

test("token create leaves out what was not said, and takes --scope several times", () =>
  withDaemon(() => Response.json({ ...MADE, expires_at: null }, { status: 201 }), async ({ asked, run }) => {
    const ran = await run(["token", "create", "The shop", "--scope", "send", "--scope", "read, inbound"]);
    assertEquals(asked[0]!.body, { name: "The shop", scopes: ["send", "read", "inbound"] });
    assertMatch(ran.err, /good until it is revoked/);
    const asJson = await run("token create shop --scope admin --json");
    assertEquals([JSON.parse(asJson.out), asJson.err], [{ ...MADE, expires_at: null }, ""]);
  }));

test("A refusal is the API's own words, and nothing is on stdout", () => {
  const error = { error: "validation_error", message: "Cannot accept scopes[0]: no", request_id: "r" };
  return withDaemon(() => Response.json(error, { status: 400 }), async ({ run }) => {
    const ran = await run("token create shop --scope everything");
    assertEquals([ran.code, ran.out, ran.err], [1, "", "gomail: Cannot accept scopes[0]: no\n"]);
  });
});

test("An answer without a token is an error, so that no script goes on with nothing", () =>
  withDaemon(() => Response.json({}, { status: 201 }), async ({ run }) => {
    const ran = await run("token create shop --scope send");
    assertEquals([ran.code, ran.out], [1, ""]);
    assertStringIncludes(ran.err, "it has no token");
  }));

test("token list shows limits and expiry, and no escape sequence", () => {
  const old = {
    ...ITEM,
    id: "0000000000zz",
    expired: true,
    rate_limit_per_minute: null,
    rate_limit_burst: null,
  };
  return withDaemon(() => Response.json({ items: [ITEM, old], next_cursor: "n" }), async ({ asked, run }) => {
    const ran = await run("token list --limit 2 --cursor c");
    assertEquals(asked[0]!.path, "/v1/tokens?limit=2&cursor=c");
    const [head, first, second] = ran.out.split("\n");
    assertEquals(head!.split(/ {2,}/), ["ID", "NAME", "SCOPES", "LIMIT", "CREATED", "EXPIRES", "LAST USED"]);
    assertEquals(first!.split(/ {2,}/), [
      "7k2m9xq4h1tc",
      "shop \\u001b[2J",
      "send, read",
      "600/min, 50 at once",
      "2026-01-01T00:00:00.000Z",
      "2026-04-01T00:00:00.000Z",
      "-",
    ]);
    assertStringIncludes(second!, "2026-04-01T00:00:00.000Z (expired)");
    assertEquals(ran.err, "more: --cursor n\n");
    assertEquals(JSON.parse((await run("token list --json")).out).items, [ITEM, old]);
  });
});

test("An empty list says what is still good", () =>
  withDaemon(() => Response.json({ items: [], next_cursor: null }), async ({ run }) => {
    const ran = await run("token list");
    assertEquals([ran.code, ran.out, ran.err], [0, "", "no tokens but bearer_token\n"]);
  }));

test("token revoke names the id in the path", () =>
  withDaemon(() => Response.json({ status: "revoked" }), async ({ asked, run }) => {
    const ran = await run("token revoke 7k2m9xq4h1tc");
    assertEquals([ran.code, ran.out], [0, "7k2m9xq4h1tc is good for nothing any more\n"]);
    assertEquals(JSON.parse((await run("token revoke a/b --json")).out), { status: "revoked" });
    assertEquals(asked.map(({ method, path }) => [method, path]), [
      ["DELETE", "/v1/tokens/7k2m9xq4h1tc"],
      ["DELETE", "/v1/tokens/a%2Fb"],
    ]);
  }));

test("A whole token is not sent as an id, and not repeated", () =>
  withDaemon(() => Response.json({}), async ({ asked, run }) => {
    const ran = await run(["token", "revoke", TOKEN]);
    assertEquals([ran.code, ran.out, asked.length], [2, "", 0]);
    assertEquals(ran.err.includes(TOKEN.slice(17)), false);
  }));

test("Token commands that are wrongly used exit 2 and ask nothing", () =>
  withDaemon(() => Response.json({}), async ({ asked, run }) => {
    const wrong = [
      "create",
      "create shop",
      "create a b --scope send",
      "create shop --scope send --rate-limit 0",
      "create shop --scope send --burst x",
      "list x",
      "revoke",
      "revoke a b",
    ];
    for (const args of wrong) assertEquals((await run(`token ${args}`)).code, 2, args);
    assertEquals(asked, []);
    assertEquals((await gomail("token")).code, 2);
  }));
