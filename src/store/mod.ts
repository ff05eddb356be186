/** Opens the store: private directories, the lock, the engine in its thread, and the Vault in front of it all. */

import { join } from "node:path";
import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import { StoreError } from "../base/errors.ts";
import { Blobs } from "./blobs.ts";
import type { ConnectionOptions } from "./connection.ts";
import { lockDataDir, privateDir, refuseHalfRestored, unlockDataDir } from "./disk.ts";
import { Engine } from "./engine.ts";
import { databaseError, diskError } from "./errors.ts";
import { RemoteLink } from "./remote.ts";
import type { CarrierName } from "./types.ts";
import { Vault } from "./vault.ts";
import type { StoreMetrics } from "./vault_core.ts";
import type { Link } from "./verbs.ts";

export { InvalidCursor } from "./cursor.ts";
export { foldAddress } from "./folded_address.ts";
export { Vault } from "./vault.ts";
export { createRetention, type Retention } from "./retention.ts";

export interface StoreOptions {
  /** Made if missing; ours alone while the store is open. */
  dataDir: string;
  clock: Clock;
  log: Logger;
  metrics?: StoreMetrics | undefined;
  /** addMessage() and submit() refuse as if the disk were full below this many free bytes. Default 0: as long as it fits. */
  diskReserve?: (() => number) | undefined;
  /** Runs the engine in the caller's thread: for tests and short commands. */
  inThread?: boolean | undefined;
  /** The worker's entry, where it is not the file next to this one (a bundle). */
  workerUrl?: URL | undefined;
  /** A quota on the database's size, in pages of 4096 bytes. */
  databasePagesMax?: number | undefined;
  /** How long a write waits when another process has locked the database. */
  busyTimeoutMs?: number | undefined;
}

/** The same engine without a thread of its own. */
function inThreadLink(options: StoreOptions, database: ConnectionOptions, onJobs: NotifyJobs): Link {
  const engine = new Engine({ ...database, clock: options.clock, onJobs });
  return {
    call: (verb, ...args) => {
      // The verb and its arguments are typed by Link; TypeScript can't see that they still match here.
      const method = engine[verb] as (...args: unknown[]) => Promise<never>;
      return method.apply(engine, args);
    },
    close: () => engine.close(),
  };
}

type NotifyJobs = (carriers: CarrierName[]) => void;

async function openLink(options: StoreOptions, onJobs: NotifyJobs): Promise<Link> {
  const database: ConnectionOptions = {
    path: join(options.dataDir, "gomail.db"),
    pagesMax: options.databasePagesMax,
    busyTimeoutMs: options.busyTimeoutMs,
  };
  if (options.inThread) return inThreadLink(options, database, onJobs);
  const workerUrl = options.workerUrl ?? new URL("./worker.ts", import.meta.url);
  const { clock, log } = options;
  const link = new RemoteLink({ workerUrl, database, clock, log, onJobs });
  await link.open();
  return link;
}

/** Rejects with a StoreError whose message says what is wrong, and leaves nothing open then. */
export async function openStore(options: StoreOptions): Promise<Vault> {
  const { dataDir, log } = options;
  await privateDir(dataDir, log);
  const lock = await lockDataDir(dataDir);
  const blobs = new Blobs(dataDir, log);
  try {
    await refuseHalfRestored(dataDir);
    for (const name of ["spool", "blobs"]) await privateDir(join(dataDir, name), log);
    await blobs.clearSpool().catch((error) => Promise.reject(diskError("clear the spool", error)));
    let vault: Vault | null = null;
    const onJobs = (carriers: CarrierName[]) => {
      for (const carrier of carriers) vault?.onJobs?.(carrier);
    };
    const link = await openLink(options, onJobs);
    vault = new Vault({
      dataDir,
      link,
      blobs,
      clock: options.clock,
      log,
      metrics: options.metrics,
      diskReserve: options.diskReserve ?? (() => 0),
      unlock: () => unlockDataDir(lock),
    });
    return vault;
  } catch (error) {
    unlockDataDir(lock);
    throw error instanceof StoreError ? error : databaseError("open the store", error, () => Infinity);
  }
}
