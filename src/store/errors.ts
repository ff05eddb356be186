/**
 * What went wrong, in the store's own words. SQLite's and the file system's errors become StoreErrors that tell
 * "no space" (452) from the rest (451), and, inside the store, which failures are one operation's own fault and
 * which are the machine's. node:sqlite gives an errcode (sqlite.org/rescode.html), but none for a lock.
 */

import { StoreError } from "../base/errors.ts";
import { outsideAccess } from "../base/places.ts";

/**
 * full: no space. busy: another process holds the database. broken: the file or the disk; the connection can't
 * be trusted any more. operation: this one operation's fault (a constraint, a wrong value).
 */
export type FailureKind = "full" | "busy" | "broken" | "operation";

const KIND_BY_CODE: Record<number, FailureKind> = {
  5: "busy",
  6: "busy",
  7: "broken",
  8: "broken",
  10: "broken",
  11: "broken",
  13: "full",
  14: "broken",
  26: "broken",
};

/** Sorts what SQLite threw. The low byte of an extended result code is the primary one. */
export function kindOf(error: unknown): FailureKind {
  if (error instanceof StoreError) return error.full ? "full" : "broken";
  if (!(error instanceof Error)) return "operation";
  const code = "errcode" in error && typeof error.errcode === "number" ? error.errcode & 0xff : 0;
  const kind = KIND_BY_CODE[code];
  if (kind) return kind;
  if (/database (table )?is locked/.test(error.message)) return "busy";
  if (/disk is full/.test(error.message)) return "full";
  if (/disk I\/O error|readonly|unable to open|malformed|not open/.test(error.message)) return "broken";
  return "operation";
}

/**
 * A database error as a StoreError. `freeBytes` decides where SQLite can't: when the shared-memory file can't
 * grow on a full disk it reports an I/O error.
 */
export function databaseError(what: string, error: unknown, freeBytes: () => number): StoreError {
  if (error instanceof StoreError) return error;
  const kind = kindOf(error);
  const full = kind === "full" || (kind === "broken" && freeBytes() < NO_SPACE_BYTES);
  const detail = error instanceof Error ? error.message : String(error);
  return new StoreError(`Cannot ${what}: ${detail}`, full, { cause: error });
}

const NO_SPACE_BYTES = 64 * 1024;

const ENOSPC = 28;
const EDQUOT = 122;

/** A file system error as a StoreError. The path is left out: the text may reach a client. */
export function diskError(what: string, error: unknown): StoreError {
  if (error instanceof StoreError) return error;
  const code = error instanceof Error && "code" in error ? String(error.code) : "";
  const text = error instanceof Error ? error.message : String(error);
  const osError = Number(/\(os error (\d+)\)/.exec(text)?.[1] ?? 0);
  const full = code === "ENOSPC" || code === "EDQUOT" || osError === ENOSPC || osError === EDQUOT;
  const known = full ? "no space left" : code || (osError ? `os error ${osError}` : "disk error");
  const reason = outsideAccess(error) ? "it is outside the places that this executable may write to" : known;
  return new StoreError(`Cannot ${what}: ${reason}`, full, { cause: error });
}
