/** What the flow out is built from. Everything that takes time, threads or the network is an argument. */

import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import type { Config } from "../config/schema.ts";
import type { RouteConfig } from "../events/jobs.ts";
import type { DkimVerdict, DmarcVerdict, MessageBytes } from "../mail/types.ts";
import type { Store } from "../store/types.ts";
import type { PrepareDeps } from "./prepare.ts";
import type { SigningKey } from "./task_types.ts";

export type OutboundConfig =
  & RouteConfig
  & Pick<
    Config,
    "disk_reserve" | "max_message_size" | "outbound_max_age" | "dkim_sign_outbound" | "public_url"
  >;

/** ownsDomain gets A-labels in lower case; compose and sign run in the worker pool and may reject. */
export interface OutboundDeps extends PrepareDeps {
  /** Read anew for each mail: it may change on SIGHUP. */
  config: () => OutboundConfig;
  store: Pick<
    Store,
    | "spool"
    | "submit"
    | "recallKey"
    | "freeBytes"
    | "findSuppressed"
    | "getMessage"
    | "listJobs"
    | "dropJobs"
    | "actOnJobs"
    | "listEvents"
    | "addEffects"
  >;
  /** Keys that sign mail of this domain; none is no error. */
  signingKeys(domain: string): Promise<SigningKey[]>;
  /** As a receiver would see it; for dry runs. */
  verify(
    message: { header: Uint8Array; body: MessageBytes },
  ): Promise<{ dkim: DkimVerdict; dmarc: DmarcVerdict }>;
  /** Hex; signs unsubscribe tokens. Never leaves this host. */
  tokenKey: string;
  /** True once the daemon is on its way out. */
  draining: () => boolean;
  clock: Clock;
  log: Logger;
  metrics: Pick<Metrics, "dkimSigned">;
}
