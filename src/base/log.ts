/**
 * Structured logs: one event, one line. Values are JSON-escaped, so a stranger's CR, LF, or terminal escape
 * stays inside its string (BAD-INPUT 60); C1 controls and the Unicode line separators, which JSON leaves
 * alone, are escaped as well. Fields whose names speak of secrets are masked, whatever the caller passed.
 *
 * Lines are collected and written at the end of the event-loop turn: a line of its own write(2) each cost a
 * fifth of the daemon's time under load.
 */

import type { Clock } from "./clock.ts";
import { StoreError } from "./errors.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Record<string, unknown>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. */
  with(fields: LogFields): Logger;
}

export interface RootLogger extends Logger {
  /** Writes what is still buffered. Call before exit. */
  flush(): void;
  /** Changes the level of this logger and of all made from it. */
  setLevel(level: LogLevel): void;
}

export interface LogOptions {
  level: LogLevel;
  format: "json" | "text";
  clock: Clock;
  /** Receives whole lines, newline included. The daemon writes to stderr. */
  write: (text: string) => void;
}

const RANK: Record<LogLevel, number> = { debug: 10, info: 20, warn: 30, error: 40 };
const SECRET_NAME = /(^|_)(token|secret|password|passphrase|authorization|private_key|cookie)($|_(?!id))/i;
/** A value is cut here, so that a stranger can't fill the disk with one line. */
const VALUE_CHARS_MAX = 1024;

function safeValue(key: string, value: unknown): unknown {
  if (value === undefined) return undefined;
  if (key !== "" && SECRET_NAME.test(key)) return "[masked]";
  if (typeof value === "string") {
    return value.length > VALUE_CHARS_MAX ? value.slice(0, VALUE_CHARS_MAX) + "..." : value;
  }
  // The store's failures are the disk's: a stack says nothing about them, and to show one Deno 2.9 reads source
  // files, which ends in a panic where descriptors have run out.
  if (value instanceof StoreError) return safeValue(key, `${value.name}: ${value.message}`);
  if (value instanceof Error) return safeValue(key, value.stack ?? String(value));
  if (typeof value === "bigint") return String(value);
  return value;
}

/** JSON with every control character and line separator escaped, C1 (U+0080 to U+009F) included. */
export function safeJson(fields: LogFields): string {
  return JSON.stringify(fields, safeValue).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"),
  );
}

function textLine(time: string, level: LogLevel, message: string, fields: LogFields): string {
  const rest = Object.entries(fields).filter(([, v]) => v !== undefined)
    .map(([k, v]) => `${k}=${safeJson({ [k]: v }).slice(k.length + 4, -1)}`).join(" ");
  return `${time.slice(11, 19)} ${level.toUpperCase().padEnd(5)} ${message}${rest && "  " + rest}\n`;
}

/** The root logger. Level, format and destination are fixed for all loggers made from it by `with`. */
export function createLogger(options: LogOptions): RootLogger {
  const state = { rank: RANK[options.level], buffer: "", scheduled: false };
  const flush = () => {
    state.scheduled = false;
    const text = state.buffer;
    state.buffer = "";
    if (text) options.write(text);
  };
  const emit = (level: LogLevel, message: string, fields: LogFields) => {
    if (RANK[level] < state.rank) return;
    const time = new Date(options.clock.now()).toISOString();
    state.buffer += options.format === "json"
      ? safeJson({ time, level, msg: message, ...fields }) + "\n"
      : textLine(time, level, message, fields);
    if (!state.scheduled) {
      state.scheduled = true;
      setImmediate(flush);
    }
  };
  const make = (bound: LogFields): Logger => ({
    debug: (message, fields) => emit("debug", message, { ...bound, ...fields }),
    info: (message, fields) => emit("info", message, { ...bound, ...fields }),
    warn: (message, fields) => emit("warn", message, { ...bound, ...fields }),
    error: (message, fields) => emit("error", message, { ...bound, ...fields }),
    with: (fields) => make({ ...bound, ...fields }),
  });
  return {
    ...make({}),
    flush,
    setLevel(level) {
      state.rank = RANK[level];
    },
  };
}

/** Swallows everything; for code that needs a Logger and tests that don't look. */
export const silentLogger: RootLogger = createLogger({
  level: "error",
  format: "json",
  clock: { now: () => 0, monotonic: () => 0, timer: () => ({ cancel() {} }) },
  write: () => {},
});
