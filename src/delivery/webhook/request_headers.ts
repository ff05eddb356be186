/** The headers of a webhook, which are the same for a job and for a sample. */

import { VERSION } from "../../base/version.ts";
import { sign } from "./sign.ts";

export interface HeaderParts {
  id: string;
  requestId: string;
  /** Each signs. */
  secrets: string[];
  /** webhook_bearer_token; never one of our API's. */
  token: string | undefined;
  nowMs: number;
  body: Uint8Array;
}

/** With a timestamp and signature of their own each time. */
export function requestHeaders(parts: HeaderParts): Record<string, string> {
  const { id, requestId, secrets, token, nowMs, body } = parts;
  const timestamp = Math.floor(nowMs / 1000);
  return {
    "content-type": "application/json",
    "user-agent": `GoMail/${VERSION}`,
    "webhook-id": id,
    "webhook-timestamp": String(timestamp),
    "webhook-signature": sign(secrets, id, timestamp, body),
    "x-request-id": requestId,
    ...(token ? { authorization: `Bearer ${token}` } : {}),
  };
}
