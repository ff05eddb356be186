/**
 * The entry of the store's thread: an Engine behind messages. Calls arrive in lists and answers leave in lists,
 * because a message of its own for each would cost more than the work. remote.ts is the other end.
 */

import { messageOf, StoreError } from "../base/errors.ts";
import { systemClock } from "../base/clock.ts";
import type { ConnectionOptions } from "./connection.ts";
import { Engine } from "./engine.ts";
import type { CarrierName } from "./types.ts";
import type { VerbName } from "./verbs.ts";

export type ToWorker =
  | { kind: "open"; options: ConnectionOptions }
  | { kind: "calls"; calls: [id: number, verb: VerbName, args: unknown[]][] }
  | { kind: "close" };

/** An error as it crosses between threads. */
export interface Failure {
  message: string;
  full: boolean;
}

export type FromWorker =
  | { kind: "opened" }
  | { kind: "refused"; failure: Failure }
  | { kind: "answers"; answers: Answer[]; jobs: CarrierName[] }
  | { kind: "closed" };

export type Answer = { id: number; value: unknown } | { id: number; failure: Failure };

/** The part of a worker's global scope that is used; the library types describe a window. */
interface Scope {
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  postMessage(message: FromWorker): void;
}

function failureOf(error: unknown): Failure {
  return { message: messageOf(error), full: error instanceof StoreError && error.full };
}

/** Serves one engine to whoever posts messages to `scope`. */
function serve(scope: Scope): void {
  const state = {
    engine: null as Engine | null,
    answers: [] as Answer[],
    jobs: new Set<CarrierName>(),
    scheduled: false,
  };
  const send = () => {
    state.scheduled = false;
    scope.postMessage({ kind: "answers", answers: state.answers, jobs: [...state.jobs] });
    state.answers = [];
    state.jobs.clear();
  };
  // A microtask runs after all answers of one commit have been given, and before anything else happens.
  const schedule = () => {
    if (state.scheduled) return;
    state.scheduled = true;
    queueMicrotask(send);
  };
  const answer = (reply: Answer) => {
    state.answers.push(reply);
    schedule();
  };
  const call = async (id: number, verb: VerbName, args: unknown[]) => {
    try {
      if (!state.engine) throw new StoreError("Cannot use the store: it is not open", false);
      // The caller's side is typed (Link.call); here only the name is left of it.
      const method = state.engine[verb] as (...args: unknown[]) => Promise<unknown>;
      answer({ id, value: await method.apply(state.engine, args) });
    } catch (error) {
      answer({ id, failure: failureOf(error) });
    }
  };
  scope.onmessage = async ({ data }) => {
    if (data.kind === "calls") {
      for (const [id, verb, args] of data.calls) call(id, verb, args);
    } else if (data.kind === "open") {
      try {
        const onJobs = (carriers: CarrierName[]) => carriers.forEach((carrier) => state.jobs.add(carrier));
        state.engine = new Engine({ ...data.options, clock: systemClock, onJobs });
        scope.postMessage({ kind: "opened" });
      } catch (error) {
        scope.postMessage({ kind: "refused", failure: failureOf(error) });
      }
    } else {
      await state.engine?.close();
      scope.postMessage({ kind: "closed" });
    }
  };
}

// Others import this file for its types alone, so it only ever runs as a worker.
serve(self as unknown as Scope);
