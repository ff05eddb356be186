/**
 * What a restore changes in the database that it has proved: the place from where the numbers of events go on, and what
 * triggers keep so that nobody has to count. That is made anew from the rows it tells of, so that it is right whoever
 * wrote it: a wrong sum of sizes would let retention remove mail, a lane that is not listed is never looked at.
 */

import { DatabaseSync } from "node:sqlite";

const RECOUNT = `
DELETE FROM stored;
INSERT INTO stored SELECT 1, coalesce(sum(size_bytes), 0) FROM messages;
DELETE FROM job_counts;
INSERT INTO job_counts SELECT carrier, state, count(*) FROM jobs GROUP BY carrier, state;
`;
/** As version 2 of the schema fills it; an older one has none. */
const RELANE = `
DELETE FROM lanes;
INSERT INTO lanes SELECT carrier, lane, min(due_at) FROM jobs INDEXED BY jobs_due WHERE state = 'pending'
  GROUP BY carrier, lane;
`;

const EVENTS_MAX = 1_000_000_000;

/**
 * Lets the numbers of events go on from the time, in milliseconds: readers of events keep one as their place, and one
 * that was given out after the backup would hide from its reader whatever got a number below it. Where the clock is
 * behind, or was ahead at an earlier restore, they go on from more than anybody has events after a backup.
 */
function leapAhead(db: DatabaseSync, now: number): void {
  const leap = db.prepare(
    `UPDATE sqlite_sequence SET seq = max(CAST(seq AS INTEGER) + ${EVENTS_MAX}, ?) WHERE name = 'events'`,
  );
  const first = db.prepare("INSERT INTO sqlite_sequence (name, seq) VALUES ('events', ?)");
  // The column has no type, and would keep a JavaScript number as a REAL.
  const seq = BigInt(Math.trunc(now));
  if (leap.run(seq).changes === 0) first.run(seq);
}

/** `now`: wall clock, milliseconds. */
export function mendDatabase(path: string, now: number): void {
  const db = new DatabaseSync(path);
  try {
    db.exec("PRAGMA trusted_schema = OFF; PRAGMA synchronous = FULL; BEGIN IMMEDIATE");
    leapAhead(db, now);
    db.exec(RECOUNT);
    if (db.prepare("SELECT 1 FROM sqlite_schema WHERE name = 'lanes'").get()) db.exec(RELANE);
    db.exec("COMMIT");
  } finally {
    db.close();
  }
}
