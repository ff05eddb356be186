/** The door as a whole: listeners, health, metrics, control socket, recovery, drain. */

import { assert, assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import net from "node:net";
import { StoreError } from "../../../src/base/errors.ts";
import { createHttpDoor } from "../../../src/servers/http/mod.ts";
import { test, withTempDir } from "../../support/test.ts";
import { ID } from "./fakes.ts";
import { overSocket, parsed, TOKEN, verdictOf, withDoor } from "./harness.ts";

/** A replay that waits for the test. */
function gatedReplay() {
  const gate = Promise.withResolvers<number>();
  const started = Promise.withResolvers<void>();
  const replay = () => {
    started.resolve();
    return gate.promise;
  };
  return { gate, started: started.promise, replay };
}

const replayPath = `/v1/messages/${ID}/replay`;

test("Health needs no token and says status, version, uptime and checks", () =>
  withDoor({}, async (h) => {
    const response = await fetch(`${h.base}/health`);
    assertEquals(response.status, 200);
    assertEquals(response.headers.get("cache-control"), "no-store");
    assertEquals(response.headers.get("x-content-type-options"), "nosniff");
    assertEquals(response.headers.get("server"), null);
    const body = await response.json();
    assertEquals([body.status, body.version, body.checks], ["healthy", "1.2.3", { store: { status: "ok" } }]);
    assertEquals(typeof body.uptime, "number");
    assertMatch(body.timestamp, /Z$/);
    assertEquals((await (await fetch(`${h.base}/health/live`)).json()).status, "alive");
    assertEquals((await (await fetch(`${h.base}/health/ready`)).json()).status, "healthy");
  }));

test("Degraded is 200, unhealthy 503, not ready 503", async () => {
  const health = { status: "degraded" as "degraded" | "unhealthy", ready: false, checks: {} };
  await withDoor({ deps: { health: () => Promise.resolve(health) } }, async (h) => {
    const status = async (path: string) => (await verdictOf(fetch(h.base + path)))[0];
    assertEquals(await status("/health"), 200);
    assertEquals(await status("/health/ready"), 503);
    assertEquals(await status("/health/live"), 200);
    health.status = "unhealthy";
    assertEquals(await status("/health"), 503);
  });
});

test("Metrics are served on their own listener, on their path only", () =>
  withDoor({}, async (h) => {
    await (await h.call("/v1/messages")).body?.cancel();
    await (await h.call(`/nothing/${ID}`)).body?.cancel();
    const response = await fetch(`${h.metricsBase}/metrics`);
    assertEquals(response.status, 200);
    assertMatch(response.headers.get("content-type") ?? "", /^text\/plain/);
    const text = await response.text();
    const count = 'gomail_http_requests_total{method="GET",endpoint=';
    assertStringIncludes(text, `${count}"/v1/messages",status="200"} 1`);
    assertStringIncludes(text, `${count}"other",status="404"} 1`);
    assertEquals(await verdictOf(fetch(`${h.metricsBase}/health`)), [404, "not_found"]);
    const headers = { "x-request-id": "mine" };
    const posted = await fetch(`${h.metricsBase}/metrics`, { method: "POST", headers });
    assertEquals([posted.status, posted.headers.get("allow")], [405, "GET, HEAD"]);
    assertEquals((await posted.json()).request_id, "mine");
    assertEquals(await verdictOf(fetch(`${h.base}/metrics`)), [404, "not_found"]);
  }));

test("A registry that fails costs a 500, not the metrics listener", () =>
  withDoor({}, async (h) => {
    const { registry } = h.deps.metrics;
    const works = registry.metrics;
    registry.metrics = () => Promise.reject(new Error("collect failed"));
    assertEquals(await verdictOf(fetch(`${h.metricsBase}/metrics`)), [500, "internal_error"]);
    registry.metrics = works;
    assertMatch(await (await fetch(`${h.metricsBase}/metrics`)).text(), /^# HELP gomail_/);
  }));

test("Metrics can be off", () =>
  withDoor({ config: { metrics_enabled: false } }, (h) => assertEquals(h.metricsBase, "http://null")));

test("The control socket has every right without a token, mode 0660, and goes away on close", async () => {
  let path = "";
  await withDoor({}, async (h) => {
    path = h.control;
    const parent = path.replace(/\/[^/]*$/, "");
    assertEquals(((await Deno.stat(path)).mode ?? 0) & 0o777, 0o660);
    assertEquals(((await Deno.stat(parent)).mode ?? 0) & 0o777, 0o750);
    assertEquals([...Deno.readDirSync(parent)].map((entry) => entry.name), ["gomail.sock"]);
    assertEquals((await overSocket(path, "/v1/messages")).status, 200);
    const acted = await overSocket(path, "/v1/queue/hold", "POST", '{"all":true,"dry_run":true}');
    assertEquals([acted.status, JSON.parse(acted.body)], [200, { matched: 7, dry_run: true }]);
    assertStringIncludes(await h.log(), '"client":"control"');
  });
  await assertRejects(() => Deno.stat(path), Deno.errors.NotFound);
});

test("A second daemon on the same control socket is refused, and the first goes on", () =>
  withDoor({}, async (h) => {
    const second = createHttpDoor(h.deps);
    await assertRejects(() => second.listen(), Error, "another daemon is running");
    assertEquals((await overSocket(h.control, "/health/live")).status, 200);
  }));

test("A socket file left behind is replaced, another file is not", () =>
  withTempDir(async (dir) => {
    const path = `${dir}/gomail.sock`;
    // Renamed while it listens, the file stays when the listener goes: what a crash leaves behind.
    const dead = net.createServer();
    await new Promise<void>((resolve) => dead.listen({ path: `${dir}/born` }, () => resolve()));
    await Deno.rename(`${dir}/born`, path);
    await new Promise((resolve) => dead.close(resolve));
    assert((await Deno.lstat(path)).isSocket);
    const start = (control_socket: string, fn = () => {}) => withDoor({ config: { control_socket } }, fn);
    await withDoor({ config: { control_socket: path } }, async () => {
      assertEquals((await overSocket(path, "/health/live")).status, 200);
    });
    await Deno.writeTextFile(path, "precious");
    await assertRejects(() => start(path), Error, "not a socket");
    assertEquals(await Deno.readTextFile(path), "precious");
    await assertRejects(() => start(`${dir}/${"x".repeat(120)}/s`), Error, "too long");
  }));

test("close() leaves a socket alone that somebody else has put there meanwhile", () =>
  withTempDir(async (dir) => {
    const path = `${dir}/gomail.sock`;
    await withDoor({ config: { control_socket: path } }, async () => {
      await Deno.remove(path);
      await Deno.writeTextFile(path, "theirs");
    });
    assertEquals(await Deno.readTextFile(path), "theirs");
  }));

test("A port in use is named, and nothing stays open", () =>
  withDoor({}, async (h) => {
    const config = { ...h.config, port: h.port, control_socket: `${h.control}2` };
    const second = createHttpDoor({ ...h.deps, config: () => config });
    await assertRejects(() => second.listen(), Error, `Cannot listen on 127.0.0.1:${h.port}`);
    await second.close();
  }));

test("IPv6 addresses are shown in brackets", () =>
  withDoor({ config: { listen_address: "::1" } }, async (h) => {
    assertMatch(h.base, /^http:\/\/\[::1\]:\d+$/);
    assertEquals(await verdictOf(h.call(replayPath, { method: "POST" })), [200, undefined]);
  }));

test("A handler that throws costs a 500 with its request id, and the server lives", () =>
  withDoor({ deps: { replay: () => Promise.reject(new TypeError("boom /secret/path")) } }, async (h) => {
    const response = await h.call(replayPath, { method: "POST", headers: { "x-request-id": "r9" } });
    assertEquals([response.status, response.headers.get("x-request-id")], [500, "r9"]);
    const body = await response.json();
    assertEquals([body.error, body.request_id], ["internal_error", "r9"]);
    assert(!JSON.stringify(body).includes("boom"));
    assertEquals((await h.call("/v1/messages").then((r) => r.json())).next_cursor, "c-2");
    assertStringIncludes(await h.log(), "boom");
  }));

test("A handler that throws no Error is survived as well", () =>
  withDoor({ deps: { replay: () => Promise.reject("just text") } }, async (h) => {
    assertEquals(await verdictOf(h.call(replayPath, { method: "POST" })), [500, "internal_error"]);
  }));

test("A throw in a middleware is a 500 too, whatever is thrown", async () => {
  const thrown: unknown[] = [new RangeError("no"), "no"];
  const verifySignedPath = () => {
    throw thrown.shift();
  };
  await withDoor({ deps: { verifySignedPath } }, async (h) => {
    const url = `${h.base}/v1/messages/${ID}/raw?signature=x`;
    assertEquals(await verdictOf(fetch(url)), [500, "internal_error"]);
    assertEquals(await verdictOf(fetch(url)), [500, "internal_error"]);
    assertEquals(await verdictOf(fetch(`${h.base}/health`)), [200, undefined]);
  });
});

test("A store in trouble is 503 with Retry-After", () =>
  withDoor({}, async (h) => {
    h.store.error = new StoreError("disk on fire", false);
    const response = await h.call(`/v1/messages/${ID}`);
    assertEquals([response.status, response.headers.get("retry-after")], [503, "30"]);
    const body = await response.json();
    assertEquals([body.error, body.details.smtp_code], ["service_unavailable", 451]);
  }));

test("A handler over handler_timeout gets 504, and its late answer is thrown away", async () => {
  const { gate, replay } = gatedReplay();
  await withDoor({ config: { handler_timeout: 50 }, deps: { replay } }, async (h) => {
    assertEquals(await verdictOf(h.call(replayPath, { method: "POST" })), [504, "timeout"]);
    gate.resolve(1);
    assertEquals(await verdictOf(h.call(`${replayPath}s`, { method: "POST" })), [404, "not_found"]);
  });
});

test("drain() lets a request in flight finish, and takes no new connection", async () => {
  const { gate, started, replay } = gatedReplay();
  await withDoor({ deps: { replay } }, async (h) => {
    // An idle kept connection must not hold the drain up.
    await (await h.call("/health")).body?.cancel();
    const inFlight = h.call(replayPath, { method: "POST" });
    await started;
    let drained = false;
    const drain = h.door.drain().then(() => drained = true);
    await assertRejects(() => fetch(`${h.base}/health`));
    assertEquals(drained, false);
    gate.resolve(3);
    const response = await inFlight;
    assertEquals(await response.json(), { replayed: 3 });
    assertEquals(response.headers.get("connection"), "close");
    await drain;
    // Metrics stay up for the last scrape.
    assertEquals((await (await fetch(`${h.metricsBase}/metrics`)).text()).length > 0, true);
    await h.door.drain();
  });
});

test("drain() does not wait for connections that never sent a whole request", () =>
  withDoor({}, async (h) => {
    const sockets = ["", "GET /health HTTP/1.1\r\nHost:"].map((text) => h.raw(text || "\r\n"));
    await (await h.call("/health")).body?.cancel();
    await h.door.drain();
    await Promise.all(sockets);
  }));

test("close() ends what is in flight", async () => {
  const { gate, started, replay } = gatedReplay();
  await withDoor({ deps: { replay } }, async (h) => {
    const lost = assertRejects(() => h.call(replayPath, { method: "POST" }));
    await started;
    await h.door.close();
    await lost;
    gate.resolve(0);
  });
});

test("An access line has the pattern, not the query, and never the token", () =>
  withDoor({}, async (h) => {
    const response = await h.call(`/v1/messages?sender=s3cret-sender`, {
      headers: { "x-request-id": "seen" },
    });
    await response.body?.cancel();
    const log = await h.log();
    const line = JSON.parse(log.split("\n").find((text) => text.includes('"request_id":"seen"')) ?? "{}");
    assertEquals([line.msg, line.level, line.method, line.endpoint, line.status, line.client], [
      "HTTP request",
      "info",
      "GET",
      "/v1/messages",
      200,
      "127.0.0.1",
    ]);
    assert(!log.includes("s3cret-sender") && !log.includes(TOKEN));
  }));

test("A request id that could hurt a log is replaced", () =>
  withDoor({}, async (h) => {
    const response = await fetch(`${h.base}/health/live`, { headers: { "x-request-id": 'a"b c' } });
    await response.body?.cancel();
    assertMatch(response.headers.get("x-request-id") ?? "", /^[0-9A-Z]{26}$/);
    const long = `X-Request-ID: ${"a".repeat(129)}`;
    const answer = parsed(
      await h.raw(`GET /nope HTTP/1.1\r\nHost: x\r\nConnection: close\r\n${long}\r\n\r\n`),
    );
    assertMatch(String(answer.body["request_id"]), /^[0-9A-Z]{26}$/);
  }));

test("Unknown paths are 404, wrong methods 405 with Allow", () =>
  withDoor({}, async (h) => {
    assertEquals(await verdictOf(h.call("/v2/messages")), [404, "not_found"]);
    const wrong = await h.call("/v1/messages", { method: "DELETE" });
    assertEquals([wrong.status, wrong.headers.get("allow")], [405, "GET, HEAD"]);
    assertEquals((await wrong.json()).error, "method_not_allowed");
    const domains = await h.call("/v1/domains", { method: "PUT" });
    assertEquals([domains.status, domains.headers.get("allow")], [405, "GET, HEAD, POST"]);
    await domains.body?.cancel();
    assertEquals(await verdictOf(h.call("/v1/messages/%00%ff%2e%2e")), [404, "not_found"]);
  }));

test("HEAD gives the headers of GET and no body", () =>
  withDoor({}, async (h) => {
    const response = await h.call("/v1/messages", { method: "HEAD" });
    assertEquals([response.status, response.headers.get("content-type")], [200, "application/json"]);
    assertEquals(await response.text(), "");
  }));
