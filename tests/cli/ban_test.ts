/** The ban commands: what they ask the daemon, and what they print. */

import { assertEquals } from "@std/assert";
import { test } from "../support/test.ts";
import { gomail, withDaemon } from "./support.ts";

const BAN = {
  range: "192.0.2.7/32",
  source: "automatic",
  reason: "5 points within 10m: relay attempts",
  evidence: [{
    at: "2026-01-01T00:00:00.000Z",
    door: "smtp",
    violation: "relay_denied",
    detail: "x@y.example",
  }],
  times: 2,
  created_at: "2026-01-01T00:00:00.000Z",
  expires_at: "2026-01-01T02:00:00.000Z",
};
const FOR_GOOD = { ...BAN, range: "2001:db8::/32", reason: "spam\u001b[2J", times: 1, expires_at: null };

test("ban list shows range, since, until, times and reason, and no escape sequence survives", () =>
  withDaemon(() => Response.json({ items: [BAN, FOR_GOOD], next_cursor: "n" }), async ({ asked, run }) => {
    const ran = await run("ban list 192.0.2.7 --limit 3 --cursor c");
    assertEquals(ran.out.trimEnd().split("\n").map((line) => line.split(/ {2,}/)), [
      ["RANGE", "SINCE", "UNTIL", "TIMES", "REASON"],
      ["192.0.2.7/32", BAN.created_at, BAN.expires_at, "2", BAN.reason],
      ["2001:db8::/32", BAN.created_at, "removed by hand", "1", "spam\\u001b[2J"],
    ]);
    assertEquals(ran.err, "more: --cursor n\n");
    assertEquals(JSON.parse((await run("ban list --json")).out).items, [BAN, FOR_GOOD]);
    assertEquals(asked.map(({ path }) => path), [
      "/v1/bans?address=192.0.2.7&limit=3&cursor=c",
      "/v1/bans",
    ]);
  }));

test("an empty list of bans says so", () =>
  withDaemon(() => Response.json({ items: [], next_cursor: null }), async ({ run }) => {
    const ran = await run("ban list");
    assertEquals([ran.code, ran.out, ran.err], [0, "", "nobody is banned\n"]);
  }));

test("ban add says until when, and whom the allowlist lets in all the same", () =>
  withDaemon(() => Response.json({ ...FOR_GOOD, exempt: ["2001:db8::1"] }), async ({ asked, run }) => {
    const ran = await run(["ban", "add", "2001:db8::/32", "--for", "7d", "--reason", "spam run"]);
    assertEquals([ran.code, ran.out, ran.err], [
      0,
      "2001:db8::/32 is banned until removed by hand\n",
      "let in all the same, by connection_allowlist: 2001:db8::1\n",
    ]);
    const json = await run("ban add 192.0.2.7 --json");
    assertEquals([JSON.parse(json.out).exempt, json.err], [["2001:db8::1"], ""]);
    assertEquals(asked.map(({ method, path, body }) => [method, path, body]), [
      ["POST", "/v1/bans", { range: "2001:db8::/32", duration: "7d", reason: "spam run" }],
      ["POST", "/v1/bans", { range: "192.0.2.7" }],
    ]);
  }));

test("ban remove names the range as one part of the path, and tells which ban went and what is left", () => {
  const answer = { status: "removed", range: "192.0.2.0/24", still_banned_by: ["192.0.0.0/16"] };
  return withDaemon(() => Response.json(answer), async ({ asked, run }) => {
    const ran = await run("ban remove 192.0.2.7");
    assertEquals([ran.code, ran.out, ran.err], [
      0,
      "the ban of 192.0.2.0/24 is lifted\n",
      "192.0.2.7 is still kept out, by 192.0.0.0/16\n",
    ]);
    assertEquals(JSON.parse((await run("ban remove 2001:db8::/32 --json")).out), answer);
    assertEquals(asked.map(({ method, path }) => [method, path]), [
      ["DELETE", "/v1/bans/192.0.2.7"],
      ["DELETE", "/v1/bans/2001%3Adb8%3A%3A%2F32"],
    ]);
  });
});

test("ban commands that lack a range, or have two, exit 2", async () => {
  for (const args of ["add", "remove", "add a b", "list a b", "add 192.0.2.1 --for"]) {
    assertEquals((await gomail(`ban ${args}`)).code, 2, args);
  }
});
