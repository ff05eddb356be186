/**
 * `deno task load seed|burst|soak|big|slow-receiver [--seconds N] [--mails N] [--report F]`: the profiles of
 * src/cli/bench/profiles.ts against a daemon in a process of its own, which is measured from outside by the same
 * generator as `gomail bench`. Each prints a verdict against its targets and writes an HTML report. Whoever else uses
 * the machine meanwhile is measured as well, since a latency says as much about them as about us.
 */

import { systemClock } from "../../src/base/clock.ts";
import { VERSION } from "../../src/base/version.ts";
import { reportHtml } from "../../src/cli/bench/html.ts";
import { type Profile, shortened, type Target, TROUBLED_STREAM } from "../../src/cli/bench/profiles.ts";
import type { StreamResult } from "../../src/cli/bench/result.ts";
import { runStream, type StreamPlan } from "../../src/cli/bench/stream.ts";
import { resultText } from "../../src/cli/bench/text.ts";
import { judge, type Verdict } from "../../src/cli/bench/verdicts.ts";
import type { Whereabouts } from "../../src/cli/bench/measurement.ts";
import { QueueWhereabouts, type WhereaboutsSource } from "../../src/cli/bench/whereabouts.ts";
import { withControl } from "../../src/cli/control_client.ts";
import { type Bench, RECIPIENT, withBench } from "./bench.ts";
import { watchCpu } from "./cpu.ts";
import type { LoadMail } from "./mails.ts";
import { watchResources } from "./resources.ts";
import { startTroubledReceiver } from "./troubled_receiver.ts";

export interface ProfileOptions {
  /** Instead of the profile's own. */
  seconds?: number | undefined;
  /** Without it as many as keep the profile's rate. */
  mails?: number | undefined;
  connections?: number | undefined;
  /** Where the report goes; a file that is there is replaced. */
  report?: string | undefined;
}

const SLOW = "slow@example.com", NEVER = "never@example.com";
/** Beside 600 a minute to the receiver that is well: with 16 at once and 5 s each, just what the slow one can take. */
const TROUBLED_PART = 1 / 3;
const WARM_UP = { mails: 100, seconds: 4, connections: 10 };
const WAIT_MS = 30_000;
/** For what is never taken: longer than the receiver that is only slow takes. */
const NEVER_WAIT_MS = 6000;
const POOL_MAX = 500;
const LOOK_MS = 100;
const HELO = "load.example";

/** What the receiver in this process has heard of. */
function heardBy(received: ReadonlyMap<string, number>): WhereaboutsSource {
  return {
    problem: null,
    async look(ids) {
      const found = new Map<string, Whereabouts>();
      for (const id of ids) {
        const atMs = received.get(id);
        if (atMs !== undefined) found.set(id, { kind: "arrived", atMs });
      }
      return found;
    },
  };
}

function streamTo(
  bench: Bench,
  recipient: string,
  mails: readonly LoadMail[],
  profile: Pick<Profile, "mails" | "seconds" | "connections">,
  source: WhereaboutsSource,
  name = "",
): StreamPlan {
  return {
    name,
    mails: profile.mails,
    seconds: profile.seconds,
    connections: profile.connections,
    target: { host: "127.0.0.1", port: bench.daemon.smtpPort, name: null },
    tls: "off",
    helo: HELO,
    mail: (index) => {
      const { sender, bytes } = mails[index % mails.length]!;
      return { sender, recipient, parts: [bytes] };
    },
    source,
    waitMs: WAIT_MS,
    lookMs: LOOK_MS,
  };
}

interface Stream {
  plan: StreamPlan;
  targets: readonly Target[];
}

/** The profile's stream; beside it, where the profile is about that, those to receivers in trouble. */
function streamsOf(bench: Bench, profile: Profile, mails: readonly LoadMail[]): Stream[] {
  const received = heardBy(bench.received);
  if (!profile.needsOwnReceiver) {
    return [{ plan: streamTo(bench, RECIPIENT, mails, profile, received), targets: profile.targets }];
  }
  const part = { ...profile, mails: Math.max(1, Math.round(profile.mails * TROUBLED_PART)) };
  const queue = () =>
    new QueueWhereabouts((use) => withControl(`${bench.daemon.dir}/gomail.sock`, use), systemClock);
  const troubled = (recipient: string, name: string, waitMs: number) => ({
    plan: { ...streamTo(bench, recipient, mails, part, queue(), name), lookMs: 1000, waitMs },
    targets: TROUBLED_STREAM,
  });
  return [
    {
      plan: streamTo(bench, RECIPIENT, mails, profile, received, "receiver that is well"),
      targets: profile.targets,
    },
    troubled(SLOW, "receiver that takes 5 s", WAIT_MS),
    troubled(NEVER, "receiver that never answers", NEVER_WAIT_MS),
  ];
}

/** What to compare with: as many mails a minute in all, a quarter as long, and nobody in trouble. */
function beforeTrouble(bench: Bench, profile: Profile): StreamPlan {
  const all = { ...profile, mails: Math.round(profile.mails * (1 + 2 * TROUBLED_PART)) };
  const short = shortened(all, profile.seconds / 4);
  return streamTo(
    bench,
    RECIPIENT,
    bench.mails,
    short,
    heardBy(bench.received),
    "before, all receivers well",
  );
}

interface Outcome {
  results: StreamResult[];
  verdicts: Verdict[];
  /** The part of the machine that others had. */
  others: number;
  cpuMsPerMail: number;
}

async function measure(bench: Bench, profile: Profile, warmUpMails: number): Promise<Outcome> {
  const signal = new AbortController().signal;
  const deps = { clock: systemClock, signal };
  const warmUp = { ...WARM_UP, mails: warmUpMails, seconds: WARM_UP.seconds * warmUpMails / WARM_UP.mails };
  await runStream(streamTo(bench, RECIPIENT, bench.mails, warmUp, heardBy(bench.received)), deps);
  const mails = profile.sizeBytes > 1 << 20 ? [await bench.big(profile.sizeBytes)] : bench.mails;
  const resources = watchResources(bench.daemon.pid, profile.seconds);
  const cpuUsed = watchCpu({ daemon: bench.daemon.pid, load: Deno.pid });
  const before = profile.needsOwnReceiver ? [await runStream(beforeTrouble(bench, profile), deps)] : [];
  const streams = streamsOf(bench, profile, mails);
  const results = await Promise.all(streams.map(({ plan }) => runStream(plan, deps)));
  const cpu = cpuUsed();
  const seen = resources.end();
  for (const result of results) result.resources = seen;
  const sent = [...before, ...results].reduce((sum, { measurement }) => sum + measurement.answered, 0);
  return {
    results: [...before, ...results],
    verdicts: results.flatMap((result, i) => judge(result, streams[i]!.targets, profile.seconds)),
    others: cpu.others,
    cpuMsPerMail: cpu.seconds.daemon! * 1000 / Math.max(1, sent),
  };
}

function cpuModel(): string {
  const line = /^model name\s*:\s*(.*)$/m.exec(Deno.readTextFileSync("/proc/cpuinfo"));
  return line?.[1] ?? "unknown";
}

const MB = 2 ** 20;

const loadText = ({ mails, seconds }: Profile) =>
  `${mails} mails ${seconds === 0 ? "at once" : `in ${seconds} s`}`;

function facts(profile: Profile, outcome: Outcome): [string, string][] {
  const memory = Deno.systemMemoryInfo().total / 2 ** 30;
  const resources = outcome.results.at(-1)?.resources;
  return [
    ["profile", `${profile.name}: ${profile.summary}`],
    ["this run", `${loadText(profile)} over ${profile.connections} connections`],
    ["mails", `${profile.sizeBytes} bytes, DKIM-signed (RSA-2048), from 50 domains`],
    ["when", new Date().toISOString()],
    ["machine", `${navigator.hardwareConcurrency} x ${cpuModel()}, ${memory.toFixed(0)} GB`],
    ["system", `${Deno.build.os} ${Deno.osRelease()}, ${Deno.build.arch}`],
    ["versions", `GoMail ${VERSION}, Deno ${Deno.version.deno}, V8 ${Deno.version.v8}`],
    ["configuration", "defaults; SPF, DKIM and DMARC against a name server that answers in 1 ms"],
    ["beside it", "generator, name server and receiver, on the same machine"],
    ["the machine's others", `had ${(100 * outcome.others).toFixed(0)} % of its processors meanwhile`],
    ["daemon's CPU for each mail", `${outcome.cpuMsPerMail.toFixed(2)} ms`],
    ["daemon's peak RSS", `${((resources?.rssPeakBytes ?? 0) / MB).toFixed(0)} MB`],
  ];
}

/** Runs one; resolves with whether every target was kept. A target that could not be measured is not kept. */
export async function runProfile(whole: Profile, options: ProfileOptions): Promise<boolean> {
  const timed = options.seconds === undefined ? whole : shortened(whole, options.seconds);
  const { connections = timed.connections, mails = timed.mails } = options;
  const profile = { ...timed, connections, mails };
  const isWhole = profile.seconds === whole.seconds && mails === whole.mails;
  // The first mails are the compiler's to warm up; a run that is cut short is not to be mostly that.
  const warmUp = isWhole ? WARM_UP.mails : Math.min(WARM_UP.mails, mails);
  const pool = Math.min(POOL_MAX, Math.max(warmUp, mails));
  const troubled = profile.needsOwnReceiver ? await startTroubledReceiver() : null;
  const values = troubled === null ? {} : {
    routes: [
      { match: SLOW, url: troubled.slowUrl },
      { match: NEVER, url: troubled.neverUrl },
    ],
  };
  try {
    const outcome = await withBench(async (bench) => {
      const measured = await measure(bench, profile, warmUp);
      // The daemon would wait for them before it stops.
      await troubled?.close();
      return measured;
    }, { values, pool });
    const notes = [
      ...(isWhole ? [] : [`Not the whole profile: ${loadText(profile)}, where it is ${loadText(whole)}.`]),
      `Others had ${(100 * outcome.others).toFixed(0)} % of the machine's processors meanwhile.`,
    ];
    console.log(`${profile.name}: ${profile.summary}${isWhole ? "" : `; here ${loadText(profile)}`}\n`);
    console.log(resultText(outcome.results, outcome.verdicts));
    for (const [name, value] of facts(profile, outcome).slice(-3)) console.log(`${name}: ${value}`);
    const report = options.report ??
      `${await Deno.makeTempDir({ prefix: "gomail-load-" })}/${profile.name}.html`;
    const { results, verdicts } = outcome;
    const title = `GoMail load profile ${profile.name}`;
    await Deno.writeTextFile(
      report,
      reportHtml({ title, facts: facts(profile, outcome), notes, results, verdicts }),
    );
    console.log(`report: ${report}`);
    return verdicts.every((verdict) => verdict.isKept === true);
  } finally {
    await troubled?.close();
  }
}
