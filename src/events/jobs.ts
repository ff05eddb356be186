/**
 * An event becomes webhook jobs: each address finds its route (the first that matches), each route that wants
 * this event gets one job with just its own addresses. Pure; used for new mail and for replays alike, so that
 * a replayed job has the id it had before and the receiver can tell.
 */

import { createHash } from "node:crypto";
import type { Config, Route } from "../config/schema.ts";
import type { NewJob } from "../store/types.ts";

export type RouteConfig = Pick<Config, "routes" | "webhook_url" | "webhook_max_age">;

export interface JobSource {
  /** Event type, e.g. "mail.received". */
  event: string;
  messageId: string;
  /** What routes are matched on: the recipients of incoming mail, the sender of outgoing mail. */
  addresses: readonly string[];
  /** Wall clock, milliseconds. */
  now: number;
  /** ULID of an event that a message can have several of; mail.received is one for each message. */
  eventId?: string | undefined;
}

/** The configured routes, then everything else to `webhook_url`, if that is set. */
export function routesOf(config: RouteConfig): Route[] {
  return config.webhook_url === undefined
    ? config.routes
    : [...config.routes, { match: "*", url: config.webhook_url, on_reject: "drop" }];
}

/** The first route whose match is the address itself, `*@` its domain, or `*`; letter case does not count. */
export function routeFor(routes: readonly Route[], address: string): Route | undefined {
  const wanted = address.toLowerCase();
  const anyAtDomain = `*${wanted.slice(wanted.lastIndexOf("@"))}`;
  return routes.find(({ match }) => {
    const pattern = match.toLowerCase();
    return pattern === "*" || pattern === wanted || (wanted.includes("@") && pattern === anyAtDomain);
  });
}

/** Stable over retries, restarts and replays; unique for each message (or event) and route: the webhook-id. */
export function jobId(event: string, id: string, match: string): string {
  const digest = createHash("sha256").update(`${event}\n${match}`).digest("hex");
  return `evt_${id}_${digest.slice(0, 8)}`;
}

export function jobsFor(source: JobSource, config: RouteConfig): NewJob[] {
  const routes = routesOf(config);
  const byMatch = new Map<string, NewJob>();
  for (const address of source.addresses) {
    const route = routeFor(routes, address);
    if (!route || (route.events && !route.events.some((event) => event === source.event))) continue;
    const job = byMatch.get(route.match);
    if (job) {
      job.recipients.push(address);
      continue;
    }
    byMatch.set(route.match, {
      id: jobId(source.event, source.eventId ?? source.messageId, route.match),
      carrier: "webhook",
      lane: route.match,
      event: source.event,
      destination: route.url,
      recipients: [address],
      dueAt: source.now,
      expiresAt: source.now + config.webhook_max_age,
    });
  }
  return [...byMatch.values()];
}
