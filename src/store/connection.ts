/**
 * The one connection to the database. It opens itself when first used and again after anything that makes it
 * doubtful (an I/O error, a read-only file system, a file moved away), so that the store works again by itself
 * once the cause is gone. Failing to open costs the calls of that moment and nothing else.
 *
 * WAL with synchronous=FULL: a commit is on disk when COMMIT returns. Checkpoints are ours (checkpoint.ts),
 * never SQLite's own in the middle of a commit.
 */

import { DatabaseSync } from "node:sqlite";
import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { StoreError } from "../base/errors.ts";
import { Attempts } from "./attempts.ts";
import { Bans } from "./bans.ts";
import type { Claims } from "./claims.ts";
import { DkimKeys } from "./dkim_keys.ts";
import { Domains } from "./domains.ts";
import { Due } from "./due.ts";
import { databaseError, kindOf } from "./errors.ts";
import { Events } from "./events.ts";
import { Idempotency } from "./idempotency.ts";
import { Jobs } from "./jobs.ts";
import { Messages } from "./messages.ts";
import { migrate } from "./migrations/mod.ts";
import { StsPolicies } from "./sts_policies.ts";
import { Suppressions } from "./suppressions.ts";
import { Tokens } from "./tokens.ts";

/** "GMvl": marks the file as ours, so that another program's database is refused before it is changed. */
export const APPLICATION_ID = 0x474d766c;
const BUSY_TIMEOUT_MS = 5_000;
const CACHE_KIB = 32 * 1024;
/** After a burst the write-ahead log is cut to this. */
const WAL_BYTES_KEPT = 64 * 1024 * 1024;
export const PAGE_BYTES = 4096;

export interface ConnectionOptions {
  /** The database file. */
  path: string;
  /** A quota on the database's size; beyond it the store is full. */
  pagesMax?: number | undefined;
  /** How long to wait for a lock of another process (a backup, somebody's shell). */
  busyTimeoutMs?: number | undefined;
}

/** The open database and its tables. Good until the next failure: ask the Connection each time. */
export interface Tables {
  db: DatabaseSync;
  messages: Messages;
  jobs: Jobs;
  due: Due;
  attempts: Attempts;
  events: Events;
  idempotency: Idempotency;
  suppressions: Suppressions;
  dkimKeys: DkimKeys;
  stsPolicies: StsPolicies;
  domains: Domains;
  bans: Bans;
  tokens: Tokens;
}

function pragma(db: DatabaseSync, name: string): unknown {
  return Object.values(db.prepare(`PRAGMA ${name}`).get() ?? {})[0];
}

function open(options: ConnectionOptions): DatabaseSync {
  // Made by us first, because SQLite would make it world-readable; -wal and -shm take its mode.
  Deno.openSync(options.path, { create: true, write: true, mode: 0o600 }).close();
  Deno.chmodSync(options.path, 0o600);
  const db = new DatabaseSync(options.path, { timeout: options.busyTimeoutMs ?? BUSY_TIMEOUT_MS });
  try {
    const owner = pragma(db, "application_id");
    if (owner !== 0 && owner !== APPLICATION_ID) {
      throw new StoreError("Cannot open the database: it belongs to another program", false);
    }
    // Page size and auto_vacuum only take effect before the first table is made.
    db.exec(`PRAGMA page_size = ${PAGE_BYTES}; PRAGMA auto_vacuum = INCREMENTAL;
      PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
      PRAGMA cache_size = -${CACHE_KIB}; PRAGMA temp_store = MEMORY; PRAGMA trusted_schema = OFF;
      PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = ${WAL_BYTES_KEPT};`);
    if (options.pagesMax !== undefined) db.exec(`PRAGMA max_page_count = ${options.pagesMax}`);
    migrate(db);
    if (owner === 0) db.exec(`PRAGMA application_id = ${APPLICATION_ID}`);
    return db;
  } catch (error) {
    db.close();
    throw error;
  }
}

export class Connection {
  readonly #options: ConnectionOptions;
  readonly #claims: Claims;
  #tables: Tables | null = null;
  #closed = false;
  /** Since the last commit. */
  #logShortened = false;

  constructor(options: ConnectionOptions, claims: Claims) {
    this.#options = options;
    this.#claims = claims;
  }

  /** The tables, of a database opened now if need be. Throws what opening threw. */
  get tables(): Tables {
    if (this.#closed) throw new StoreError("Cannot use the store: it is closed", false);
    if (this.#tables) return this.#tables;
    const db = open(this.#options);
    return this.#tables = {
      db,
      messages: new Messages(db),
      jobs: new Jobs(db),
      due: new Due(db, this.#claims),
      attempts: new Attempts(db),
      events: new Events(db),
      idempotency: new Idempotency(db),
      suppressions: new Suppressions(db),
      dkimKeys: new DkimKeys(db),
      stsPolicies: new StsPolicies(db),
      domains: new Domains(db),
      bans: new Bans(db),
      tokens: new Tokens(db),
    };
  }

  /** Runs a read. Whatever it throws comes out as a StoreError, and a broken connection is given up. */
  read<T>(what: string, fn: (tables: Tables) => T): T {
    try {
      return fn(this.tables);
    } catch (error) {
      throw this.failed(what, error);
    }
  }

  /** Runs `fn` in a transaction of its own: committed and synced when this returns, else nothing of it is kept. */
  transaction<T>(fn: (tables: Tables) => T): T {
    const tables = this.tables;
    const { db } = tables;
    db.exec("BEGIN IMMEDIATE");
    try {
      const value = fn(tables);
      db.exec("COMMIT");
      this.#logShortened = false;
      return value;
    } catch (error) {
      this.#rollBack(db);
      throw error;
    }
  }

  /** Makes a StoreError of what a read or transaction threw; gives the connection up when it is not to be trusted. */
  failed(what: string, error: unknown): StoreError {
    const mapped = databaseError(what, error, () => this.#freeBytes());
    if (kindOf(error) === "broken") this.#giveUp();
    else if (mapped.full) this.#shortenLog();
    return mapped;
  }

  close(): void {
    this.#giveUp();
    this.#closed = true;
  }

  /** On a full disk the write-ahead log may be what fills it. Once is enough: it does not grow until a commit. */
  #shortenLog(): void {
    if (this.#logShortened) return;
    this.#logShortened = true;
    try {
      this.#tables?.db.prepare("PRAGMA wal_checkpoint(TRUNCATE)").all();
    } catch {
      // The disk is full: the write that found out is told so.
    }
  }

  #rollBack(db: DatabaseSync): void {
    if (!db.isTransaction) return; // SQLite has done it already, as it does on some I/O errors.
    try {
      db.exec("ROLLBACK");
    } catch {
      this.#giveUp(); // Closing rolls back, and what threw first tells the story.
    }
  }

  #giveUp(): void {
    const tables = this.#tables;
    this.#tables = null;
    try {
      tables?.db.close();
    } catch {
      // Its file may be gone, and nobody will use it again.
    }
  }

  #freeBytes(): number {
    try {
      const { bavail, bsize } = statfsSync(dirname(this.#options.path));
      return bavail * bsize;
    } catch {
      return Number.MAX_SAFE_INTEGER; // Unknown: then the error keeps its own meaning.
    }
  }
}
