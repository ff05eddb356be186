/**
 * When a full backup is due, and which backups may go. `7d,4w,6m` keeps the newest of each of the last seven days, four
 * weeks and six months that have one (UTC; weeks begin on Monday). Kept besides: the newest and the one just made,
 * whatever the rule says, and every file that a kept increment stands on. Only files that we named and whose manifest
 * lies beside them are ever looked at, so that what somebody else put into the folder, or a backup that can't be
 * judged, stays.
 */

import { join } from "node:path";
import { syncDir } from "../disk.ts";
import { BESIDE, listBackups } from "./folder.ts";
import { idInFileName } from "./names.ts";
import type { Summary } from "./manifest.ts";
import { isOf } from "./store_id.ts";

export interface Keep {
  days: number;
  weeks: number;
  months: number;
}

const DAY_MS = 86_400_000;
/** 1970-01-01 was a Thursday. */
const DAYS_TO_MONDAY = 3;

/** Null when the text is none. */
export function parseKeep(text: string): Keep | null {
  const keep: Keep = { days: 0, weeks: 0, months: 0 };
  const seen = new Set<string>();
  for (const part of text.split(",")) {
    const [, count, unit] = /^([1-9]\d{0,3})([dwm])$/.exec(part.trim()) ?? [];
    if (count === undefined || unit === undefined || seen.has(unit)) return null;
    seen.add(unit);
    keep[unit === "d" ? "days" : unit === "w" ? "weeks" : "months"] = Number(count);
  }
  return keep;
}

const dayOf = (at: number) => Math.floor(at / DAY_MS);

/** `7d`, `2w`: days. Null when the text is none. */
export function parseDays(text: string): number | null {
  const [, count, unit] = /^([1-9]\d{0,3})([dw])$/.exec(text) ?? [];
  return count === undefined ? null : Number(count) * (unit === "w" ? 7 : 1);
}

/**
 * Whether a time is less than so many dates ago (UTC). Dates and not hours: what runs once a day is now a minute early
 * and now a minute late, and a full backup would be a day late each time. Not known is not.
 */
export function isWithinDays(at: number, days: number, now: number): boolean {
  return dayOf(now) - dayOf(at) < days;
}

const PERIODS: readonly [keyof Keep, (at: number) => string | number][] = [
  ["days", dayOf],
  ["weeks", (at) => Math.floor((dayOf(at) + DAYS_TO_MONDAY) / 7)],
  ["months", (at) => new Date(at).toISOString().slice(0, 7)],
];

export interface Candidate {
  file: string;
  bytes: number;
  summary: Pick<Summary, "id" | "chain" | "created_at">;
}

/** The files that may go. By a clock that has been wrong, the one just made need not be the newest. */
export function expendable(candidates: readonly Candidate[], keep: Keep, madeId?: string): Candidate[] {
  // Of one moment, the one just made is the newer.
  const time = ({ summary: { created_at, id } }: Candidate) => created_at + (id === madeId ? "~" : "");
  const newestFirst = [...candidates].sort((a, b) => time(a) < time(b) ? 1 : -1);
  const kept = new Set(newestFirst.slice(0, 1).map(({ summary }) => summary.id));
  if (madeId !== undefined) kept.add(madeId);
  for (const [period, periodOf] of PERIODS) {
    const seen = new Set<string | number>();
    for (const { summary } of newestFirst) {
      const its = periodOf(Date.parse(summary.created_at));
      if (seen.has(its)) continue;
      if (seen.size >= keep[period]) break;
      seen.add(its);
      kept.add(summary.id);
    }
  }
  const needed = new Set(
    newestFirst.filter(({ summary }) => kept.has(summary.id)).flatMap(({ summary }) => summary.chain),
  );
  return newestFirst.filter(({ summary }) => !needed.has(summary.id));
}

/** Of a folder, what of this store may go. */
export async function expendableIn(
  dir: string,
  { keep, store, madeId }: { keep: Keep; store: string | null; madeId?: string | undefined },
): Promise<Candidate[]> {
  const candidates: Candidate[] = [];
  for (const { file, bytes, summary } of await listBackups(dir)) {
    if (summary === null || !isOf(summary, store)) continue;
    if (idInFileName(file) === summary.id) candidates.push({ file, bytes, summary });
  }
  return expendable(candidates, keep, madeId);
}

/** Removes them, increments before what they stand on, so that a crash leaves no increment without its base. */
export async function removeBackups(dir: string, files: readonly Candidate[]): Promise<void> {
  for (const { file } of [...files].sort((a, b) => b.summary.chain.length - a.summary.chain.length)) {
    await Deno.remove(join(dir, file));
    await Deno.remove(join(dir, file + BESIDE));
  }
  if (files.length > 0) await syncDir(dir);
}
