/**
 * The pool of mail workers with typed verbs. Each verb's hard deadline lies above the one that the task keeps
 * by itself, so that a worker is only killed when its task no longer listens.
 */

import type { Clock } from "../base/clock.ts";
import type { Logger } from "../base/log.ts";
import type { Metrics } from "../base/metrics.ts";
import { createWorkerPool, defaultPoolSize } from "../base/worker_pool.ts";
import type { Config } from "../config/schema.ts";
import type { PayloadInput } from "../events/types.ts";
import {
  type Authenticate,
  AUTHENTICATION_MS_MAX,
  type AuthenticationOutcome,
} from "../inbound/auth_types.ts";
import type { ParsedAttachment } from "../mail/parse.ts";
import type { MessageBytes } from "../mail/types.ts";
import type { ReadReport, ReportFinding } from "../mail/report.ts";
import type { Compose, ComposeOutput, Sign, SignOutput } from "../outbound/task_types.ts";
import type { AttachmentInput, MailTasksInit } from "./mail_tasks.ts";

export interface MailPool {
  authenticate: Authenticate;
  buildPayload(input: PayloadInput): Promise<Uint8Array<ArrayBuffer>>;
  extractAttachment(input: AttachmentInput): Promise<ParsedAttachment | null>;
  readReport: ReadReport;
  compose: Compose;
  sign: Sign;
  close(): Promise<void>;
}

export interface MailPoolOptions {
  config: Pick<Config, "dns_servers" | "dns_timeout">;
  clock: Clock;
  log: Logger;
  metrics: Pick<Metrics, "workerRestarts">;
  /** Workers; all cores but one when absent, 0 for none. */
  size?: number;
}

const AUTHENTICATE_MS_MAX = AUTHENTICATION_MS_MAX + 10_000;
/**
 * The verification of so small a mail takes a few milliseconds at most, and however many seconds its sender's name
 * servers like.
 */
const LIGHT_BYTES_MAX = 64 * 1024;
const PAYLOAD_MS_MAX = 60_000;
/** Its sender waits for our answer, and without a finding the mail is delivered all the same. */
const REPORT_MS_MAX = 15_000;
const COMPOSE_MS_MAX = 30_000;

export function createMailPool(options: MailPoolOptions): MailPool {
  const init: MailTasksInit = {
    dnsServers: options.config.dns_servers,
    dnsTimeoutMs: options.config.dns_timeout,
  };
  const pool = createWorkerPool({
    url: new URL("./mail_worker.ts", import.meta.url),
    size: options.size ?? defaultPoolSize(),
    init,
    // Only then: the libraries behind the tasks are large, and the main thread needs none of them.
    inThread: async (given) => (await import("./mail_tasks.ts")).mailTasks(given),
    clock: options.clock,
    log: options.log,
    metrics: options.metrics,
  });
  return {
    authenticate: (input) =>
      pool.run<AuthenticationOutcome>("authenticate", input, {
        deadlineMs: AUTHENTICATE_MS_MAX,
        isLight: input.header.length + lengthOf(input.body) <= LIGHT_BYTES_MAX,
      }),
    buildPayload: (input) => pool.run("payload", input, { deadlineMs: PAYLOAD_MS_MAX }),
    extractAttachment: (input) => pool.run("attachment", input, { deadlineMs: PAYLOAD_MS_MAX }),
    readReport: (mail) => pool.run<ReportFinding | null>("report", mail, { deadlineMs: REPORT_MS_MAX }),
    compose: (input) => pool.run<ComposeOutput>("compose", input, { deadlineMs: COMPOSE_MS_MAX }),
    sign: (input) => pool.run<SignOutput>("sign", input, { deadlineMs: COMPOSE_MS_MAX }),
    close: () => pool.close(),
  };
}

function lengthOf(body: MessageBytes): number {
  return body.kind === "file" ? body.length : body.bytes.length;
}
