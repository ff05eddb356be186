/**
 * Schema version 2: mail that we send. Nothing here reads or rewrites what version 1 holds, however much that is.
 * That is why there are small tables where one would expect columns: to a STRICT table SQLite adds no column
 * without checking each of its rows first (measured: 5 s for a million messages on a cold disk). Only the table
 * lanes is filled, from an index that holds what is pending and nothing else.
 *
 * told.event_seq is no foreign key: deleting an event would have to look for jobs that tell of it, and both go
 * with their message anyway. lanes holds the earliest due time of each lane that has pending jobs, kept by
 * triggers, so that a few due lanes are found among ten thousand deferred ones without visiting those.
 */

/** Brings one lane's row up to date with its jobs. `row` is the trigger's name for the changed job. */
function refreshLane(row: "old" | "new"): string {
  return `
  INSERT INTO lanes SELECT ${row}.carrier, ${row}.lane, due_at FROM (SELECT min(due_at) AS due_at FROM jobs
      WHERE carrier = ${row}.carrier AND state = 'pending' AND lane = ${row}.lane) WHERE due_at IS NOT NULL
    ON CONFLICT (carrier, lane) DO UPDATE SET due_at = excluded.due_at WHERE due_at <> excluded.due_at;
  DELETE FROM lanes WHERE carrier = ${row}.carrier AND lane = ${row}.lane AND NOT EXISTS (SELECT 1 FROM jobs
      WHERE carrier = ${row}.carrier AND state = 'pending' AND lane = ${row}.lane);`;
}

export const v002Outbound = `
CREATE TABLE outbound (seq INTEGER PRIMARY KEY REFERENCES messages(seq) ON DELETE CASCADE) STRICT;

CREATE TABLE event_details ( -- of every event but mail.received
  seq INTEGER PRIMARY KEY REFERENCES events(seq) ON DELETE CASCADE,
  details TEXT NOT NULL -- JSON
) STRICT;

CREATE TABLE told ( -- the event that a webhook tells of, unless it is mail.received
  job_seq INTEGER PRIMARY KEY REFERENCES jobs(seq) ON DELETE CASCADE,
  event_seq INTEGER NOT NULL
) STRICT;

CREATE TABLE attempts (
  seq INTEGER PRIMARY KEY,
  job_seq INTEGER NOT NULL REFERENCES jobs(seq) ON DELETE CASCADE,
  number INTEGER NOT NULL,
  at INTEGER NOT NULL,
  took_ms INTEGER NOT NULL,
  outcome TEXT NOT NULL,
  code INTEGER,
  remote TEXT,
  transcript TEXT NOT NULL
) STRICT;
CREATE INDEX attempts_job ON attempts(job_seq);

CREATE TABLE idempotency (
  seq INTEGER PRIMARY KEY,
  key TEXT NOT NULL UNIQUE,
  body_hash TEXT NOT NULL,
  answer TEXT NOT NULL, -- JSON
  expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX idempotency_expires ON idempotency(expires_at);

CREATE TABLE suppressions (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, -- the list's order and its readers' place
  address TEXT NOT NULL UNIQUE,
  reason TEXT NOT NULL,
  message_id TEXT, -- kept when the message is gone
  detail TEXT,
  created_at INTEGER NOT NULL
) STRICT;

CREATE TABLE dkim_keys (
  domain TEXT NOT NULL,
  selector TEXT NOT NULL,
  algorithm TEXT NOT NULL,
  state TEXT NOT NULL,
  public_key TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  activated_at INTEGER,
  stopped_at INTEGER,
  PRIMARY KEY (domain, selector)
) STRICT, WITHOUT ROWID;

CREATE TABLE sts_policies (
  domain TEXT PRIMARY KEY,
  policy_id TEXT NOT NULL,
  mode TEXT NOT NULL,
  mx TEXT NOT NULL, -- JSON list
  fetched_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX sts_policies_expires ON sts_policies(expires_at);

CREATE TABLE lanes (
  carrier TEXT NOT NULL,
  lane TEXT NOT NULL,
  due_at INTEGER NOT NULL, -- of its earliest pending job
  PRIMARY KEY (carrier, lane)
) STRICT, WITHOUT ROWID;
CREATE INDEX lanes_due ON lanes(carrier, due_at, lane);
INSERT INTO lanes SELECT carrier, lane, min(due_at) FROM jobs INDEXED BY jobs_due WHERE state = 'pending'
  GROUP BY carrier, lane;
CREATE TRIGGER jobs_laned_in AFTER INSERT ON jobs WHEN new.state = 'pending' BEGIN
  INSERT INTO lanes VALUES (new.carrier, new.lane, new.due_at)
    ON CONFLICT (carrier, lane) DO UPDATE SET due_at = excluded.due_at WHERE due_at > excluded.due_at;
END;
CREATE TRIGGER jobs_laned_over AFTER UPDATE OF state, due_at, lane ON jobs
    WHEN old.state = 'pending' OR new.state = 'pending' BEGIN${refreshLane("new")}
END;
CREATE TRIGGER jobs_laned_away AFTER UPDATE OF lane ON jobs
    WHEN old.state = 'pending' AND old.lane <> new.lane BEGIN${refreshLane("old")}
END;
CREATE TRIGGER jobs_laned_out AFTER DELETE ON jobs WHEN old.state = 'pending' BEGIN${refreshLane("old")}
END;
`;
