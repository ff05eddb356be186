/**
 * Schema version 1. Shaped for one habit: accepting mail only ever appends. Every table and index on the way of
 * addMessage() grows at its end (ULIDs, sequence numbers, times), so the millionth message touches as few
 * pages as the first; the indexes that see random keys hold only jobs that are still owed.
 *
 * messages holds what lists search, contents the rest of the record and the bytes: a scan of a million
 * messages reads some 200 bytes of each, never its body. Counts are kept by triggers, in the same transaction
 * as the rows, because counting a million delivered jobs for each scrape of the metrics would stall the mail.
 */

export const v001Initial = `
CREATE TABLE messages (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  received_at INTEGER NOT NULL,
  mail_from TEXT NOT NULL,
  recipients TEXT NOT NULL, -- JSON list
  verdict TEXT NOT NULL,
  size_bytes INTEGER NOT NULL
) STRICT;
CREATE INDEX messages_received ON messages(received_at);

CREATE TABLE contents (
  seq INTEGER PRIMARY KEY REFERENCES messages(seq) ON DELETE CASCADE,
  details TEXT NOT NULL, -- JSON: what a stranger wrote may hold NUL, which SQL text does not survive
  utf8 INTEGER NOT NULL,
  blob_path TEXT, -- relative to the data directory, so that it can be moved
  blob_offset INTEGER,
  blob_bytes INTEGER,
  head BLOB NOT NULL,
  body BLOB,
  CHECK ((body IS NULL) <> (blob_path IS NULL))
) STRICT;

CREATE TABLE events (
  seq INTEGER PRIMARY KEY AUTOINCREMENT, -- never reused: readers keep it as their place
  type TEXT NOT NULL,
  message_seq INTEGER NOT NULL REFERENCES messages(seq) ON DELETE CASCADE,
  created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX events_message ON events(message_seq);

CREATE TABLE jobs (
  seq INTEGER PRIMARY KEY,
  id TEXT NOT NULL UNIQUE,
  message_seq INTEGER NOT NULL REFERENCES messages(seq) ON DELETE CASCADE,
  carrier TEXT NOT NULL CHECK (carrier IN ('webhook', 'smtp')),
  lane TEXT NOT NULL,
  event TEXT NOT NULL,
  destination TEXT NOT NULL,
  recipients TEXT NOT NULL, -- JSON list
  state TEXT NOT NULL CHECK (state IN ('pending', 'held', 'delivered', 'dead', 'dropped')),
  attempts INTEGER NOT NULL DEFAULT 0,
  created_at INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  last_attempt_at INTEGER,
  last_code INTEGER,
  last_error TEXT
) STRICT;
CREATE INDEX jobs_message ON jobs(message_seq);
CREATE INDEX jobs_due ON jobs(carrier, lane, due_at) WHERE state = 'pending';
CREATE INDEX jobs_next ON jobs(carrier, due_at) WHERE state = 'pending';
CREATE INDEX jobs_open ON jobs(carrier, state) WHERE state <> 'delivered';

CREATE TABLE job_counts (
  carrier TEXT NOT NULL,
  state TEXT NOT NULL,
  count INTEGER NOT NULL,
  PRIMARY KEY (carrier, state)
) STRICT, WITHOUT ROWID;
CREATE TRIGGER jobs_counted_in AFTER INSERT ON jobs BEGIN
  INSERT INTO job_counts VALUES (new.carrier, new.state, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER jobs_counted_over AFTER UPDATE OF state ON jobs WHEN old.state <> new.state BEGIN
  UPDATE job_counts SET count = count - 1 WHERE carrier = old.carrier AND state = old.state;
  INSERT INTO job_counts VALUES (new.carrier, new.state, 1)
    ON CONFLICT DO UPDATE SET count = count + 1;
END;
CREATE TRIGGER jobs_counted_out AFTER DELETE ON jobs BEGIN
  UPDATE job_counts SET count = count - 1 WHERE carrier = old.carrier AND state = old.state;
END;

CREATE TABLE stored (one INTEGER PRIMARY KEY CHECK (one = 1), bytes INTEGER NOT NULL) STRICT;
INSERT INTO stored VALUES (1, 0);
CREATE TRIGGER messages_weighed_in AFTER INSERT ON messages BEGIN
  UPDATE stored SET bytes = bytes + new.size_bytes;
END;
CREATE TRIGGER messages_weighed_out AFTER DELETE ON messages BEGIN
  UPDATE stored SET bytes = bytes - old.size_bytes;
END;

CREATE TABLE domains (
  domain TEXT PRIMARY KEY,
  recipients TEXT, -- JSON list; NULL takes every local part
  created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE probe (one INTEGER PRIMARY KEY CHECK (one = 1), value INTEGER NOT NULL) STRICT;
`;
