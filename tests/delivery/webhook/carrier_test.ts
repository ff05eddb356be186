/** The webhook carrier against a real receiver on loopback, in every mood a receiver can have. */

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { Webhook } from "standardwebhooks";
import { generate } from "selfsigned";
import { startReceiver } from "../../../src/cli/demo/receiver.ts";
import type { Receiver, ReceiverOptions } from "../../../src/cli/demo/receiver.ts";
import { systemClock } from "../../../src/base/clock.ts";
import { silentLogger } from "../../../src/base/log.ts";
import { configOf } from "../../../src/config/schema.ts";
import type { Carrier } from "../../../src/delivery/carrier.ts";
import {
  createWebhookCarrier,
  targetOf,
  type WebhookConfig,
  type WebhookDeps,
} from "../../../src/delivery/webhook/carrier.ts";
import { buildPayload } from "../../../src/events/payload.ts";
import { jobOf } from "../../support/memory_store.ts";
import { newOutbound } from "../../store/support.ts";
import { test } from "../../support/test.ts";

const SECRET = "whsec_" + btoa("0123456789abcdef0123456789abcdef");
const SECRET_NEXT = "whsec_" + btoa("fedcba9876543210fedcba9876543210");
const live = new AbortController().signal;

interface Setup {
  receiver?: ReceiverOptions;
  config?: Partial<WebhookConfig>;
  deps?: Partial<WebhookDeps>;
}

async function withCarrier(
  setup: Setup,
  fn: (carrier: Carrier, receiver: Receiver, config: WebhookConfig) => Promise<void>,
): Promise<void> {
  const receiver = await startReceiver({ secret: SECRET, ...setup.receiver });
  const config: WebhookConfig = {
    ...configOf(),
    webhook_url: receiver.url,
    webhook_secret: SECRET,
    webhook_allow_private: true,
    webhook_timeout: 5_000,
    ...setup.config,
  };
  const carrier = createWebhookCarrier({
    config: () => config,
    lookupHost: () => Promise.resolve(["127.0.0.1"]),
    buildPayload,
    baseUrl: () => "https://mail.example.com/",
    urlKey: "00".repeat(32),
    clock: systemClock,
    log: silentLogger,
    ...setup.deps,
  });
  try {
    await fn(carrier, receiver, config);
  } finally {
    await carrier.close();
    await receiver.close();
  }
}

test("attempt() delivers, signed so that the official library verifies it", () =>
  withCarrier({ config: { webhook_bearer_token: "receiver-token" } }, async (carrier, receiver) => {
    assertEquals(await carrier.attempt(jobOf(), live), { kind: "delivered", code: 200 });
    const [request] = receiver.requests;
    assert(request);
    assert(request.verified);
    const body = new TextDecoder().decode(request.body);
    const payload = new Webhook(SECRET).verify(body, request.headers) as Record<string, unknown>;
    assertEquals(payload["event"], "mail.received");
    assertEquals(request.headers["webhook-id"], "job-1");
    assertEquals(request.headers["x-request-id"], "req-1");
    assertEquals(request.headers["content-type"], "application/json");
    assertEquals(request.headers["authorization"], "Bearer receiver-token");
    assertMatch(request.headers["user-agent"] ?? "", /^GoMail\/\d/);
  }));

test("attempt() sends no Authorization unless it was given a token for the receiver", () =>
  withCarrier({}, async (carrier, receiver) => {
    await carrier.attempt(jobOf(), live);
    assertEquals(receiver.requests[0]?.headers["authorization"], undefined);
  }));

test("attempt() signs with both secrets while they are being changed", () =>
  withCarrier({ config: { webhook_secret_next: SECRET_NEXT } }, async (carrier, receiver) => {
    await carrier.attempt(jobOf(), live);
    const [request] = receiver.requests;
    assert(request);
    const body = new TextDecoder().decode(request.body);
    new Webhook(SECRET).verify(body, request.headers);
    new Webhook(SECRET_NEXT).verify(body, request.headers);
    assertEquals(request.headers["webhook-signature"]?.split(" ").length, 2);
  }));

test("attempt() uses a route's own address and secret", () =>
  withCarrier({}, async (carrier, receiver, config) => {
    const own = "whsec_" + btoa("another-secret-of-32-bytes-long!");
    config.routes = [{ match: "*@ours.example", url: receiver.url, secret: own, on_reject: "drop" }];
    config.webhook_secret_next = SECRET_NEXT;
    await carrier.attempt(jobOf({ lane: "*@ours.example" }), live);
    const [request] = receiver.requests;
    assert(request);
    new Webhook(own).verify(new TextDecoder().decode(request.body), request.headers);
    assertEquals(request.headers["webhook-signature"]?.split(" ").length, 1);
  }));

test("A job whose route is gone goes to the address it was made for", () =>
  withCarrier({}, async (carrier, receiver) => {
    const job = jobOf({ lane: "*@gone.example", destination: receiver.url });
    assertEquals((await carrier.attempt(job, live)).kind, "delivered");
    assertEquals(receiver.requests[0]?.verified, true);
  }));

test("endpointOf() follows the configuration and gives a removed lane a place of its own", () =>
  withCarrier({}, async (carrier, receiver, config) => {
    assertEquals(carrier.endpointOf("*", ""), receiver.url);
    assertEquals(carrier.endpointOf("*@gone.example", "https://old.example/"), "https://old.example/");
    assertEquals(carrier.endpointOf("*@gone.example", ""), "removed route *@gone.example");
    config.routes = [{ match: "*", url: "https://new.example/", on_reject: "drop" }];
    assertEquals(carrier.endpointOf("*", ""), "https://new.example/");
    assertEquals(targetOf({ ...config, routes: [], webhook_url: undefined }, "*"), null);
    assertEquals(carrier.concurrencyMax("any"), 16);
  }));

test("Final and temporary answers are told apart", () =>
  withCarrier({}, async (carrier, receiver) => {
    const kinds: Record<number, string> = {
      200: "delivered",
      201: "delivered",
      204: "delivered",
      299: "delivered",
      301: "deferred",
      302: "deferred",
      304: "deferred",
      307: "deferred",
      400: "deferred",
      401: "deferred",
      404: "deferred",
      406: "failed",
      410: "failed",
      422: "failed",
      429: "deferred",
      500: "deferred",
      502: "deferred",
      503: "deferred",
    };
    for (const [status, kind] of Object.entries(kinds)) {
      receiver.answerWith(() => ({ status: Number(status) }));
      const outcome = await carrier.attempt(jobOf(), live);
      assertEquals([outcome.kind, outcome.code], [kind, Number(status)], status);
    }
  }));

test("Retry-After is heard from 429 and 503 only, and no longer than an hour", () =>
  withCarrier({}, async (carrier, receiver) => {
    const ask = async (status: number, value: string) => {
      receiver.answerWith(() => ({ status, headers: { "retry-after": value } }));
      const outcome = await carrier.attempt(jobOf(), live);
      return outcome.kind === "deferred" ? outcome.retryAfterMs : null;
    };
    assertEquals(await ask(429, "7"), 7_000);
    assertEquals(await ask(503, "999999"), 3_600_000);
    assertEquals(await ask(500, "7"), undefined);
    assertEquals(await ask(429, "soon"), undefined);
    const inMs = await ask(503, new Date(Date.now() + 60_000).toUTCString());
    assert(inMs && inMs > 50_000 && inMs <= 60_000);
  }));

test("Redirects are not followed", () =>
  withCarrier({}, async (carrier, receiver) => {
    receiver.answerWith((request) =>
      request.path === "/webhook" ? { status: 307, headers: { location: "/elsewhere" } } : { status: 200 }
    );
    const outcome = await carrier.attempt(jobOf(), live);
    assertEquals([outcome.kind, outcome.code], ["deferred", 307]);
    assertEquals(receiver.count, 1);
  }));

for (const mood of ["hang", "half"] as const) {
  test(`A receiver that says ${mood === "hang" ? "nothing" : "half a header"} is left at the deadline`, () =>
    withCarrier({ config: { webhook_timeout: 100 }, receiver: { answer: () => mood } }, async (carrier) => {
      const outcome = await carrier.attempt(jobOf(), live);
      assertEquals(outcome, {
        kind: "deferred",
        code: null,
        error: "Cannot deliver: no answer within 0.1 s",
      });
    }));
}

test("A yes with a body that never ends is a yes", () =>
  withCarrier({ receiver: { answer: () => "endless" } }, async (carrier) => {
    assertEquals(await carrier.attempt(jobOf(), live), { kind: "delivered", code: 200 });
  }));

test("A yes whose body drips is a yes at the deadline", () =>
  withCarrier({ config: { webhook_timeout: 1_500 }, receiver: { answer: () => "drip" } }, async (carrier) => {
    assertEquals(await carrier.attempt(jobOf(), live), { kind: "delivered", code: 200 });
  }));

test("A huge or compressed body is not read to its end and not decoded", () =>
  withCarrier({}, async (carrier, receiver) => {
    receiver.answerWith(() => ({ status: 500, body: "x".repeat(5_000_000) }));
    assertEquals((await carrier.attempt(jobOf(), live)).code, 500);
    receiver.answerWith(() => ({ status: 200, headers: { "content-encoding": "gzip" }, body: "no gzip" }));
    assertEquals((await carrier.attempt(jobOf(), live)).kind, "delivered");
  }));

test("A dropped connection and an answer that is not HTTP are deferred", () =>
  withCarrier({ receiver: { answer: () => "drop" } }, async (carrier, receiver) => {
    const error = async () => {
      const outcome = await carrier.attempt(jobOf(), live);
      return outcome.kind === "deferred" ? outcome.error : outcome.kind;
    };
    assertEquals(await error(), "Cannot deliver: connection lost");
    receiver.answerWith(() => "garbage");
    assertEquals(await error(), "Cannot deliver: the answer is not HTTP");
    receiver.answerWith(() => ({ status: 200, headers: { "x-long": "x".repeat(100_000) } }));
    assertEquals(await error(), "Cannot deliver: the answer's headers are too long");
  }));

test("A receiver that is down is deferred", () =>
  withCarrier({}, async (carrier, receiver) => {
    await receiver.close();
    const outcome = await carrier.attempt(jobOf(), live);
    assertEquals(outcome, { kind: "deferred", code: null, error: "Cannot deliver: connection refused" });
  }));

test("Connections are kept, and one that the receiver closed meanwhile costs no attempt", () =>
  withCarrier({}, async (carrier, receiver) => {
    for (let i = 0; i < 5; i++) await carrier.attempt(jobOf(), live);
    assertEquals(receiver.connections, 1);
    let dropped = false;
    receiver.answerWith(() => {
      if (dropped) return { status: 200 };
      dropped = true;
      return "drop";
    });
    assertEquals((await carrier.attempt(jobOf(), live)).kind, "delivered");
    assertEquals(receiver.connections, 2);
  }));

test("attempt() ends soon when the engine says so", () =>
  withCarrier({ receiver: { answer: () => "hang" } }, async (carrier, receiver) => {
    const stop = new AbortController();
    const attempt = carrier.attempt(jobOf(), stop.signal);
    await receiver.waitFor(1);
    stop.abort();
    assertEquals((await attempt).kind, "deferred");
  }));

test("Addresses inside are refused unless allowed, and nothing is connected to", () =>
  withCarrier({ config: { webhook_allow_private: false } }, async (carrier, receiver) => {
    const outcome = await carrier.attempt(jobOf(), live);
    assertEquals(outcome.kind, "deferred");
    assertStringIncludes(outcome.kind === "deferred" ? outcome.error : "", "private address");
    assertEquals(receiver.connections, 0);
  }));

test("The address checked is the address connected to, whatever DNS says later", async () => {
  const inside = await startReceiver({});
  const answers = [["127.0.0.1"], ["127.0.0.2"]];
  const port = inside.port;
  await withCarrier({
    config: { webhook_url: `http://rebind.example:${port}/webhook` },
    deps: { lookupHost: () => Promise.resolve(answers.shift() ?? []) },
  }, async (carrier) => {
    assertEquals((await carrier.attempt(jobOf(), live)).kind, "delivered");
    // Asked once: the second answer, another address, was never looked for.
    assertEquals(answers.length, 1);
    assertEquals(inside.requests[0]?.headers["host"], `rebind.example:${port}`);
  });
  await inside.close();
});

test("TLS is verified: an unknown authority is refused, a known one with the right name is not", async () => {
  const pem = await generate([{ name: "commonName", value: "hooks.example" }], {
    keySize: 2048,
    extensions: [
      { name: "basicConstraints", cA: true },
      { name: "subjectAltName", altNames: [{ type: 2, value: "hooks.example" }] },
    ],
  });
  const receiver = { tls: { cert: pem.cert, key: pem.private } };
  const at = (name: string) => (carrier: Carrier, found: Receiver, config: WebhookConfig) => {
    config.webhook_url = `https://${name}:${found.port}/webhook`;
    return carrier.attempt(jobOf(), live);
  };
  await withCarrier({ receiver }, async (...all) => {
    const outcome = await at("hooks.example")(...all);
    assertMatch(
      outcome.kind === "deferred" ? outcome.error : "",
      /TLS failed: the certificate is not trusted/,
    );
  });
  await withCarrier({ receiver, deps: { ca: [pem.cert] } }, async (...all) => {
    assertEquals((await at("hooks.example")(...all)).kind, "delivered");
    const outcome = await at("other.example")(...all);
    assertMatch(
      outcome.kind === "deferred" ? outcome.error : "",
      /TLS failed: the certificate is for another name/,
    );
  });
});

test("A TLS address behind which nobody speaks TLS is deferred", () =>
  withCarrier({}, async (carrier, receiver, config) => {
    config.webhook_url = receiver.url.replace("http:", "https:");
    const outcome = await carrier.attempt(jobOf(), live);
    assertMatch(outcome.kind === "deferred" ? outcome.error : "", /^Cannot deliver: /);
    assertEquals(receiver.count, 0);
  }));

test("A mail that kills its parser is sent without what parsing would say", () => {
  const build: WebhookDeps["buildPayload"] = (input) =>
    input.skipParse ? buildPayload(input) : Promise.reject(new Error("Worker timed out"));
  return withCarrier({ deps: { buildPayload: build } }, async (carrier, receiver) => {
    assertEquals((await carrier.attempt(jobOf(), live)).kind, "delivered");
    const payload = JSON.parse(new TextDecoder().decode(receiver.requests[0]?.body));
    assertEquals([payload.parse_status, payload.text], ["partial", null]);
    assertStringIncludes(payload.raw, "Subject: Hello");
  });
});

test("attempt() rejects when the message can't be read, and blames nobody", () => {
  const build: WebhookDeps["buildPayload"] = () => Promise.reject(new Error("Cannot read the message: gone"));
  return withCarrier({ deps: { buildPayload: build } }, async (carrier) => {
    await assertRejects(() => carrier.attempt(jobOf(), live), Error, "gone");
  });
});

test("Without a secret nothing is sent", () =>
  withCarrier({ config: { webhook_secret: undefined } }, async (carrier, receiver) => {
    await assertRejects(() => carrier.attempt(jobOf(), live), Error, "no webhook secret");
    assertEquals(receiver.count, 0);
  }));

test("A destination that is no URL is deferred", () =>
  withCarrier({ config: { webhook_url: undefined } }, async (carrier) => {
    const outcome = await carrier.attempt(jobOf({ destination: "nowhere" }), live);
    assertEquals(outcome.kind, "deferred");
  }));

test("A final no brings its bounce along; one that can't be made is no final no", async () => {
  const bounced = newOutbound(["alice@sender.example"]);
  let asked = 0;
  const bounce = () =>
    ++asked === 2 ? Promise.reject(new Error("disk")) : Promise.resolve(asked > 2 ? null : bounced);
  await withCarrier({ deps: { bounce } }, async (carrier, receiver) => {
    receiver.answerWith(() => ({ status: 422 }));
    const outcomes = [];
    for (let i = 0; i < 3; i++) outcomes.push(await carrier.attempt(jobOf(), live));
    const error = "Receiver answered 422, which is final";
    assertEquals(outcomes, [
      { kind: "failed", code: 422, error, bounce: bounced },
      {
        kind: "deferred",
        code: 422,
        error: "Receiver answered 422, and its bounce could not be made",
        alive: true,
      },
      { kind: "failed", code: 422, error },
    ]);
    for (const status of [200, 500]) {
      receiver.answerWith(() => ({ status }));
      await carrier.attempt(jobOf(), live);
    }
    assertEquals(asked, 3);
  });
});
