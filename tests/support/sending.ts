/** What tests of the way out share: posting to the API, signing switched on, and the events that came. */

import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { Buffer } from "node:buffer";
import { systemClock } from "../../src/base/clock.ts";
import { createResolver } from "../../src/base/resolver.ts";
import type { OutboundPayload } from "../../src/events/outbound.ts";
import type { ApiAnswer, TestDaemon } from "./harness.ts";
import { until } from "./until.ts";

export const AUTHOR = "App <app@example.com>";

/** A zone in which mail for `domain` goes to these hosts (name, priority, address). */
export function mxZone(domain: string, hosts: [name: string, priority: number, address: string][]) {
  return {
    [domain]: { MX: hosts.map(([exchange, priority]) => ({ exchange, priority })) },
    ...Object.fromEntries(hosts.map(([name, , address]) => [name, { A: [address] }])),
  };
}

export function postJson(
  d: Pick<TestDaemon, "api">,
  path: string,
  body: unknown,
  headers: Record<string, string> = {},
): Promise<ApiAnswer> {
  return d.api(path, {
    method: "POST",
    body: JSON.stringify(body),
    headers: { "content-type": "application/json", ...headers },
  });
}

/** Sends a small mail; what differs is given. */
export function sendMail(
  d: TestDaemon,
  values: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): Promise<ApiAnswer> {
  const mail = {
    from: AUTHOR,
    to: "ann@customer.example",
    subject: "Hello",
    text: "Hello Ann.\n",
    ...values,
  };
  return postJson(d, "/mail/send", mail, headers);
}

/** Keys made, published in the test's zone, and switched on. */
export async function switchOnSigning(
  d: Pick<TestDaemon, "api" | "zone">,
  domain = "example.com",
): Promise<void> {
  const base = `/v1/domains/${domain}/dkim`;
  const made = await postJson(d, base, {});
  if (made.status >= 300) throw new Error(`Cannot make keys: ${made.text}`);
  for (const { name, value } of (await d.api(`${base}/records`)).json.items) {
    d.zone.set(name, { TXT: [value] });
  }
  const activated = await postJson(d, `${base}/activate`, {});
  if (activated.status >= 300) throw new Error(`Cannot switch on keys: ${activated.text}`);
}

/** The outbound events about this message that have come, in order of arrival. */
export function eventsOf(d: TestDaemon, id: string): OutboundPayload[] {
  return d.receiver.requests.map((request) =>
    JSON.parse(new TextDecoder().decode(request.body)) as OutboundPayload
  ).filter((payload) => payload.id === id && payload.event !== "mail.received");
}

/** That event, now or later. */
export async function eventOf(
  d: TestDaemon,
  id: string,
  event: string,
  recipient?: string,
): Promise<OutboundPayload> {
  const find = () =>
    eventsOf(d, id).find((payload) =>
      payload.event === event && (recipient === undefined || payload.recipient === recipient)
    );
  await until(() => find() !== undefined, `${event} of ${id}`);
  return find()!;
}

/** What the library that our own code signs with makes of these signatures: `rsa-sha256 pass`, by the test's zone. */
export async function verifiedSignatures(d: Pick<TestDaemon, "zone">, bytes: Uint8Array): Promise<string[]> {
  const resolver = createResolver({
    servers: [d.zone.address],
    timeoutMs: 10_000,
    clock: systemClock,
  });
  try {
    const { results } = await dkimVerify(Buffer.from(bytes), {
      resolver: async (name: string, type: string) => await resolver.nodeStyle(name, type) as string[],
      strict: true,
    });
    return results.map(({ status, algo }) => `${algo} ${status.result}`).sort();
  } finally {
    resolver.close();
  }
}
