/** The X-RateLimit headers against a clock moved by hand, and whose bucket a request takes from. */

import { assert, assertEquals } from "@std/assert";
import type { TokenScope } from "../../../src/store/types.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { test } from "../../support/test.ts";
import { ID } from "./fakes.ts";
import { type Harness, TOKEN, withDoor } from "./harness.ts";

const LIMITED = { rate_limit_exempt: [], rate_limit_burst: 3, rate_limit_per_minute: 60 };
const bearer = (token: string) => ({ authorization: `Bearer ${token}` });

/** What an answer says about its bucket; the reset in seconds after `startMs`. */
interface Told {
  status: number;
  limit: number | null;
  remaining: number | null;
  reset: number | null;
  retryAfter: number | null;
}

function told({ status, headers }: Response, startMs: number): Told {
  const number = (name: string) => headers.get(name) === null ? null : Number(headers.get(name));
  const reset = number("x-ratelimit-reset");
  return {
    status,
    limit: number("x-ratelimit-limit"),
    remaining: number("x-ratelimit-remaining"),
    reset: reset === null ? null : reset - startMs / 1000,
    retryAfter: number("retry-after"),
  };
}

type Step = [
  advanceMs: number,
  path: string,
  init: RequestInit,
  status: number,
  remaining: number,
  resetAfterStart: number,
  retryAfter?: number,
];

async function follow(h: Harness, clock: FakeClock, perMinute: number, steps: Step[]): Promise<void> {
  const start = clock.now();
  for (const [at, [advanceMs, path, init, status, remaining, reset, retryAfter = null]] of steps.entries()) {
    await clock.advance(advanceMs);
    const answer = await fetch(h.base + path, init);
    await answer.body?.cancel();
    assertEquals(
      told(answer, start),
      { status, limit: perMinute, remaining, reset, retryAfter },
      `step ${at + 1}: ${path}`,
    );
  }
}

async function tokenWith(h: Harness, perMinute: number | null, burst = 2, scopes: TokenScope[] = ["read"]) {
  const rateLimit = perMinute === null ? null : { perMinute, burst };
  const made = await h.deps.tokens.create({ name: "t", scopes, rateLimit, expiresAt: null });
  assert(made !== "full");
  return made.text;
}

test("An address is told the truth about its bucket in every answer, whatever the answer is", () => {
  const clock = new FakeClock();
  return withDoor({ config: LIMITED, deps: { clock } }, (h) =>
    follow(h, clock, 60, [
      [0, "/v1/messages", {}, 401, 2, 1],
      [0, "/v1/messages", { headers: bearer("wrong") }, 401, 1, 2],
      [0, "/wp-login.php", {}, 404, 0, 3],
      [0, "/wp-login.php", {}, 429, 0, 3, 1],
      // A quarter of a token has come in, and a refused request takes none of it.
      [250, "/v1/messages", {}, 429, 0, 3, 1],
      [750, h.signed(`/v1/messages/${ID}/raw`, 1), {}, 403, 0, 4],
      [1500, "/v1/messages", { method: "PUT" }, 405, 0, 5],
      [10_000, "/unsubscribe/good-one", {}, 200, 2, 14],
      [0, "/unsubscribe/bad", {}, 404, 1, 15],
      // Full again, and no fuller.
      [3_600_000, "/v1/messages", {}, 401, 2, 3614],
    ]));
});

test("Retry-After is the second in which a request will be answered, and not one earlier", () => {
  const clock = new FakeClock();
  const config = { ...LIMITED, rate_limit_burst: 1, rate_limit_per_minute: 4 };
  return withDoor({ config, deps: { clock } }, (h) =>
    follow(h, clock, 4, [
      [0, "/v1/messages", {}, 401, 0, 15],
      [0, "/v1/messages", {}, 429, 0, 15, 15],
      [14_000, "/v1/messages", {}, 429, 0, 15, 1],
      [1000, "/v1/messages", {}, 401, 0, 30],
    ]));
});

test("A token with a limit is told of its own bucket, from an exempt address as well", () => {
  const clock = new FakeClock();
  return withDoor({ deps: { clock } }, async (h) => {
    const headers = bearer(await tokenWith(h, 120));
    await follow(h, clock, 120, [
      [0, "/v1/domains", { headers }, 200, 1, 1],
      [0, "/mail/send", { headers, method: "POST" }, 403, 0, 1],
      [0, "/v1/nothing", { headers }, 429, 0, 1, 1],
      [500, "/v1/nothing", { headers }, 404, 0, 2],
      [500, "/v1/domains?limit=x", { headers }, 400, 0, 2],
      [0, "/v1/domains", { headers }, 429, 0, 2, 1],
    ]);
    assertEquals(
      (await h.deps.metrics.registry.metrics()).match(/gomail_rate_limit_hits_total (\d+)/)?.[1],
      "2",
    );
  });
});

test("A token's bucket is the same from everywhere, and no other token's", () =>
  withDoor({ config: { ...LIMITED, trusted_proxies: ["127.0.0.1"] } }, async (h) => {
    const ask = async (token: string, client: string) => {
      const headers = { ...bearer(token), "x-forwarded-for": client };
      const answer = await fetch(`${h.base}/v1/domains`, { headers });
      await answer.body?.cancel();
      return [answer.status, answer.headers.get("x-ratelimit-remaining")];
    };
    const [one, other] = [await tokenWith(h, 1), await tokenWith(h, 1, 5)];
    assertEquals(await ask(one, "198.51.100.1"), [200, "1"]);
    assertEquals(await ask(one, "2001:db8::1"), [200, "0"]);
    assertEquals(await ask(one, "198.51.100.3"), [429, "0"]);
    assertEquals(await ask(other, "198.51.100.1"), [200, "4"]);
  }));

test("A request takes from one bucket or from none, and never from two", () => {
  const clock = new FakeClock();
  return withDoor({ config: { ...LIMITED, rate_limit_burst: 5 }, deps: { clock } }, async (h) => {
    const ask = async (path: string, headers: Record<string, string> = {}) => {
      const answer = await fetch(h.base + path, { headers });
      await answer.body?.cancel();
      return answer.headers.get("x-ratelimit-remaining");
    };
    const limited = bearer(await tokenWith(h, 1, 100));
    const free = bearer(await tokenWith(h, null));
    assertEquals(await ask("/v1/domains"), "4");
    assertEquals(await ask("/v1/domains", limited), "99");
    assertEquals(await ask("/v1/tokens", limited), "98");
    assertEquals(await ask("/v1/nothing", limited), "97");
    assertEquals(await ask("/unsubscribe/good-one", limited), "96");
    for (const path of ["/health", "/health/live", "/health/ready"]) {
      assertEquals([await ask(path), await ask(path, limited), await ask(path, bearer("x"))], [
        null,
        null,
        null,
      ]);
    }
    for (const headers of [free, bearer(TOKEN)]) {
      assertEquals([await ask("/v1/domains", headers), await ask("/v1/nothing", headers)], [null, null]);
    }
    // All of that cost the address one token, and its own token four.
    assertEquals(await ask("/v1/domains"), "3");
    assertEquals(await ask("/v1/domains", limited), "95");
  });
});

test("A token that has expired or is revoked falls back on its address", () => {
  const clock = new FakeClock();
  return withDoor({ config: LIMITED, deps: { clock } }, async (h) => {
    const made = await h.deps.tokens.create({
      name: "t",
      scopes: ["read"],
      rateLimit: { perMinute: 1000, burst: 1000 },
      expiresAt: Date.now() - 1,
    });
    assert(made !== "full");
    const headers = bearer(made.text);
    const revoked = await tokenWith(h, 1000);
    await h.deps.tokens.revoke(revoked.slice(4, 16));
    await follow(h, clock, 60, [
      [0, "/v1/domains", { headers }, 401, 2, 1],
      [0, "/v1/domains", { headers: bearer(revoked) }, 401, 1, 2],
    ]);
  });
});

test("Several X-Forwarded-For lines are one list, in their order", () =>
  withDoor({ config: { ...LIMITED, trusted_proxies: ["127.0.0.1", "10.0.0.0/8"] } }, async (h) => {
    const ask = async (...lines: string[]) => {
      const answer = await h.raw(
        `GET /v1/messages HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${
          lines.map((line) => `X-Forwarded-For: ${line}\r\n`).join("")
        }\r\n`,
      );
      return Number(/x-ratelimit-remaining: (\d+)/i.exec(answer)?.[1]);
    };
    assertEquals(await ask("198.51.100.7"), 2);
    assertEquals(await ask("203.0.113.1, 198.51.100.7", "10.1.1.1"), 1);
    assertEquals(await ask("203.0.113.1", "198.51.100.7:81", "10.1.1.1, 10.2.2.2"), 0);
    assertEquals(await ask("198.51.100.7", "203.0.113.1"), 2);
  }));
