/**
 * `deno task load`: a benchmark of the whole way in, not a test. A generator sends DKIM-signed mail over SMTP
 * to a daemon in a process of its own, which verifies it against a DNS server that answers in 1 ms, stores it
 * synced, and delivers it to a webhook receiver. Generator, DNS and receiver live in this process and share
 * the machine. A mail counts as lost when it got a 250 and its id never reached the receiver.
 *
 *   deno task load seed|burst|soak|big|slow-receiver [--seconds N] [--mails N] [--connections N]
 *     [--report FILE]: profiles with targets, see profiles.ts; exit code 1 when one is missed
 *   deno task load [peak|steady|ready|stored|all] [--seconds 20] [--connections 20] [--messages 1000000]
 *   deno task load porter|flood [--turns 3] [--seconds 20]: the porter's promises, see porter_load.ts
 *   deno task load restore --gigabytes N [--dir D] [--cold]: backup, disaster and restore of a store of that
 *     size, see restore_load.ts
 *   deno task load --send [--deferred 1000000] [--turns 3] [--seconds 20] [--connections 20]: the way out,
 *     see send_load.ts and send_turns.ts
 */

import { parseArgs } from "@std/cli/parse-args";
import type { DaemonProcess } from "../support/daemon_process.ts";
import { profileOf } from "../../src/cli/bench/profiles.ts";
import { type Bench, RECIPIENT, withBench } from "./bench.ts";
import { fillStore } from "./fill_store.ts";
import { flood, porter } from "./porter_load.ts";
import { runProfile } from "./profiles.ts";
import { restoreLoad } from "./restore_load.ts";
import { LoadConnection, percentile } from "./smtp_load.ts";
import { sendTurns } from "./send_turns.ts";

interface RunResult {
  acknowledged: string[];
  answers: number[];
  refused: number;
  acceptSeconds: number;
  deliverSeconds: number;
  lost: number;
}

const idOf = (text: string) => /\b([0-7][0-9A-HJKMNP-TV-Z]{25})\b/.exec(text)?.[1] ?? "";

/** Sends for `seconds` over kept connections; `perSecond` spreads the load evenly, without it as fast as it goes. */
async function run(
  bench: Bench,
  connections: number,
  seconds: number,
  perSecond?: number,
): Promise<RunResult> {
  const start = performance.now();
  const result: RunResult = {
    acknowledged: [],
    answers: [],
    refused: 0,
    acceptSeconds: 0,
    deliverSeconds: 0,
    lost: 0,
  };
  let next = 0;
  const worker = async () => {
    const connection = await LoadConnection.open(bench.daemon.smtpPort);
    for (;;) {
      const index = next++;
      const dueMs = perSecond ? index / perSecond * 1000 : 0;
      const nowMs = performance.now() - start;
      if (Math.max(dueMs, nowMs) >= seconds * 1000) break;
      if (dueMs > nowMs) await new Promise((resolve) => setTimeout(resolve, dueMs - nowMs));
      const sent = await connection.send(bench.mails[index % bench.mails.length]!, RECIPIENT);
      if (sent.code === 250) {
        result.acknowledged.push(idOf(sent.text));
        result.answers.push(sent.answerMs);
      } else {
        result.refused++;
        if (result.refused === 1) console.error(`First refusal: ${sent.text}`);
      }
    }
    await connection.close();
  };
  await Promise.all(Array.from({ length: connections }, worker));
  result.acceptSeconds = (performance.now() - start) / 1000;
  const missing = new Set(result.acknowledged);
  const giveUp = performance.now() + 30_000;
  while (missing.size > 0 && performance.now() < giveUp) {
    for (const id of missing) if (bench.received.has(id)) missing.delete(id);
    if (missing.size > 0) await new Promise((resolve) => setTimeout(resolve, 10));
  }
  result.deliverSeconds = (performance.now() - start) / 1000;
  result.lost = missing.size;
  return result;
}

function report(name: string, result: RunResult, daemon: DaemonProcess): void {
  const n = result.acknowledged.length;
  console.log(
    `${name}: ${n} mails, accepted ${(n / result.acceptSeconds).toFixed(0)}/s, ` +
      `delivered ${((n - result.lost) / result.deliverSeconds).toFixed(0)}/s, final dot to 250 ` +
      [50, 95, 99].map((p) => `p${p} ${percentile(result.answers, p).toFixed(1)} ms`).join(", ") +
      `, peak RSS ${
        (daemon.peakRssBytes() / 1048576).toFixed(0)
      } MB, refused ${result.refused}, lost ${result.lost}`,
  );
}

const args = parseArgs(Deno.args, {
  boolean: ["send", "cold"],
  string: ["seconds", "connections", "mails", "messages", "deferred", "turns", "report", "gigabytes", "dir"],
});
const profile = String(args._[0] ?? "all");
const seconds = Number(args.seconds ?? 20);
const connections = Number(args.connections ?? 20);
const wanted = (name: string) => !args.send && (profile === name || profile === "all");
let lostAny = false;
const MODES = ["all", "peak", "steady", "ready", "stored", "porter", "flood", "restore"];
if (!args.send && !MODES.includes(profile) && !profileOf(profile)) {
  console.error(`There is no load ${profile}: see the top of tests/load/main.ts`);
  Deno.exit(2);
}
for (const name of ["seconds", "mails", "connections"]) {
  const value = Number(args[name] ?? 1);
  if (value > 0 && Number.isFinite(value) && (name === "seconds" || Number.isInteger(value))) continue;
  console.error(`--${name} is a ${name === "seconds" ? "" : "whole "}number above 0`);
  Deno.exit(2);
}

if (args.send) {
  const [turns, deferred] = [Number(args.turns ?? 3), Number(args.deferred ?? 0)];
  lostAny = await sendTurns({ connections, seconds, turns, deferred });
}

// Not part of "all": they take minutes, and end in verdicts.
if (profile === "porter" || profile === "flood") {
  const options = { seconds, turns: Number(args.turns ?? 3) };
  lostAny = !await (profile === "porter" ? porter : flood)(options);
}
if (profile === "restore") {
  const gigabytes = Number(args.gigabytes ?? 1);
  if (!(gigabytes > 0)) {
    console.error("--gigabytes is a number above 0, such as 0.1");
    Deno.exit(2);
  }
  const dir = args.dir === undefined ? undefined : String(args.dir);
  lostAny = !await restoreLoad({ gigabytes, dir, cold: args.cold === true });
}
// Held to targets: see profiles.ts. Of "all" only the one that takes seconds.
const judged = args.send ? undefined : profileOf(profile === "all" ? "big" : profile);
if (judged) {
  const text = (name: string) => args[name] === undefined ? undefined : String(args[name]);
  const number = (name: string) => args[name] === undefined ? undefined : Number(args[name]);
  const options = {
    seconds: number("seconds"),
    mails: number("mails"),
    connections: number("connections"),
    report: text("report"),
  };
  lostAny = !await runProfile(judged, options) || lostAny;
}
if (wanted("ready")) {
  for (let i = 0; i < 3; i++) {
    await withBench(async ({ daemon }) =>
      console.log(`ready: ${daemon.readyMs.toFixed(0)} ms from spawn to ready`)
    );
  }
}
if (wanted("peak")) {
  await withBench(async (bench) => {
    await run(bench, connections, 3);
    const result = await run(bench, connections, seconds);
    report("peak", result, bench.daemon);
    lostAny ||= result.lost > 0;
  });
}
if (wanted("steady")) {
  await withBench(async (bench) => {
    await run(bench, connections, 2, 1000 / 60);
    const result = await run(bench, connections, Math.max(30, seconds), 1000 / 60);
    report("steady, 1000 mails/min", result, bench.daemon);
    lostAny ||= result.lost > 0;
  });
}
if (wanted("stored")) {
  const count = Number(args.messages ?? 1_000_000);
  const measure = async (bench: Bench) => {
    await run(bench, connections, 3);
    return await run(bench, connections, seconds);
  };
  const reportStored = async (name: string, bench: Bench) => {
    const result = await measure(bench);
    report(name, result, bench.daemon);
    lostAny ||= result.lost > 0;
  };
  for (let round = 0; round < 2; round++) {
    await withBench(async (bench) => reportStored("stored: empty store", bench));
    await withBench(
      (bench) => reportStored(`stored: ${count} messages before`, bench),
      { prepare: (dir) => fillStore(`${dir}/data`, count) },
    );
  }
}
Deno.exit(lostAny ? 1 : 0);
