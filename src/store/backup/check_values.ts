/**
 * The values in a database out of a backup. That a number's column holds numbers, and that none is missing, SQLite has
 * said by then: the tables are STRICT. Left is what fits a column and no JavaScript: a number that can't be counted
 * exactly fails every read that meets it, a time that no Date can be fails whoever shows it, a sequence at its end
 * takes no more mail, NUL cuts a text off, and a list that is none breaks who walks along it. What a mail says of
 * itself is not judged.
 */

import type { DatabaseSync } from "node:sqlite";
import { Unusable } from "./errors.ts";
import { knownName } from "./names.ts";

/**
 * Of sizes, counts, times and places in a sequence: far from where JavaScript ceases to count exactly (2 ** 53), and so
 * that a sequence has room to go on within the 15 digits of a cursor. In milliseconds it is the year 19809.
 */
const INTEGER_MAX = 2 ** 49;

/** SQL that is true of a wrong value `c`. Nothing of it fails, also where `c` is no JSON. */
type Rule = (c: string) => string;

const json = (c: string, wrong: string) =>
  `CASE WHEN json_valid(${c}) THEN ${wrong} ELSE ${c} IS NOT NULL END`;
const object: Rule = (c) => json(c, `json_type(${c}) <> 'object'`);
const list: Rule = (c) => json(c, `json_type(${c}) <> 'array'`);
const texts: Rule = (c) =>
  json(c, `json_type(${c}) <> 'array' OR EXISTS (SELECT 1 FROM json_each(${c}) WHERE type <> 'text')`);
const details: Rule = (c) =>
  json(
    c,
    `coalesce(json_type(${c}, '$.connection'), '') <> 'object' OR ` +
      `coalesce(json_type(${c}, '$.authentication'), '') <> 'object'`,
  );
const oneOf = (...names: string[]): Rule => (c) => `${c} NOT IN (${names.map((name) => `'${name}'`)})`;
/** Rows are found by it, so it has to be read as it was written. */
const key: Rule = (c) => `instr(${c}, char(0)) > 0`;
/** It stands in a header or a path. */
const token: Rule = (c) => `${key(c)} OR ${c} = '' OR ${c} GLOB '*[^!-~]*'`;
const id: Rule = (c) => `${key(c)} OR length(${c}) NOT BETWEEN 1 AND 64 OR ${c} GLOB '*[^A-Za-z0-9_-]*'`;
const flag: Rule = (c) => `${c} NOT IN (0, 1)`;

const RULES: Record<string, Record<string, Rule>> = {
  messages: { id, mail_from: key, recipients: texts, verdict: oneOf("accept", "quarantine") },
  contents: { details, utf8: flag },
  events: { type: key },
  event_details: { details: object },
  jobs: { id: token, lane: key, event: key, destination: key, recipients: texts },
  attempts: { outcome: oneOf("delivered", "deferred", "dead", "dropped") },
  idempotency: { answer: object },
  suppressions: { address: key, reason: oneOf("bounce", "complaint", "manual") },
  dkim_keys: {
    algorithm: oneOf("rsa", "ed25519"),
    state: oneOf("pending", "active", "retiring", "retired"),
  },
  sts_policies: { domain: key, mode: oneOf("enforce", "testing", "none"), mx: texts },
  domains: { domain: key, recipients: texts },
  bans: { range: key, source: oneOf("automatic", "manual"), evidence: list },
  tokens: { id: token, hash: token, scopes: texts, rate_limit: object },
  bounces: { message_id: id },
};

/** Its columns have no types; a whole number that is a REAL counts as well. */
const WRONG_SEQUENCE = `SELECT 1 FROM sqlite_sequence WHERE typeof(name) <> 'text'
    OR typeof(seq) NOT IN ('integer', 'real') OR seq NOT BETWEEN 0 AND ${INTEGER_MAX} OR seq <> CAST(seq AS INTEGER)
  UNION ALL SELECT 1 FROM sqlite_sequence GROUP BY name HAVING count(*) > 1`;

/** Of each message its bytes, and as many as it says. */
const WRONG_SIZE = `SELECT 1 FROM messages m LEFT JOIN contents c ON c.seq = m.seq
  WHERE coalesce(m.size_bytes <> length(c.head) + coalesce(length(c.body), c.blob_bytes), TRUE)`;

const integer: Rule = (c) => `${c} NOT BETWEEN 0 AND ${INTEGER_MAX}`;

/** One walk along a table, whatever it has to be asked. */
function wrongColumn(db: DatabaseSync, table: string): string | null {
  const columns = db.prepare("SELECT name, type FROM pragma_table_info(?)").all(table);
  const rules = RULES[table] ?? {};
  const questions = columns.flatMap(({ name, type }) => {
    const rule = type === "INTEGER" && rules[String(name)] === undefined ? integer : rules[String(name)];
    return rule ? [`WHEN ${rule(`"${name}"`)} THEN '${name}'`] : [];
  });
  if (questions.length === 0) return null;
  const found = db.prepare(
    `SELECT wrong FROM (SELECT CASE ${
      questions.join(" ")
    } END AS wrong FROM "${table}") WHERE wrong IS NOT NULL`,
  ).get();
  return found ? String(found.wrong) : null;
}

/** Throws at the first value that GoMail would not have written. The schema has to be ours. */
export function checkValues(db: DatabaseSync): void {
  const refuse = (what: string) => {
    throw new Unusable(`its database has a value in ${what} that GoMail does not write`);
  };
  const tables = db.prepare(
    "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite~_%' ESCAPE '~' ORDER BY name",
  ).all().map(({ name }) => String(name));
  for (const table of tables) {
    const column = wrongColumn(db, table);
    if (column !== null) refuse(`${table}.${column}`);
  }
  if (db.prepare(WRONG_SEQUENCE).get() !== undefined) refuse("sqlite_sequence");
  if (db.prepare(WRONG_SIZE).get() !== undefined) refuse("messages.size_bytes");
  if (!tables.includes("dkim_keys")) return;
  for (const { domain, selector } of db.prepare("SELECT domain, selector FROM dkim_keys").iterate()) {
    // Their private keys' files are named by them.
    if (knownName(`dkim/${domain}/${selector}.pem`)?.kind !== "dkim") refuse("dkim_keys.domain or selector");
  }
}
