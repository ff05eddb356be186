/**
 * The way out measured in turns, with and without a long queue behind it: the machine is not the same every minute,
 * so that the two are measured beside each other, in changing order, and by the median of their turns.
 */

import { fillQueue } from "./fill_queue.ts";
import { cpuMsPerMail, describeSend, sendLoad, type SendResult } from "./send_load.ts";

export interface TurnOptions {
  connections: number;
  seconds: number;
  turns: number;
  /** Deferred jobs in the second queue; 0 is no second queue. */
  deferred: number;
}

/** What the product promises (on two cores, with the generator). */
const PER_SECOND_MIN = 300;
const QUEUE_COST_MAX = 0.1;
const READY_MS_MAX = 2_000;
/** Of the machine: when others had more, speed is theirs as much as ours, and only CPU time for each mail counts. */
const OTHERS_MAX = 0.1;

interface Side {
  name: string;
  dir: string;
  results: SendResult[];
}

function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
}

const of = ({ results }: Side, value: (result: SendResult) => number) => median(results.map(value));

function verdict(isMet: boolean, ...sides: Side[]): string {
  const others = Math.max(...sides.map((side) => of(side, ({ cpu }) => cpu.others)));
  if (isMet || others <= OTHERS_MAX) return isMet ? "met" : "missed";
  return `not judged, others had ${(others * 100).toFixed(0)} % of the machine`;
}

/** Resolves with whether any mail was lost. */
export async function sendTurns({ connections, seconds, turns, deferred }: TurnOptions): Promise<boolean> {
  const sides: Side[] = [];
  const open = async (name: string) => {
    const dir = await Deno.makeTempDir({ prefix: "gomail-load-" });
    sides.push({ name, dir, results: [] });
    return dir;
  };
  try {
    await open("send");
    if (deferred > 0) {
      await fillQueue(`${await open(`send, ${deferred} deferred jobs in the queue`)}/data`, deferred);
    }
    for (let turn = 0; turn < turns; turn++) {
      for (const side of turn % 2 === 0 ? sides : sides.toReversed()) {
        const result = await sendLoad({ dir: side.dir, connections, seconds });
        side.results.push(result);
        console.log(`${side.name}, turn ${turn + 1}: ${describeSend(result)}`);
      }
    }
    for (const side of sides) summarize(side);
    if (sides.length > 1) compare(sides[0]!, sides[1]!);
    return sides.some(({ results }) => results.some(({ lost }) => lost > 0));
  } finally {
    for (const { dir } of sides) await Deno.remove(dir, { recursive: true });
  }
}

function summarize(side: Side): void {
  const perSecond = of(side, (result) => Math.min(result.acceptedPerSecond, result.deliveredPerSecond));
  const cpuMs = of(side, (result) => cpuMsPerMail(result));
  const readyMs = of(side, (result) => result.readyMs);
  console.log(
    `${side.name}, median of ${side.results.length}: accepted and delivered ${perSecond.toFixed(0)}/s ` +
      `(target ${PER_SECOND_MIN}: ${verdict(perSecond >= PER_SECOND_MIN, side)}), CPU ${
        cpuMs.toFixed(2)
      } ms for each mail ` +
      `in all, which is ${(2000 / cpuMs).toFixed(0)}/s on two cores of its own; ready in ${
        readyMs.toFixed(0)
      } ms ` +
      `(target ${READY_MS_MAX}: ${verdict(readyMs < READY_MS_MAX, side)})`,
  );
}

function compare(alone: Side, crowded: Side): void {
  const cost = (value: (result: SendResult) => number) => of(crowded, value) / of(alone, value) - 1;
  const slower = -cost((result) => result.deliveredPerSecond);
  const dearer = cost((result) => cpuMsPerMail(result, "daemon"));
  const percent = (share: number) => `${(share * 100).toFixed(1)} %`;
  console.log(
    `The queue costs ${percent(slower)} of the mails delivered each second ` +
      `(target under ${percent(QUEUE_COST_MAX)}: ${verdict(slower < QUEUE_COST_MAX, alone, crowded)}), ` +
      `and ${percent(dearer)} more of the daemon's CPU time for each`,
  );
}
