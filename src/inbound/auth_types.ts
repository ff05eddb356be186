/** What verification is asked and what it answers; plain data, because it crosses to a worker thread. */

import type { Config } from "../config/schema.ts";
import type { Authentication, MessageBytes } from "../mail/types.ts";

/** For all of one mail's verification. */
export const AUTHENTICATION_MS_MAX = 20_000;

/** The part of the configuration that verification goes by. */
export type AuthenticationConfig = Pick<
  Config,
  "spf_enabled" | "dkim_enabled" | "dmarc_enabled" | "arc_trusted_sealers"
>;

export interface AuthenticationInput {
  /** The header block as received, with its empty line. */
  header: Uint8Array;
  body: MessageBytes;
  /** "" for the null reverse-path. */
  mailFrom: string;
  clientAddress: string | null;
  helo: string | null;
  /** Our name: authserv-id, and "by" in SPF's comment. */
  hostname: string;
  config: AuthenticationConfig;
}

/** Why DMARC could not name one author domain (RFC 9989 5.3.1); such mail never passes. */
export type FromProblem = "missing" | "repeated" | "several_domains" | "group" | "invalid";

export interface AuthenticationOutcome {
  authentication: Authentication;
  fromProblem: FromProblem | null;
  /** A chain of seals by trusted sealers alone says that DMARC passed when the mail entered it. */
  arcVouches: boolean;
}

export type Authenticate = (input: AuthenticationInput) => Promise<AuthenticationOutcome>;
