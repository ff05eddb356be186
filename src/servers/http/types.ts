/**
 * What the HTTP door needs from the house, and the shapes its own files share: a route as data (so that the
 * router and /openapi.json are made from the same table), a problem as a value, and hono's context with what
 * the middlewares put into it.
 */

import type { HttpBindings } from "@hono/node-server";
import type { Context } from "hono";
import type { ZodObject, ZodType } from "zod";
import type { Clock } from "../../base/clock.ts";
import type { HttpErrorType } from "../../base/errors.ts";
import type { Logger } from "../../base/log.ts";
import type { Metrics } from "../../base/metrics.ts";
import type { Turns } from "../../base/turns.ts";
import type { Config } from "../../config/schema.ts";
import type { EventFeed } from "../../events/feed.ts";
import type { SampleResult, SampleWish } from "../../events/types.ts";
import type { BanBook } from "../../guard/bans.ts";
import type { TokenBook } from "../../guard/tokens.ts";
import type { InboundFlow } from "../../inbound/types.ts";
import type { SuppressionFlow } from "../../outbound/suppressions.ts";
import type { CheckDomain, DkimFlow, OutboundFlow } from "../../outbound/types.ts";
import type { JobAction, JobFilter, Store, TokenRecord, TokenScope } from "../../store/types.ts";

export type HttpConfig = Pick<
  Config,
  | "port"
  | "listen_address"
  | "bearer_token"
  | "rate_limit_per_minute"
  | "rate_limit_burst"
  | "rate_limit_exempt"
  | "trusted_proxies"
  | "read_timeout"
  | "write_timeout"
  | "idle_timeout"
  | "handler_timeout"
  | "max_message_size"
  | "max_recipients"
  | "metrics_enabled"
  | "metrics_port"
  | "metrics_path"
  | "metrics_listen_address"
  | "control_socket"
>;

export interface DomainEntry {
  domain: string;
  /** Addresses accepted; null takes every local part. */
  recipients: string[] | null;
  source: "config" | "store";
}

/** The flow's table of domains we accept mail for. */
export interface DomainTable {
  list(): DomainEntry[];
  add(domain: string, recipients: string[] | null): Promise<"added" | "exists" | { problem: string }>;
  remove(domain: string): Promise<"removed" | "unknown" | "configured">;
}

export interface HealthReport {
  status: "healthy" | "degraded" | "unhealthy";
  ready: boolean;
  checks: Record<string, { status: "ok" | "degraded" | "failed"; detail?: string | undefined }>;
}

export interface AttachmentContent {
  filename: string | null;
  contentType: string;
  content: Uint8Array;
}

export type SecretChange =
  | { kind: "done"; secrets: { next: string | null } }
  | { kind: "refused"; problem: string };

export interface HttpDeps {
  /** Read for each request, so a reload holds from the next one on. Ports and keep-alive hold from listen(). */
  config: () => HttpConfig;
  flow: InboundFlow;
  outbound: OutboundFlow;
  events: EventFeed;
  store: Store;
  domains: DomainTable;
  dkim: DkimFlow;
  checkDomain: CheckDomain;
  /** Makes the message's webhooks due again; null when there is no such message. */
  replay: (messageId: string) => Promise<number | null>;
  queue: (action: JobAction, filter: JobFilter, dryRun: boolean) => Promise<number>;
  suppressions: SuppressionFlow;
  /** To this URL, or to the receiver of each route; empty when there is none. */
  testWebhook: (wish: SampleWish) => Promise<SampleResult[]>;
  /** Each rejects when the change can't be kept; then nothing has changed. */
  webhookSecrets: Record<"rotate" | "retire" | "cancel", () => Promise<SecretChange>>;
  bans: BanBook;
  tokens: TokenBook;
  /** The n-th attachment as the webhook's payload counts them, from 0. */
  attachment: (messageId: string, n: number) => Promise<AttachmentContent | null>;
  verifySignedPath: (path: string, query: URLSearchParams, nowMs: number) => boolean;
  health: () => Promise<HealthReport>;
  clock: Clock;
  log: Logger;
  metrics: Metrics;
  version: string;
  /** Wall clock, milliseconds. */
  startedAt: number;
  /** A listening unix socket handed over by systemd; then control_socket is neither made nor removed by us. */
  controlFd?: number | undefined;
}

/** An answer that says no. Expected ones are returned as values; only bugs and broken machines throw. */
export interface Problem {
  problem: HttpErrorType;
  message: string;
  details?: Record<string, unknown> | undefined;
  headers?: Record<string, string> | undefined;
}

/** What allowed the request: the control socket, bearer_token, a token of the list, a signed URL; the last three did not. */
export type Right = "control" | "configured" | "token" | "signature" | "none" | "wrong" | "expired";

export interface ApiEnv {
  Bindings: HttpBindings & {
    door: "api" | "control";
    /** The client waits for `100 Continue` before it sends the body. */
    expectsContinue: boolean;
    /** The listener's: all bodies read there take turns. */
    turns: Turns;
    /** To be called when a valid token came: its connection is no stranger's any more. */
    known(): void;
  };
  Variables: {
    requestId: string;
    log: Logger;
    /** Address text of the client, behind trusted proxies; "control" on the control socket. */
    client: string;
    /** Route pattern, or "other": safe as a metric label. */
    endpoint: string;
    /** Methods that the path knows; empty for an unknown path. */
    allow: string[];
    route: Route | null;
    right: Right;
    /** The one that came with the request, also when it has expired; never one that was wrong. */
    token: TokenRecord | null;
    /** Aborts when nobody waits for the handler's answer any more. */
    signal: AbortSignal;
  };
}

export type ApiContext = Context<ApiEnv>;

export interface Answer {
  description: string;
  schema?: ZodType;
  /** Default application/json. */
  media?: string;
}

interface RouteBase {
  method: "GET" | "POST" | "DELETE";
  /** As OpenAPI writes it: `/v1/messages/{id}`. */
  path: string;
  summary: string;
  parameters?: { in: "path" | "query" | "header"; schema: ZodObject }[];
  /** Media type -> schema; null for bytes. */
  body?: Record<string, ZodType | null>;
  answers: Record<number, Answer>;
  /** What can go wrong besides what can always (401, 403, 408, 429, 500, 503, 504). */
  errors: readonly HttpErrorType[];
  handle(c: ApiContext): Promise<Response | Problem> | Response | Problem;
}

/**
 * Every route says who may ask, and none can forget it. open: no token and no rate limit; public: no token, but
 * limited; signed: a signed URL will do as well. `scope` is what a token must have; "any" takes every valid one.
 */
export type Route =
  & RouteBase
  & ({ access: "open" | "public"; scope?: never } | {
    access: "token" | "signed";
    scope: TokenScope | "any";
  });
