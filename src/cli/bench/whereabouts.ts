/**
 * When mails reach the receiver, seen from outside: the queue over the control socket says of each webhook job when
 * it was delivered. The first mail's job tells how the others' are called (an id is the message's and the route's),
 * so that a hundred are asked for at once and a live host is asked little. Its wall clock is ours: the socket is on
 * this host.
 */

import type { Clock } from "../../base/clock.ts";
import { every, type Timer } from "../../base/clock.ts";
import { isId } from "../../base/id.ts";
import { CommandError } from "../command.ts";
import type { ControlClient } from "../control_client.ts";
import { segment } from "../control_client.ts";
import type { Measurement, Whereabouts } from "./measurement.ts";

/** Looks up mails; those it does not know are missing in the answer. */
export interface WhereaboutsSource {
  /** Why nothing can be known, once that is clear; null before. */
  readonly problem: string | null;
  look(ids: readonly string[]): Promise<ReadonlyMap<string, Whereabouts>>;
}

/** Of a query's line of text; the API takes no more in one. */
const IDS_MAX = 100;
/** In one look: the oldest first, the others' turn comes. */
const LOOK_MAX = 1000;
const LOOK_MS = 500;
const SETTLED = new Set(["dead", "dropped"]);

interface Job {
  id: string;
  event: string;
  carrier: string;
  state: string;
  last_attempt_at: string | null;
}

const itemsOf = (answer: unknown, field: string): Job[] => {
  const list = (answer as Record<string, unknown> | null)?.[field];
  return Array.isArray(list) ? list as Job[] : [];
};

/** Runs `use` with a client of the daemon. */
export type Ask = <T>(use: (client: ControlClient) => Promise<T>) => Promise<T>;

export class QueueWhereabouts implements WhereaboutsSource {
  readonly #ask: Ask;
  readonly #clock: Clock;
  /** What comes after the message's id in its job's. */
  #suffix: string | null = null;
  problem: string | null = null;

  constructor(ask: Ask, clock: Clock) {
    this.#ask = ask;
    this.#clock = clock;
  }

  async look(ids: readonly string[]): Promise<ReadonlyMap<string, Whereabouts>> {
    const found = new Map<string, Whereabouts>();
    if (this.problem !== null || ids.length === 0) return found;
    try {
      await this.#ask(async (client) => {
        this.#suffix ??= await this.#learn(client, ids[0]!);
        for (let at = 0; at < ids.length && this.#suffix !== null; at += IDS_MAX) {
          await this.#lookUp(client, ids.slice(at, at + IDS_MAX), found);
        }
      });
    } catch (error) {
      if (!(error instanceof CommandError)) throw error;
      // Before the first answer: nobody to ask. Later: a daemon that restarts, say; the next look may find it.
      if (this.#suffix === null) this.problem = error.message;
    }
    return found;
  }

  async #learn(client: ControlClient, id: string): Promise<string | null> {
    const message = await client.request("GET", `/v1/messages/${segment(id)}`, { alsoTakes: [404] });
    if ((message as { id?: unknown } | null)?.id !== id) {
      this.problem =
        "the daemon at the control socket is not the one at the target: it does not know the mails";
      return null;
    }
    const job = itemsOf(message, "jobs").find((one) => one.carrier === "webhook");
    if (!job) this.problem = "no webhook is owed for mail to this address";
    return job?.id.split(id)[1] ?? null;
  }

  async #lookUp(
    client: ControlClient,
    ids: readonly string[],
    found: Map<string, Whereabouts>,
  ): Promise<void> {
    const query = { ids: ids.map((id) => `evt_${id}${this.#suffix}`).join(","), limit: IDS_MAX };
    const jobs = itemsOf(await client.request("GET", "/v1/queue", { query }), "items");
    const wallToMonotonic = this.#clock.monotonic() - this.#clock.now();
    for (const job of jobs) {
      const id = job.id.split("_")[1] ?? "";
      if (!isId(id)) continue;
      if (job.state === "delivered" && job.last_attempt_at !== null) {
        found.set(id, { kind: "arrived", atMs: Date.parse(job.last_attempt_at) + wallToMonotonic });
      } else found.set(id, { kind: SETTLED.has(job.state) ? "dead" : "owed" });
    }
  }
}

/** What is left when nobody waits any longer. */
export interface Remaining {
  /** Stored and in the queue. */
  owed: number;
  /** Acknowledged, and nobody knows them. */
  lost: number;
}

/** Follows the mails of a measurement from its beginning. */
export class Follower {
  readonly #source: WhereaboutsSource;
  readonly #measurement: Measurement;
  readonly #clock: Clock;
  readonly #timer: Timer;
  #look: Promise<unknown> = Promise.resolve();

  constructor(source: WhereaboutsSource, measurement: Measurement, clock: Clock, lookMs = LOOK_MS) {
    this.#source = source;
    this.#measurement = measurement;
    this.#clock = clock;
    this.#timer = every(clock, lookMs, async () => {
      this.#look = this.#once();
      await this.#look;
    });
  }

  async #once(): Promise<ReadonlyMap<string, Whereabouts>> {
    const { outstanding } = this.#measurement;
    const ids = [...outstanding.keys()].slice(0, LOOK_MAX);
    const found = await this.#source.look(ids);
    for (const [id, where] of found) this.#measurement.heard(id, where);
    // Owed ones go to the end, or a thousand that wait would hide those behind them.
    for (const [id, where] of found) {
      const dueAtMs = outstanding.get(id);
      if (where.kind !== "owed" || dueAtMs === undefined) continue;
      outstanding.delete(id);
      outstanding.set(id, dueAtMs);
    }
    return found;
  }

  /** Waits until all have arrived, for at most so long, and says what has not. */
  async finish(waitMs: number, signal: AbortSignal): Promise<Remaining> {
    const giveUpAt = this.#clock.monotonic() + waitMs;
    this.#timer.cancel();
    await this.#look;
    const { outstanding } = this.#measurement;
    while (outstanding.size > 0 && this.#source.problem === null) {
      await this.#once();
      if (this.#clock.monotonic() >= giveUpAt || signal.aborted) break;
      await new Promise((resolve) => this.#clock.timer(50, () => resolve(null)));
    }
    const owed = new Set<string>();
    const ids = [...outstanding.keys()];
    for (let at = 0; at < ids.length; at += LOOK_MAX) {
      const found = await this.#source.look(ids.slice(at, at + LOOK_MAX));
      for (const [id, where] of found) {
        this.#measurement.heard(id, where);
        if (where.kind === "owed") owed.add(id);
      }
    }
    return { owed: owed.size, lost: outstanding.size - owed.size };
  }
}
