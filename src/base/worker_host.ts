/** The worker's side of the pool (worker_pool.ts): takes tasks, answers pings, hands results back. */

import { messageOf } from "./errors.ts";
import type { FromWorker, TaskHandlers, ToWorker } from "./worker_seat.ts";

interface WorkerScope {
  onmessage: ((event: MessageEvent<ToWorker>) => void) | null;
  postMessage(message: FromWorker, transfer: Transferable[]): void;
  addEventListener(type: "error" | "unhandledrejection", listener: (event: Event) => void): void;
}

/** What can be given away instead of copied: bytes that fill their buffer. */
function transferable(output: unknown): Transferable[] {
  const whole = output instanceof Uint8Array && output.byteLength === output.buffer.byteLength;
  return whole && output.buffer instanceof ArrayBuffer && output.byteLength > 0 ? [output.buffer] : [];
}

function described(error: unknown) {
  const code = (error as { code?: unknown } | null)?.code;
  return {
    name: error instanceof Error ? error.name : "Error",
    message: messageOf(error),
    code: typeof code === "string" ? code : undefined,
  };
}

/**
 * Serves the tasks for the rest of the worker's life. `make` gets the pool's init. When that throws, or
 * anything does outside a task, the pool is told and ends the worker; left alone, the runtime would print the
 * error, a stranger's bytes in it and all, past our log.
 */
export function serveWorker(make: (init: unknown) => TaskHandlers | Promise<TaskHandlers>): void {
  const scope = globalThis as unknown as WorkerScope;
  let handlers: TaskHandlers | null = null;
  const send = (message: FromWorker, transfer: Transferable[] = []) => scope.postMessage(message, transfer);
  const run = async (id: number, task: string, input: unknown) => {
    try {
      const handler = handlers?.[task];
      if (!handler) throw new Error(`Cannot run task: unknown name "${task}"`);
      const output = await handler(input);
      send({ kind: "done", id, output }, transferable(output));
    } catch (error) {
      send({ kind: "failed", id, error: described(error) });
    }
  };
  const crashed = (error: unknown) => send({ kind: "crashed", error: described(error) });
  scope.addEventListener("error", (event) => {
    event.preventDefault();
    crashed((event as ErrorEvent).error);
  });
  scope.addEventListener("unhandledrejection", (event) => {
    event.preventDefault();
    crashed((event as PromiseRejectionEvent).reason);
  });
  scope.onmessage = async ({ data }) => {
    if (data.kind === "ping") return send({ kind: "pong" });
    if (data.kind === "run") return await run(data.id, data.task, data.input);
    try {
      handlers = await make(data.init);
      send({ kind: "ready" });
    } catch (error) {
      crashed(error);
    }
  };
}
