/**
 * `deno task load` as people start it, only far shorter: each profile runs, is judged by all of its targets, writes
 * its report and leaves nothing behind. How fast anything was is the machine's to say: a target about time may be
 * missed here, and then the exit code has to tell.
 */

import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { unclosed } from "../support/html.ts";
import { type Finished, run } from "../support/program.ts";
import { test, withTempDir } from "../support/test.ts";

const MAIN = new URL("../load/main.ts", import.meta.url).pathname;

interface Ran extends Finished {
  line: string;
  /** Where it was told to write its report, and what is there; null when nothing is. */
  reportPath: string;
  report: string | null;
  /** Files and processes that outlived it. */
  left: string[];
}

/** Those whose command line names the directory; they are ended. */
function endProcessesOf(dir: string): string[] {
  const found: string[] = [];
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const line = Deno.readTextFileSync(`/proc/${name}/cmdline`).replaceAll("\0", " ");
      if (!line.includes(dir)) continue;
      found.push(line);
      Deno.kill(Number(name), "SIGKILL");
    } catch {
      // It has ended meanwhile.
    }
  }
  return found;
}

function load(line: string): Promise<Ran> {
  return withTempDir(async (dir) => {
    const [scratch, reportPath] = [`${dir}/scratch`, `${dir}/report.html`];
    await Deno.mkdir(scratch);
    const { DENO_COVERAGE_DIR: _, ...env } = Deno.env.toObject();
    const args = ["run", "-A", "--no-check", MAIN, ...line.split(" "), "--report", reportPath];
    const finished = await run(Deno.execPath(), args, {
      env: { ...env, NO_COLOR: "1", TMPDIR: scratch },
      clearEnv: true,
    });
    const left = [...[...Deno.readDirSync(scratch)].map(({ name }) => name), ...endProcessesOf(dir)];
    const report = await Deno.readTextFile(reportPath).catch(() => null);
    return { ...finished, line, reportPath, report, left };
  });
}

interface Judged {
  word: string;
  label: string;
  target: string;
  seen: string;
}

function verdictsOf(out: string): Judged[] {
  const lines = out.matchAll(/^(ok|MISSED|-) +(.+?) {2,}target (.+?) {2,}seen (.+)$/gm);
  return [...lines].map(([, word, label, target, seen]) => ({ word, label, target, seen } as Judged));
}

function verdictsIn(html: string): Judged[] {
  const cell = "<td>([^<]*)</td>";
  const rows = html.matchAll(
    new RegExp(`<tr><td class="[a-z]*">([^<]*)</td>${cell}${cell}${cell}</tr>`, "g"),
  );
  return [...rows].map(([, word, label, target, seen]) => ({ word, label, target, seen } as Judged));
}

interface Stream {
  due: number;
  accepted: number;
  arrived: number;
  owed: number;
  /** Of "due to the receiver": how many, and their median in milliseconds. */
  heard: number;
  heardMs: number;
}

/** Each stream's counts, which have to add up. */
function streamsOf(out: string): Stream[] {
  const counts = new RegExp(
    String.raw`^due to the receiver +(\d+) +(\S+) [^]*?` +
      String
        .raw`^(\d+) mails due: (\d+) accepted, (\d+) deferred, (\d+) refused, (\d+) failed, (\d+) not sent; .*\n` +
      String.raw`(\d+) arrived at the receiver, (\d+) still owed, (\d+) dead, (\d+) lost$`,
    "gm",
  );
  return [...out.matchAll(counts)].map((found) => {
    const [heard, heardMs, due, accepted, deferred, refused, failed, notSent, arrived, owed, dead, lost] =
      found
        .slice(1).map(Number) as [number, ...number[]];
    assertEquals(due, accepted! + deferred! + refused! + failed! + notSent!, found[0]);
    assertEquals(accepted, arrived! + owed! + dead! + lost!, found[0]);
    assertEquals(heard, arrived, found[0]);
    return { due, accepted, arrived, owed, heard, heardMs } as Stream;
  });
}

/** `20.0 ms` against `at most 20 ms`; null where rounding hides what it was. */
function isKept(target: string, seen: string): boolean | null {
  if (seen === "not measured") return false;
  const [, side, limit] = /^at (most|least) (\d+)/.exec(target)!;
  const [value, bound] = [parseFloat(seen), Number(limit)];
  // Counts are not rounded.
  if (value === bound && seen.includes(".")) return null;
  return side === "most" ? value <= bound : value >= bound;
}

function checkReport(
  { reportPath, report, out }: Ran,
  name: string,
  notWhole: string,
  streams: number,
): void {
  assertStringIncludes(out, `\nreport: ${reportPath}\n`);
  assert(report !== null, "no report");
  assertStringIncludes(report, `<title>GoMail load profile ${name}</title>`);
  assertStringIncludes(report, `<p>${notWhole}</p>`);
  assertEquals(verdictsIn(report), verdictsOf(out));
  assertEquals(report.match(/<svg /g)?.length, 3 * streams);
  assert(report.match(/<path class="line [a-d]"/g)!.length >= 2 * streams);
  for (const fact of ["profile", "this run", "mails", "when", "machine", "system", "versions"]) {
    assertStringIncludes(report, `<tr><td>${fact}</td><td>`);
  }
  assertMatch(report, /<td>daemon&#39;s peak RSS<\/td><td>[1-9]\d* MB<\/td>/);
  assertMatch(report, /<\/body><\/html>\n$/);
  assertEquals(unclosed(report), []);
}

const NOTHING_LOST = ["mails lost: at most 0", "mails not taken: at most 0"];
const IN_TIME = [
  ...NOTHING_LOST,
  "rate held: at least 99 %",
  "p99 from due to 250: at most 20 ms",
  "p99 from due to the receiver: at most 500 ms",
];
const of = (stream: string, targets: readonly string[]) => targets.map((target) => `${stream}: ${target}`);

interface Case {
  line: string;
  /** Of the first line. */
  here: string;
  note: string;
  targets: string[];
  /** Mails due in each stream. */
  due: number[];
  /** Whatever the machine: words that are certain. */
  certain?: Record<string, string>;
}

const CASES: Case[] = [
  {
    line: "seed --seconds 2",
    here: "33 mails in 2 s",
    note: "Not the whole profile: 33 mails in 2 s, where it is 10000 mails in 600 s.",
    targets: IN_TIME,
    due: [33],
  },
  {
    // 10,000 mails a second, and each of them synced: nobody keeps up.
    line: "burst --seconds 0.005 --mails 50",
    here: "50 mails in 0.005 s",
    note: "Not the whole profile: 50 mails in 0.005 s, where it is 10000 mails in 60 s.",
    targets: [
      ...NOTHING_LOST,
      "rate held: at least 99 %",
      "p99 from due to 250: at most 100 ms",
      "p99 from due to the receiver: at most 2000 ms",
    ],
    due: [50],
    certain: { "rate held": "MISSED" },
  },
  {
    // Too short to see anything grow.
    line: "soak --seconds 1",
    here: "17 mails in 1 s",
    note: "Not the whole profile: 17 mails in 1 s, where it is 60000 mails in 3600 s.",
    targets: [...IN_TIME, "growth of RSS: at most 50 MB", "growth of file descriptors: at most 20"],
    due: [17],
    certain: { "growth of RSS": "-", "growth of file descriptors": "-" },
  },
  {
    line: "big --mails 2",
    here: "2 mails at once",
    note: "Not the whole profile: 2 mails at once, where it is 10 mails at once.",
    targets: [...NOTHING_LOST, "peak RSS: at most 400 MB"],
    due: [2],
  },
  {
    line: "slow-receiver --seconds 1",
    here: "10 mails in 1 s",
    note: "Not the whole profile: 10 mails in 1 s, where it is 1200 mails in 120 s.",
    targets: [
      ...of("receiver that is well", IN_TIME),
      ...of("receiver that takes 5 s", IN_TIME.slice(0, 4)),
      ...of("receiver that never answers", IN_TIME.slice(0, 4)),
    ],
    // The first is the one before there was trouble.
    due: [4, 10, 3, 3],
  },
];

/** Side by side, as far as two cores take it: most of a run's time is waiting. */
async function runAll(): Promise<Map<string, Ran>> {
  const waiting = CASES.map(({ line }) => line).reverse();
  const ran = new Map<string, Ran>();
  const lane = async () => {
    for (let line = waiting.shift(); line !== undefined; line = waiting.shift()) {
      ran.set(line, await load(line));
    }
  };
  await Promise.all([lane(), lane(), lane()]);
  return ran;
}

test("each load profile is judged by its targets, says so by its exit code, and leaves nothing but its report", async (t) => {
  const all = await runAll();
  for (const { line, here, note, targets, due, certain = {} } of CASES) {
    await t.step(line, () => {
      const ran = all.get(line)!;
      const { code, out, err } = ran;
      const name = line.split(" ")[0]!;
      assertEquals([err, ran.left], ["", []], out);
      assertMatch(out, new RegExp(`^${name}: .*; here ${here.replace(".", "\\.")}\n`));
      const streams = streamsOf(out);
      assertEquals(streams.map((stream) => stream.due), due, out);
      assertEquals(out.match(/^milliseconds +count +p50 +p90 +p95 +p99 +p99\.9 +max$/gm)?.length, due.length);
      const verdicts = verdictsOf(out);
      assertEquals(verdicts.map(({ label, target }) => `${label}: ${target}`), targets, out);
      for (const { word, label, target, seen } of verdicts) {
        const kept = isKept(target, seen);
        if (kept !== null) assertEquals(word === "ok", kept, out);
        if (label in certain) assertEquals(word, certain[label], out);
        // That is not a matter of time.
        if (/mails (?:lost|not taken)$/.test(label)) assertEquals([word, seen], ["ok", "0"], out);
      }
      assertEquals(code, verdicts.every(({ word }) => word === "ok") ? 0 : 1, out);
      checkReport(ran, name, note, due.length);
    });
  }
  await t.step("the receivers in trouble were in trouble, and the others had all their mail", () => {
    const streams = new Map([...all].map(([line, { out }]) => [line.split(" ")[0]!, streamsOf(out)]));
    const { "slow-receiver": troubled, ...well } = Object.fromEntries(streams);
    for (const stream of Object.values(well).flat()) assertEquals(stream.arrived, stream.due);
    const fates = troubled!.map(({ arrived, owed }) => [arrived, owed]);
    assertEquals(fates, [[4, 0], [10, 0], [3, 0], [0, 3]]);
    assert(troubled![2]!.heardMs >= 5000, `the slow receiver took ${troubled![2]!.heardMs} ms`);
  });
});

test("a load that can't be meant ends with exit code 2, and nothing was started", async () => {
  const cases: [string, RegExp][] = [
    ["nonsense", /^There is no load nonsense: see /],
    ["seed --seconds soon", /^--seconds is a number above 0$/],
    ["seed --seconds 0", /^--seconds is a number above 0$/],
    ["big --mails 1.5", /^--mails is a whole number above 0$/],
    ["seed --connections 0", /^--connections is a whole number above 0$/],
    ["restore --gigabytes much", /^--gigabytes is a number above 0/],
  ];
  const ran = await Promise.all(cases.map(([line]) => load(line)));
  ran.forEach(({ code, out, err, report, left }, i) => {
    assertEquals([code, out, report, left], [2, "", null, []], cases[i]![0]);
    assertMatch(err.trimEnd(), cases[i]![1]);
  });
});

test("load restore brings every mail back, says so by its exit code, and leaves nothing", async () => {
  const [kept, tooLarge] = await Promise.all([
    load("restore --gigabytes 0.005"),
    load("restore --gigabytes 1000000"),
  ]);
  assertEquals([kept.code, kept.err, kept.left], [0, "", []], kept.out);
  const steps = [...kept.out.matchAll(/^(\S.*?) {2,}\d+\.\d+ s\b/gm)].map(([, name]) => name);
  assertEquals(steps, [
    "fill",
    "backup, full",
    "1 % more",
    "backup, incremental",
    "verify, both",
    "restore, both",
    "start to ready",
    "start to first webhook",
    "start to all owed delivered",
    "compare every mail",
  ]);
  const [, mails, owed] = /^1 % more .* (\d+) mails, \d+ of them in files, (\d+) owed$/m.exec(kept.out)!;
  assert(Number(mails) > 100 && Number(owed) > 1, kept.out);
  assertEquals(kept.out.match(/^(?:ok|MISSED) .*$/gm), [
    `ok     ${mails} of ${mails} mails are back`,
    "ok     0 lost or with other bytes",
    `ok     0 of ${owed} owed webhooks not delivered`,
    "ok     integrity of the database: ok",
  ]);
  assertMatch(kept.out, /^restore to first webhook \(RTO\): \d+\.\d s$/m);
  // Where it could not be tried, it is not kept.
  assertEquals([tooLarge.code, tooLarge.left], [1, []]);
  assertMatch(
    tooLarge.err,
    /^Cannot measure 1000000 GB in \S+: there is no room; --dir names another place\n$/,
  );
});
