/**
 * The work on one mail's bytes that leaves the main thread: verification, payloads, attachments, reports, composing
 * and signing. Imported by the worker's entry, and directly where there are no threads (tests).
 */

import { systemClock } from "../base/clock.ts";
import { createResolver } from "../base/resolver.ts";
import type { TaskHandlers } from "../base/worker_seat.ts";
import { buildPayload } from "../events/payload.ts";
import type { PayloadInput } from "../events/types.ts";
import { authenticate } from "../inbound/authenticate.ts";
import type { AuthenticationInput } from "../inbound/auth_types.ts";
import { extractAttachment } from "../mail/parse.ts";
import { readReport } from "../mail/report.ts";
import { composeAndSign } from "../outbound/compose.ts";
import { KeyCache, signMessage } from "../outbound/sign.ts";
import type { ComposeInput, SignInput } from "../outbound/task_types.ts";
import type { RawMessage } from "../store/types.ts";

export interface MailTasksInit {
  dnsServers: readonly string[];
  dnsTimeoutMs: number;
}

export interface AttachmentInput {
  raw: RawMessage;
  /** From 0, in the payload's order. */
  index: number;
}

export function mailTasks(init: unknown): TaskHandlers {
  const { dnsServers, dnsTimeoutMs } = init as MailTasksInit;
  const resolver = createResolver({ servers: dnsServers, timeoutMs: dnsTimeoutMs, clock: systemClock });
  const keys = new KeyCache();
  return {
    authenticate: (input) => authenticate(input as AuthenticationInput, { resolver, clock: systemClock }),
    payload: (input) => buildPayload(input as PayloadInput),
    attachment: (input) => {
      const { raw, index } = input as AttachmentInput;
      return extractAttachment(raw, index);
    },
    report: (input) => readReport(input as RawMessage),
    compose: (input) => composeAndSign(input as ComposeInput, keys),
    sign: (input) => signMessage(input as SignInput, keys),
    close: () => resolver.close(),
  };
}
