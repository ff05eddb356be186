/** Well-behaved clients of a load run, each from an address of its own: what their mails took, and how many were accepted. */

import type { LoadMail } from "./mails.ts";
import { LoadConnection } from "./smtp_load.ts";

export interface GoodRun {
  port: number;
  mails: LoadMail[];
  recipient: string;
  seconds: number;
}

export interface Taken {
  /** Milliseconds from the first word (or, connecting anew, from the connect) to the 250. */
  acceptedMs: number[];
  refused: string[];
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

/** One client that keeps its connection and sends a mail every 50 to 100 ms. */
export async function keptClient(run: GoodRun, from: string): Promise<Taken> {
  const taken: Taken = { acceptedMs: [], refused: [] };
  const end = performance.now() + run.seconds * 1000;
  const connection = await LoadConnection.open(run.port, from);
  for (let i = 0; performance.now() < end; i++) {
    await sleep(50 + Math.random() * 50);
    const start = performance.now();
    const { code, text } = await connection.send(run.mails[i % run.mails.length]!, run.recipient);
    if (code === 250) taken.acceptedMs.push(performance.now() - start);
    else {
      taken.refused.push(text);
      if (code === 0) break;
    }
  }
  await connection.close();
  return taken;
}

/** Clients that connect anew for each mail, each a little less often than the throttle's 60 times a minute. */
export async function freshClients(run: GoodRun, from: string[]): Promise<Taken> {
  const taken: Taken = { acceptedMs: [], refused: [] };
  const end = performance.now() + run.seconds * 1000;
  await Promise.all(from.map(async (address, nth) => {
    await sleep(nth / from.length * 1100);
    for (let i = nth; performance.now() < end; i += from.length) {
      const start = performance.now();
      const connection = await LoadConnection.open(run.port, address);
      const { code, text } = await connection.send(run.mails[i % run.mails.length]!, run.recipient);
      const tookMs = performance.now() - start;
      await connection.close();
      if (code === 250) taken.acceptedMs.push(tookMs);
      else taken.refused.push(text);
      await sleep(Math.max(0, 1100 - tookMs));
    }
  }));
  return taken;
}

/**
 * Clients that send a fixed number of mails a second together (0: as fast as they go), each over a connection that
 * it gives up and makes anew every two seconds. Gives the mails accepted per second.
 */
export async function steadyClients(run: GoodRun, from: string[], perSecond: number): Promise<number> {
  const start = performance.now();
  const end = start + run.seconds * 1000;
  let accepted = 0;
  let next = 0;
  await Promise.all(from.map(async (address) => {
    while (performance.now() < end) {
      const connection = await LoadConnection.open(run.port, address);
      const until = Math.min(end, performance.now() + 2000);
      let isOpen = true;
      while (isOpen && performance.now() < until) {
        const index = next++;
        const dueMs = perSecond > 0 ? start + index / perSecond * 1000 - performance.now() : 0;
        if (dueMs > 0) await sleep(dueMs);
        const { code } = await connection.send(run.mails[index % run.mails.length]!, run.recipient);
        if (code === 250) accepted++;
        isOpen = code !== 0 && code !== 421;
      }
      await connection.close();
    }
  }));
  return accepted / ((performance.now() - start) / 1000);
}
