/**
 * Reading a request's body: bounded in bytes and in time, with backpressure, in turns with all other bodies, and
 * never more than the sink asks for. It listens to node's stream itself, because an async iterator destroys the socket when it is left early,
 * and then there is nobody to send the 408 or 413 to.
 */

import type { IncomingMessage } from "node:http";
import type { ZodType } from "zod";
import type { Clock } from "../../base/clock.ts";
import { isFinding, JsonText } from "./json.ts";
import { findingsOf, invalid, problem } from "./problem.ts";
import type { ApiContext, HttpDeps, Problem } from "./types.ts";

/** JSON that carries no mail is small. */
const COMMAND_BYTES_MAX = 2 ** 20;

export interface BodyLimits {
  bytesMax: number;
  timeoutMs: number;
  clock: Clock;
  signal: AbortSignal;
}

/** What a sink says to a chunk: go on, or stop with this problem. */
export type Sink = (chunk: Uint8Array) => Promise<Problem | null> | Problem | null;

const TOO_LARGE = problem("payload_too_large", "Request body is larger than we accept");
const TOO_SLOW = problem("request_timeout", "Request body did not arrive in time");
const CUT_OFF = problem("validation_error", "Request body ended before its announced end");

/** The declared length, or 0 when there is none (chunked). */
export function declaredLength(incoming: IncomingMessage): number {
  const text = incoming.headers["content-length"];
  return text === undefined ? 0 : Number(text);
}

/** Feeds the whole body to `sink`, chunk by chunk. Null when all of it went in. Rejects with what the sink throws. */
export function readBody(c: ApiContext, limits: BodyLimits, sink: Sink): Promise<Problem | null> {
  const { incoming, outgoing, turns } = c.env;
  if (declaredLength(incoming) > limits.bytesMax) return Promise.resolve(TOO_LARGE);
  // Only now does a client that asked hear that we want the body (RFC 9110 10.1.1).
  if (c.env.expectsContinue) outgoing.writeContinue();
  return new Promise((resolve, reject) => {
    let bytes = 0;
    let ended = false;
    let busy = false;
    let resting = false;
    let done = false;
    const goOn = () => {
      resting = false;
      if (!busy && !done) incoming.resume();
    };
    const end = (found: Problem | null) => finish(() => resolve(found));
    const finish = (settle: () => void) => {
      done = true;
      timer.cancel();
      limits.signal.removeEventListener("abort", onAbort);
      incoming.off("data", onData).off("end", onEnd).off("close", onClose).off("error", onClose);
      // A socket that dies later still says so; nobody has to listen.
      incoming.on("error", () => {}).pause();
      settle();
    };
    const onData = (chunk: Uint8Array) => {
      bytes += chunk.length;
      if (bytes > limits.bytesMax) return end(TOO_LARGE);
      if (turns.take(chunk.length, goOn)) {
        resting = true;
        incoming.pause();
      }
      let result: ReturnType<Sink>;
      try {
        result = sink(chunk);
      } catch (error) {
        return finish(() => reject(error));
      }
      // The common case, a sink that takes it at once, costs no promise.
      if (!(result instanceof Promise)) return result ? end(result) : undefined;
      busy = true;
      incoming.pause();
      result.then((found) => {
        busy = false;
        if (found) return end(found);
        if (ended) return end(null);
        if (!resting) incoming.resume();
      }, (error) => finish(() => reject(error)));
    };
    const onEnd = () => {
      ended = true;
      if (!busy) end(null);
    };
    const onClose = () => ended || incoming.complete ? undefined : end(CUT_OFF);
    const onAbort = () => end(TOO_SLOW);
    const timer = limits.clock.timer(limits.timeoutMs, () => end(TOO_SLOW));
    limits.signal.addEventListener("abort", onAbort);
    incoming.on("data", onData).on("end", onEnd).on("close", onClose).on("error", onClose);
    if (incoming.destroyed && !incoming.complete) end(CUT_OFF);
  });
}

/** The limits that hold for this request's body. */
export function limitsOf(c: ApiContext, deps: HttpDeps, bytesMax: number): BodyLimits {
  return { bytesMax, timeoutMs: deps.config().read_timeout, clock: deps.clock, signal: c.get("signal") };
}

/** The media type alone, lower case: `application/json`. */
export function mediaType(c: ApiContext): string {
  return (c.req.header("content-type") ?? "").split(";")[0]!.trim().toLowerCase();
}

/** 415 for what the route does not take, or when the body is compressed. Null when it is fine. */
export function checkMedia(c: ApiContext, accepted: readonly string[]): Problem | null {
  const coding = (c.req.header("content-encoding") ?? "identity").toLowerCase();
  if (coding !== "identity") {
    return problem("unsupported_media_type", "Cannot read the body: send it without Content-Encoding");
  }
  if (accepted.includes(mediaType(c))) return null;
  return problem(
    "unsupported_media_type",
    `Cannot read the body: Content-Type must be ${accepted.join(" or ")}`,
  );
}

/** The body as checked JSON: every problem of it at once, each with its path. */
export async function readJson<T>(
  c: ApiContext,
  deps: HttpDeps,
  schema: ZodType<T>,
  bytesMax = COMMAND_BYTES_MAX,
): Promise<{ value: T } | Problem> {
  const wrongMedia = checkMedia(c, ["application/json"]);
  if (wrongMedia) return wrongMedia;
  const text = new JsonText();
  const found = await readBody(c, limitsOf(c, deps, bytesMax), (chunk) => {
    text.add(chunk);
    return null;
  });
  return found ?? checkJson(text, schema);
}

/** A whole JSON text by a schema. */
export function checkJson<T>(text: JsonText, schema: ZodType<T>): { value: T } | Problem {
  const parsed = text.parse();
  if (isFinding(parsed)) return invalid([{ ...parsed, path: parsed.path || "body" }]);
  const checked = schema.safeParse(parsed.value);
  if (checked.success) return { value: checked.data };
  // A list where an object is due is wrong as a whole, which has no name of its own.
  return invalid(findingsOf(checked.error).map((finding) => ({ ...finding, path: finding.path || "body" })));
}

/** The query string by a schema; a name given twice is a mistake, not a list. */
export function readQuery<T>(c: ApiContext, schema: ZodType<T>): { value: T } | Problem {
  const values: Record<string, string> = Object.create(null);
  for (const [name, value] of new URL(c.req.url).searchParams) {
    if (name in values) return invalid([{ path: name, problem: "is given twice" }]);
    values[name] = value;
  }
  const checked = schema.safeParse({ ...values });
  return checked.success ? { value: checked.data } : invalid(findingsOf(checked.error));
}
