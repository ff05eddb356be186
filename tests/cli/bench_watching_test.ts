/** What bench shows and watches while it runs: the bar on a terminal, and the daemon's memory by its own metrics. */

import { assert, assertEquals } from "@std/assert";
import { createMetrics } from "../../src/base/metrics.ts";
import { Measurement } from "../../src/cli/bench/measurement.ts";
import { Progress } from "../../src/cli/bench/progress.ts";
import { watchMetrics } from "../../src/cli/bench/resources.ts";
import { FakeClock } from "../support/fake_clock.ts";
import { test } from "../support/test.ts";
import { until } from "../support/until.ts";

function screen(isTerminal: boolean) {
  const shown: string[] = [];
  return { shown, io: { err: (text: string) => void shown.push(text), errIsTerminal: () => isTerminal } };
}

test("the bar is written over itself twice a second, and leaves an empty line", async () => {
  const clock = new FakeClock();
  const { shown, io } = screen(true);
  const measurement = new Measurement(2, 10);
  const progress = new Progress(io, { mails: 2 }, clock);
  progress.begin(measurement);
  await clock.advance(500);
  assert(shown.at(-1)!.startsWith(`\r[${"-".repeat(24)}]   0 %  `), shown.at(-1)!);
  measurement.accepted("a", 0, 10, 5);
  measurement.accepted("b", 0, 10, 5);
  await clock.advance(500);
  assert(shown.at(-1)!.endsWith(", 2 on their way to the receiver"), shown.at(-1)!);
  const width = shown.at(-1)!.length - 1;
  progress.end();
  assertEquals(shown.slice(-2), ["\r" + " ".repeat(width), "\r"]);
  const { length } = shown;
  progress.end();
  await clock.advance(5000);
  assertEquals([shown.length, clock.pending], [length, 0]);
});

test("nothing is shown in a pipe", async () => {
  const clock = new FakeClock();
  const { shown, io } = screen(false);
  const progress = new Progress(io, { mails: 2 }, clock);
  progress.begin(new Measurement(2, 10));
  await clock.advance(5000);
  progress.end();
  assertEquals([shown, clock.pending], [[], 0]);
});

test("the daemon's memory is read from the metrics that it really serves", async () => {
  const { registry } = createMetrics();
  let asked = 0;
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen: () => {} }, async () => {
    asked++;
    return new Response(await registry.metrics());
  });
  try {
    const config = {
      metrics_enabled: true,
      metrics_port: server.addr.port,
      metrics_path: "/metrics",
      metrics_listen_address: "127.0.0.1",
    };
    const clock = new FakeClock();
    const watch = watchMetrics(config, clock);
    for (let i = 1; i <= 6; i++) {
      await clock.advance(1000);
      await until(() => asked === i, "the look");
      // Its answer has to be read before the watch ends.
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    const seen = watch.end();
    assert(seen !== null && seen.rssPeakBytes! > 1e6 && Number.isFinite(seen.rssGrowthBytes), `${seen}`);
    const nothing = [{ metrics_enabled: false }, { metrics_port: 0 }, {
      metrics_listen_address: "192.0.2.1",
    }];
    for (const other of nothing) assertEquals(watchMetrics({ ...config, ...other }, clock).end(), null);
    assertEquals(clock.pending, 0);
  } finally {
    await server.shutdown();
  }
});

test("a daemon that can't be asked has no memory to tell of", async () => {
  const config = {
    metrics_enabled: true,
    metrics_port: 1,
    metrics_path: "/metrics",
    metrics_listen_address: "127.0.0.1",
  };
  const clock = new FakeClock();
  const watch = watchMetrics(config, clock);
  await clock.advance(1000);
  await new Promise((resolve) => setTimeout(resolve, 50));
  assertEquals(watch.end(), null);
});
