/** What bench measures with: the histogram against a sorted list, the fates of mails, the growth of memory. */

import { assert, assertEquals } from "@std/assert";
import fc from "fast-check";
import { Histogram } from "../../src/cli/bench/histogram.ts";
import { Measurement } from "../../src/cli/bench/measurement.ts";
import { plotSvg } from "../../src/cli/bench/plots.ts";
import { PROFILES, shortened } from "../../src/cli/bench/profiles.ts";
import { progressLine } from "../../src/cli/bench/progress.ts";
import { growth } from "../../src/cli/bench/resources.ts";
import type { StreamResult } from "../../src/cli/bench/result.ts";
import { judge, wordOf } from "../../src/cli/bench/verdicts.ts";
import { test } from "../support/test.ts";

/** Whole microseconds up to 19 hours, small ones as likely as large ones. */
const micros = fc.oneof(fc.integer({ min: 0, max: 1000 }), fc.integer({ min: 0, max: 2 ** 36 - 1 }));

test("a percentile of the histogram is the sorted list's, to within 1 in 128", () => {
  fc.assert(fc.property(
    fc.array(micros, { minLength: 1, maxLength: 200 }),
    fc.double({ min: 0, max: 100, noNaN: true }),
    (values, percent) => {
      const histogram = new Histogram();
      for (const value of values) histogram.record(value / 1000);
      const sorted = values.toSorted((a, b) => a - b);
      const exact = sorted[Math.max(1, Math.ceil(values.length * percent / 100)) - 1]! / 1000;
      const seen = histogram.percentile(percent)!;
      assert(seen >= exact - 1e-9 && seen <= exact * (1 + 1 / 128) + 1e-9, `${seen} for ${exact}`);
      assertEquals(histogram.maxMs, sorted.at(-1)! / 1000);
    },
  ));
});

test("the histogram loses no value, keeps its buckets in order, and takes what no clock should say", () => {
  fc.assert(fc.property(fc.array(fc.double({ min: -1e6, max: 1e12, noNaN: true })), (values) => {
    const histogram = new Histogram();
    for (const value of values) histogram.record(value);
    const buckets = histogram.buckets();
    assertEquals(buckets.reduce((sum, { count }) => sum + count, 0), values.length);
    assertEquals(histogram.count, values.length);
    const edges = buckets.map(({ upToMs }) => upToMs);
    assertEquals(edges, edges.toSorted((a, b) => a - b));
    assertEquals(histogram.percentile(50) === null, values.length === 0);
  }));
});

function stream(measurement: Measurement, more: Partial<StreamResult> = {}): StreamResult {
  return {
    name: "",
    measurement,
    remaining: { owed: 0, lost: 0 },
    notMeasured: null,
    stopped: null,
    resources: null,
    ...more,
  };
}

test("a mail is charged from when it was due, so a server that stands still is charged for all that wait", () => {
  const measurement = new Measurement(10, 1);
  // Ten were due 100 ms apart; the server said nothing for a second and then took all, each in 1 ms.
  for (let i = 0; i < 10; i++) measurement.accepted(null, i * 100, 1000 + i, 1);
  assertEquals(measurement.answer.maxMs, 1);
  assertEquals(measurement.accept.maxMs, 1000);
  assert(measurement.accept.percentile(50)! > 400);
});

test("each target is kept, missed or not measured, and a dead letter counts as lost", () => {
  const measurement = new Measurement(3, 1);
  measurement.accepted("a", 0, 10, 5);
  measurement.accepted("b", 0, 10, 5);
  measurement.turnedAway(451, "451 later", 20);
  measurement.heard("a", { kind: "arrived", atMs: 30 });
  measurement.heard("b", { kind: "dead" });
  const targets = [
    { measure: "lost", most: 0 },
    { measure: "refused", most: 1 },
    { measure: "receiver_p99_ms", most: 500 },
    { measure: "rss_growth_mb", most: 50 },
  ] as const;
  assertEquals(judge(stream(measurement), targets, 1).map(wordOf), ["MISSED", "ok", "ok", "-"]);
  const unseen = judge(stream(measurement, { remaining: null }), targets, 1);
  assertEquals(unseen.map(wordOf), ["-", "ok", "-", "-"]);
});

test("memory is bounded: kinds of replies, and slices of time", () => {
  const measurement = new Measurement(1000, 86_400);
  for (let i = 0; i < 1000; i++) {
    measurement.turnedAway(550, `550 no ${String.fromCharCode(97 + i % 26)}${i}`, i * 1000);
    measurement.accepted(null, 0, i * 1e6, 1);
  }
  assert(measurement.replies.size <= 21 && measurement.windows.length <= 241);
  assertEquals([...measurement.replies.values()].reduce((sum, count) => sum + count, 0), 1000);
  assertEquals(measurement.windows.reduce((sum, { accepted }) => sum + accepted, 0), 1000);
});

test("growth compares the second fifth with the last, and one peak of the collector does not count", () => {
  const level = Array.from({ length: 100 }, (_, i) => i < 20 ? 10 * i : 200);
  assertEquals(growth(level), 0);
  assertEquals(growth(level.with(95, 10_000)), 0);
  assertEquals(growth(level.map((value, i) => i >= 80 ? value + 70 : value)), 70);
  assertEquals(growth([1, 2]), null);
});

test("the progress bar says how far it is", () => {
  const measurement = new Measurement(4, 1);
  measurement.accepted(null, 0, 10, 5);
  measurement.turnedAway(451, "451 later", 20);
  assertEquals(
    progressLine(measurement),
    "[############------------]  50 %  2 of 4, p99 10.0 ms, 1 not taken",
  );
});

test("a plot of nothing, of one point and of zeros has only numbers in it", () => {
  for (const points of [[], [[0, 0]], [[5, 5]], [[0, 0], [1, 0]]] as [number, number][][]) {
    for (const isLog of [false, true]) {
      const svg = plotSvg({
        title: "<T>",
        xLabel: "x",
        yLabel: "y",
        isLogX: isLog,
        isLogY: isLog,
        series: [{ label: "a", tone: "a", points }],
      });
      assert(!/NaN|Infinity|<T>/.test(svg), svg);
    }
  }
});

test("a profile that is shortened keeps its rate", () => {
  for (const profile of PROFILES.filter(({ seconds }) => seconds > 0)) {
    const short = shortened(profile, profile.seconds / 10);
    assertEquals(short.mails / short.seconds, profile.mails / profile.seconds);
    assertEquals(short.targets, profile.targets);
  }
});
