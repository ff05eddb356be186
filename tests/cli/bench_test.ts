/** `gomail bench`, through the command: against a real daemon, against servers that misbehave, and what it refuses. */

import { assert, assertEquals, assertMatch, assertNotMatch, assertStringIncludes } from "@std/assert";
import { type FakeMxOptions, startFakeMx } from "../support/fake_mx.ts";
import { payloadOf, type TestDaemon, withDaemon } from "../support/harness.ts";
import { unclosed } from "../support/html.ts";
import { test, withTempDir } from "../support/test.ts";
import { until } from "../support/until.ts";
import { gomail, type Ran } from "./support.ts";

const TO = "inbox@example.com";
const MAIN = new URL("../../main.ts", import.meta.url).pathname;

/** As on a host where a daemon runs whose configuration is readable. */
function envOf(d: TestDaemon): Record<string, string> {
  return {
    MAIL_CONFIG: "/dev/null",
    MAIL_CONTROL_SOCKET: `${d.dir}/gomail.sock`,
    MAIL_PRIMARY_DOMAIN: "example.com",
    MAIL_METRICS_ENABLED: "false",
  };
}

const NOWHERE = {
  MAIL_CONFIG: "/dev/null",
  MAIL_CONTROL_SOCKET: "/nonexistent/gomail.sock",
  MAIL_PRIMARY_DOMAIN: "example.com",
  MAIL_METRICS_ENABLED: "false",
};

function benchOn(d: TestDaemon, args: string): Promise<Ran> {
  return gomail(`bench ${d.daemon.addresses.smtp[0]} --to ${TO} ${args}`, { env: envOf(d) });
}

/** A server that answers as told, with no daemon behind it. */
async function withServer(
  options: NonNullable<FakeMxOptions["on"]> | FakeMxOptions,
  use: (
    server: Awaited<ReturnType<typeof startFakeMx>>,
    bench: (args: string) => Promise<Ran>,
  ) => Promise<void>,
): Promise<void> {
  const server = await startFakeMx(typeof options === "function" ? { on: options } : options);
  try {
    const at = `${server.host}:${server.port}`;
    await use(server, (args) => gomail(`bench ${at} --to ${TO} ${args}`, { env: NOWHERE }));
  } finally {
    await server.close();
  }
}

test("bench sends what was asked, no faster, sees each mail at the receiver, and its figures add up", () =>
  withDaemon({}, async (d) => {
    const ran = await benchOn(d, "--rate 20/s --duration 2s --connections 3 --size 2KB --json");
    assertEquals(ran.code, 0, ran.err);
    const figures = JSON.parse(ran.out);
    const none = { deferred: 0, refused: 0, failed: 0, not_sent: 0 };
    assertEquals(figures.mails, { due: 40, accepted: 40, ...none });
    assertEquals(figures.receiver, { arrived: 40, owed: 0, dead: 0, lost: 0, not_followed: 0 });
    const { connect, dot_to_250, due_to_250, due_to_receiver } = figures.latency_ms;
    assertEquals(
      [connect, dot_to_250, due_to_250, due_to_receiver].map(({ count }) => count),
      [3, 40, 40, 40],
    );
    for (const row of [connect, dot_to_250, due_to_250, due_to_receiver]) {
      const { p50, p90, p95, p99, p99_9, max } = row;
      const values = [p50, p90, p95, p99, p99_9, max];
      assertEquals(values, values.toSorted((a, b) => a - b));
    }
    // A mail can't be at the receiver before it was taken; the last one was due after 1.95 s.
    assert(due_to_250.max >= dot_to_250.p50);
    assert(figures.accepted_per_second <= 40 / 1.95, String(figures.accepted_per_second));
    const sum = (name: string) =>
      figures.over_time.reduce((total: number, window: Record<string, number>) => total + window[name]!, 0);
    assertEquals([sum("accepted"), sum("arrived")], [40, 40]);
    assertEquals(d.receiver.requests.length, 40);
    assertMatch(
      ran.err,
      /^bench: 40 mails of 2KB in 2s, 1200\/min, over 3 connections, to inbox@example\.com at /,
    );
    assertEquals(ran.err.split("\n").length, 2, "no progress bar in a pipe");
  }));

test("bench marks its mails, so that nobody mistakes or answers one", () =>
  withDaemon({}, async (d) => {
    const ran = await benchOn(d, "--rate 5/s --duration 1s --size 1KB");
    assertEquals(ran.code, 0, ran.err);
    const run = /; run ([0-9a-z]{26})\n/.exec(ran.err)?.[1];
    const payload = payloadOf(d.receiver.requests[0]!);
    assertEquals(payload.sender, "gomail-bench@bench.invalid");
    assertMatch(payload.subject ?? "", new RegExp(`^\\[gomail bench\\] load mail \\d of run ${run}$`));
    for (const line of [`X-GoMail-Bench: ${run}`, "Precedence: bulk", "Auto-Submitted: auto-generated"]) {
      assertStringIncludes(payload.raw ?? "", `\r\n${line}\r\n`);
    }
    assert(Math.abs(payload.raw!.indexOf("\r\n\r\n") - 700) < 700 && payload.raw!.length < 2048);
    for (
      const label of [
        "generator's own delay",
        "connect",
        "final dot to 250",
        "due to 250",
        "due to the receiver",
      ]
    ) {
      assertStringIncludes(ran.out, label);
    }
    assertStringIncludes(ran.out, "5 mails due: 5 accepted, 0 deferred, 0 refused, 0 failed, 0 not sent");
    assertStringIncludes(ran.out, "5 arrived at the receiver, 0 still owed, 0 dead, 0 lost");
  }));

test("what nobody can say, bench says it did not measure", async () => {
  const cases: [answer: string | undefined, why: string][] = [
    ["250 2.0.0 Ok: queued as 01JBX2G7S9T4Q0V8N3M5K6H1CD", "Cannot reach the daemon: "],
    [undefined, "the server's replies name no id"],
  ];
  for (const [answer, why] of cases) {
    await withServer((line) => line === "." ? answer : undefined, async (server, bench) => {
      const ran = await bench("--rate 10/s --duration 1s");
      assertEquals(ran.code, 0, ran.err);
      assertEquals([server.mails.length, server.faults], [10, []]);
      assertStringIncludes(ran.out, `to the receiver: not measured: ${why}`);
      assertNotMatch(ran.out, /lost/);
      const { receiver, receiver_not_measured } = JSON.parse(
        (await bench("--rate 5/s --duration 1s --json")).out,
      );
      assertEquals(receiver, null);
      assertStringIncludes(receiver_not_measured, why);
    });
  }
});

test("mail that the daemon at the control socket does not know is not called lost", () =>
  withDaemon(
    {},
    (d) =>
      withServer(
        (line) => line === "." ? "250 2.0.0 Ok: queued as 01JBX2G7S9T4Q0V8N3M5K6H1CD" : undefined,
        async (
          server,
        ) => {
          const at = `${server.host}:${server.port}`;
          const ran = await gomail(`bench ${at} --to ${TO} --rate 5/s --duration 1s`, { env: envOf(d) });
          assertEquals(ran.code, 0, ran.err);
          assertStringIncludes(
            ran.out,
            "not measured: the daemon at the control socket is not the one at the target",
          );
        },
      ),
  ));

test("mail whose receiver is in trouble is owed, and not lost", () =>
  withDaemon({ webhook_url: "http://127.0.0.1:9/" }, async (d) => {
    const child = benchProcess(d, "--rate 10/s --duration 1s");
    // It would wait half a minute for them.
    await until(async () => (await d.jobs()).length === 10, "ten jobs");
    child.kill("SIGINT");
    const { code, out } = await ended(child);
    assertStringIncludes(out, "0 arrived at the receiver, 10 still owed, 0 dead, 0 lost");
    assertEquals(code, 0, out);
  }));

function benchProcess(d: TestDaemon, args: string): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      "--no-check",
      MAIN,
      "bench",
      d.daemon.addresses.smtp[0]!,
      "--to",
      TO,
      ...args.split(" "),
    ],
    env: envOf(d),
    stdout: "piped",
    stderr: "piped",
  }).spawn();
}

async function ended(child: Deno.ChildProcess): Promise<{ code: number; out: string; err: string }> {
  const { code, stdout, stderr } = await child.output();
  return { code, out: new TextDecoder().decode(stdout), err: new TextDecoder().decode(stderr) };
}

test("Ctrl-C ends bench with the table so far, and with what was begun brought to its end", () =>
  withDaemon({}, async (d) => {
    const child = benchProcess(d, "--rate 20/s --duration 10m --connections 2");
    await until(() => d.receiver.requests.length >= 5, "five mails");
    child.kill("SIGINT");
    const { code, out, err } = await ended(child);
    assertEquals(code, 0, err);
    assertStringIncludes(out, "Ended early: interrupted. Targets are not judged.");
    assertMatch(out, /^due to 250 +\d+ /m);
    const [, accepted, unsent] =
      /: (\d+) accepted, 0 deferred, 0 refused, 0 failed, (\d+) not sent/.exec(out) ?? [];
    assertEquals(Number(accepted) + Number(unsent), 12_000);
    // Each that was accepted is stored, and none is there that was not.
    await until(() => d.receiver.requests.length >= Number(accepted), "the rest");
    assertEquals((await d.api("/v1/messages?limit=500")).json.items.length, Number(accepted));
  }));

test("bench does not begin without --yes where it could do harm", async () => {
  const cases: [string, Record<string, string>, RegExp][] = [
    [`bench 8.8.8.8:25 --to ${TO}`, NOWHERE, /not without --yes: 8\.8\.8\.8:25 is on the open Internet \(/],
    [
      "bench 127.0.0.1:25 --to ann@elsewhere.example",
      NOWHERE,
      /: elsewhere\.example is not among our domains \(/,
    ],
    [
      `bench 127.0.0.1:25 --to ${TO}`,
      { ...NOWHERE, MAIL_PRIMARY_DOMAIN: "" },
      /: nothing here says whether example\.com is ours/,
    ],
  ];
  for (const [line, env, wanted] of cases) {
    const ran = await gomail(line, { env });
    assertEquals([ran.code, ran.out], [2, ""], ran.err);
    assertMatch(ran.err, wanted);
  }
});

test("bench asks about the address before it sends a mail to it", () =>
  withDaemon({}, async (d) => {
    const at = d.daemon.addresses.smtp[0];
    const ran = await gomail(`bench ${at} --to ann@elsewhere.example --yes`, { env: envOf(d) });
    assertEquals([ran.code, ran.out], [1, ""]);
    assertMatch(ran.err, /^gomail: Cannot send to ann@elsewhere\.example: the server said 550 5\.7\.1 /m);
    assertEquals((await d.api("/v1/messages")).json.items, []);
  }));

test("bench stops when the first mails are all refused", () =>
  withServer((line) => line === "." ? "554 5.7.1 Not here" : undefined, async (server, bench) => {
    const ran = await bench("--rate 200/s --duration 10s --connections 2");
    assertEquals(ran.code, 1);
    assertMatch(ran.out, /^Ended early: the first 20 mails were all refused/m);
    assertMatch(ran.out, /^ +2\d x +554 5\.7\.1 Not here$/m);
    assert(server.mails.length < 30);
  }));

test("where nobody offers PIPELINING, bench waits for each answer, and sends nothing after a refusal", async () => {
  for (const [refusals, told] of [[0, "5 accepted, 0 deferred"], [5, "0 accepted, 5 deferred"]] as const) {
    let nth = 0;
    const on = (line: string) => {
      // The first is the question whether the address is one.
      const isRefused = line.startsWith("RCPT") && nth++ > 0 && nth <= refusals + 1;
      return isRefused ? "451 4.2.1 Later" : undefined;
    };
    await withServer({ keywords: ["8BITMIME"], on }, async (server, bench) => {
      const ran = await bench("--rate 5/s --duration 1s --connections 1");
      assertStringIncludes(ran.out, `5 mails due: ${told}, `);
      assertEquals([server.lines.includes("DATA"), server.faults], [refusals === 0, []]);
    });
  }
});

test("a deferral is counted as one and shown by its text, whatever ids are in it", async () => {
  let nth = 0;
  await withServer(
    (line) =>
      line === "." && nth++ % 2 === 0
        ? `451 4.3.0 Try later (01JBX2G7S9T4Q0V8N3M5K6H1C${nth % 10})`
        : undefined,
    async (_, bench) => {
      const ran = await bench("--rate 20/s --duration 1s --connections 1");
      assertEquals(ran.code, 0, ran.err);
      assertStringIncludes(
        ran.out,
        "20 mails due: 10 accepted, 10 deferred, 0 refused, 0 failed, 0 not sent",
      );
      assertMatch(ran.out, /^ +10 x +451 4\.3\.0 Try later \(ID\)$/m);
    },
  );
});

test("a connection that is lost is opened again, and its mail has failed", async () => {
  let nth = 0;
  await withServer(
    (line) => line === "." && nth++ === 1 ? { then: "close" } : undefined,
    async (server, bench) => {
      const ran = await bench("--rate 5/s --duration 1s --connections 1");
      assertStringIncludes(ran.out, "5 mails due: 4 accepted, 0 deferred, 0 refused, 1 failed, 0 not sent");
      assertStringIncludes(ran.out, "connections opened again: 1");
      // One to ask, one that broke, one more.
      assertEquals(server.connections, 3);
    },
  );
});

test("the report stands for itself: well-formed, no script, nothing from elsewhere, strangers' text escaped", () =>
  withTempDir(async (dir) => {
    const hostile = `550 5.7.1 <script>alert("1")</script> & <img src=http://evil.example/x>`;
    let nth = 0;
    await withServer((line) => line === "." && nth++ % 2 === 0 ? hostile : undefined, async (_, bench) => {
      const ran = await bench(`--rate 20/s --duration 2s --report ${dir}/r.html`);
      assertEquals(ran.code, 0, ran.err);
      assertStringIncludes(ran.err, `report: ${dir}/r.html\n`);
    });
    const html = await Deno.readTextFile(`${dir}/r.html`);
    assertEquals(unclosed(html), []);
    assertNotMatch(html, /<script|<img|<[^>]*\b(?:src|href)=|@import|url\(/);
    assertStringIncludes(html, "&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt; &amp; &lt;img ");
    assertStringIncludes(html, "default-src 'none'");
    assertStringIncludes(html, "prefers-color-scheme: dark");
    assertEquals(html.match(/<svg /g)?.length, 3);
    // Lines were drawn, with numbers only.
    assert(html.match(/<path class="line [a-d]" d="M[\d.]+ [\d.]+(?:L[\d.]+ [\d.]+)*"\/>/g)!.length >= 4);
    assertNotMatch(html, /NaN|undefined|Infinity/);
  }));

test("a report never replaces a file unless told so, and bench says so before it sends", () =>
  withTempDir((dir) =>
    withServer(() => undefined, async (server, bench) => {
      await Deno.writeTextFile(`${dir}/r.html`, "mine");
      const ran = await bench(`--rate 5/s --duration 1s --report ${dir}/r.html`);
      assertEquals(ran.code, 2);
      assertStringIncludes(ran.err, "is there already: --force replaces it");
      assertEquals([await Deno.readTextFile(`${dir}/r.html`), server.mails.length], ["mine", 0]);
      assertEquals((await bench(`--rate 5/s --duration 1s --report ${dir}/r.html --force`)).code, 0);
      assertStringIncludes(await Deno.readTextFile(`${dir}/r.html`), "<!DOCTYPE html>");
    })
  ));

test("a profile is judged by its targets, its exit code says how, and a short one says that it is", () =>
  withDaemon({}, async (d) => {
    const ran = await benchOn(d, "--profile seed --duration 2s");
    // How long it took is the machine's to say here; that word and code agree is ours.
    assertEquals(ran.code, /^MISSED/m.test(ran.out) ? 1 : 0, ran.out);
    assertMatch(ran.out, /^Shortened to 2 seconds\.$/m);
    assertMatch(ran.out, /^ok +mails lost +target at most 0 +seen 0$/m);
    assertMatch(ran.out, /^(ok|MISSED) +p99 from due to 250 +target at most 20 ms +seen [\d.]+ ms$/m);
    assertMatch(ran.out, /^33 mails due: 33 accepted/m);
  }));

test("bench refuses what it can't mean", async () => {
  const cases: [string, RegExp][] = [
    ["--rate 10", /--rate must be a number of mails/],
    ["--rate 0/s", /--rate must be/],
    ["--duration 2d", /--duration must be from 1s to 24h/],
    ["--duration 10ms", /--duration must be/],
    ["--size 1GB", /--size must be up to 100MB/],
    ["--connections 5000", /--connections must be at most 1000/],
    ["--rate 99999/s --duration 1h", /more than 1000000 mails/],
    ["--to nobody", /--to must be one address/],
    ["--from a@b@c", /--from must be one address/],
    ["--tls maybe", /--tls must be one of: auto, require, verify, off/],
    ["--profile seed --rate 5/s", /--rate is the profile's to say/],
    ["--profile nought", /--profile must be one of: seed, burst/],
    ["--profile slow-receiver", /only `deno task load` has it/],
    ["--force", /--force is about --report/],
  ];
  for (const [args, wanted] of cases) {
    const ran = await gomail(`bench 127.0.0.1:25 ${args}`, { env: NOWHERE });
    assertEquals([ran.code, ran.out], [2, ""], ran.err);
    assertMatch(ran.err, wanted);
  }
  const nobody = await gomail("bench 127.0.0.1:25", { env: { ...NOWHERE, MAIL_PRIMARY_DOMAIN: "" } });
  assertEquals(nobody.code, 2);
  assertMatch(nobody.err, /to whom\? name --to ADDRESS/);
  const path = await gomail(`bench unix:/x --to ${TO}`, { env: NOWHERE });
  assertMatch(path.err, /is not host:port/);
});
