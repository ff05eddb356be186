/** Schema version 3: who may not come in (bans), and who may use the API (tokens, as hashes alone). */

export const v003Porter = `
CREATE TABLE bans (
  range TEXT PRIMARY KEY, -- canonical CIDR
  source TEXT NOT NULL,
  reason TEXT NOT NULL,
  evidence TEXT NOT NULL, -- JSON list
  times INTEGER NOT NULL, -- which one in a row
  created_at INTEGER NOT NULL,
  expires_at INTEGER, -- null: when it is removed
  forget_at INTEGER -- null: never
) STRICT, WITHOUT ROWID;

CREATE TABLE tokens (
  id TEXT PRIMARY KEY,
  name TEXT NOT NULL,
  hash TEXT NOT NULL, -- SHA-256, hex
  scopes TEXT NOT NULL, -- JSON list
  rate_limit TEXT, -- JSON; null: none
  created_at INTEGER NOT NULL,
  expires_at INTEGER,
  last_used_at INTEGER
) STRICT, WITHOUT ROWID;
`;
