/** /unsubscribe/{token}: the page, the one-click POST, and how little a stranger can do with either. */

import { assert, assertEquals, assertNotMatch, assertStringIncludes } from "@std/assert";
import { test } from "../../support/test.ts";
import { verdictOf, withDoor } from "./harness.ts";

const FORM = "application/x-www-form-urlencoded";
const oneClick = (
  body: BodyInit = "List-Unsubscribe=One-Click",
  type: string | null = FORM,
): RequestInit => ({
  method: "POST",
  body,
  headers: type === null ? {} : { "content-type": type },
});

test("The page asks and changes nothing, has no script and shows the address escaped", () =>
  withDoor({}, async (h) => {
    const response = await fetch(`${h.base}/unsubscribe/good-1`);
    const page = await response.text();
    assertEquals([response.status, response.headers.get("content-type")], [200, "text/html; charset=utf-8"]);
    assertStringIncludes(page, "&#34;&#60;b&#62;&#38;&#39;&#34;@example.net");
    assertNotMatch(page, /<script|src=|href=|<b>/);
    assertStringIncludes(page, '<form method="post">');
    const policy = response.headers.get("content-security-policy") ?? "";
    for (const part of ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'"]) {
      assertStringIncludes(policy, part);
    }
    assertEquals(response.headers.get("referrer-policy"), "no-referrer");
    const asked = await fetch(`${h.base}/unsubscribe/good-1`, { method: "HEAD" });
    assertEquals([asked.status, await asked.text()], [200, ""]);
    assertEquals(h.outbound.unsubscribed, []);
  }));

test("One click unsubscribes, in both forms that RFC 8058 has, and again", () =>
  withDoor({}, async (h) => {
    const multipart = new FormData();
    multipart.set("List-Unsubscribe", "One-Click");
    for (const init of [oneClick(), oneClick(multipart, null), oneClick("a=b&List-Unsubscribe=One-Click")]) {
      const done = await fetch(`${h.base}/unsubscribe/good-2`, init);
      assertEquals([done.status, done.headers.get("content-type")], [200, "text/plain; charset=utf-8"]);
      assertStringIncludes(await done.text(), "You are unsubscribed");
    }
    assertEquals(h.outbound.unsubscribed, ["good-2", "good-2", "good-2"]);
  }));

test("A POST without the pair, of another type, or too large does nothing", () =>
  withDoor({}, async (h) => {
    const post = (init: RequestInit) => verdictOf(fetch(`${h.base}/unsubscribe/good-3`, init));
    for (
      const body of ["", "List-Unsubscribe=", "list-unsubscribe=One-Click", "List-Unsubscribe=one-click"]
    ) {
      assertEquals(await post(oneClick(body)), [400, "validation_error"], body);
    }
    assertEquals(await post(oneClick("--x", "multipart/form-data; boundary=x")), [400, "validation_error"]);
    assertEquals(await post(oneClick("--x", "multipart/form-data")), [400, "validation_error"]);
    assertEquals(await post(oneClick("{}", "application/json")), [415, "unsupported_media_type"]);
    const large = oneClick("List-Unsubscribe=One-Click&a=" + "x".repeat(20_000));
    assertEquals(await post(large), [413, "payload_too_large"]);
    assertEquals(h.outbound.unsubscribed, []);
  }));

test("A token that is none of ours is 404 either way", () =>
  withDoor({}, async (h) => {
    for (const token of ["bad", "%00", "..%2fgood", "x".repeat(600), "%0d%0aSet-Cookie:a"]) {
      assertEquals(await verdictOf(fetch(`${h.base}/unsubscribe/${token}`)), [404, "not_found"], token);
      const posted = fetch(`${h.base}/unsubscribe/${token}`, oneClick());
      assertEquals(await verdictOf(posted), [404, "not_found"], token);
    }
  }));

test("It is open to everybody but limited by address, and a wrong token in the header does not matter", () =>
  withDoor(
    { config: { rate_limit_exempt: [], rate_limit_burst: 2, rate_limit_per_minute: 60 } },
    async (h) => {
      const ask = (headers = {}) => fetch(`${h.base}/unsubscribe/good-4`, { headers });
      const first = await ask({ authorization: "Bearer wrong" });
      assertEquals([first.status, first.headers.get("x-ratelimit-remaining")], [200, "1"]);
      await first.body?.cancel();
      await (await ask()).body?.cancel();
      assertEquals(await verdictOf(ask()), [429, "rate_limited"]);
      assertEquals(await verdictOf(fetch(`${h.base}/unsubscribe/good-4`, oneClick())), [429, "rate_limited"]);
      assertEquals(h.outbound.unsubscribed, []);
    },
  ));

test("The token is neither in the log nor in the metrics", () =>
  withDoor({}, async (h) => {
    await (await fetch(`${h.base}/unsubscribe/good-secret`)).body?.cancel();
    await (await fetch(`${h.base}/unsubscribe/good-secret`, oneClick())).body?.cancel();
    await (await fetch(`${h.base}/unsubscribe/bad-secret`, oneClick())).body?.cancel();
    await (await fetch(`${h.base}/unsubscribe/good-secret`, { method: "PUT" })).body?.cancel();
    const log = await h.log();
    assertStringIncludes(log, '"endpoint":"/unsubscribe/{token}"');
    assert(!log.includes("secret"));
    const metrics = await h.deps.metrics.registry.metrics();
    assertStringIncludes(metrics, 'endpoint="/unsubscribe/{token}"');
    assert(!metrics.includes("secret"));
  }));
