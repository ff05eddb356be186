/** The table of targets. Loaded one by one, so that each worker pays for its own libraries alone. */

import type { FuzzTarget } from "./property.ts";

type Load = () => Promise<{ open: () => FuzzTarget | Promise<FuzzTarget> }>;

export const TARGETS: ReadonlyMap<string, Load> = new Map<string, Load>([
  ["smtp", () => import("./targets/smtp.ts")],
  ["smtp_socket", () => import("./targets/smtp_socket.ts")],
  ["data_reader", () => import("./targets/data_reader.ts")],
  ["address", () => import("./targets/address.ts")],
  ["small_parsers", () => import("./targets/small_parsers.ts")],
  ["header", () => import("./targets/header.ts")],
  ["mime", () => import("./targets/mime.ts")],
  ["report", () => import("./targets/report.ts")],
  ["config", () => import("./targets/config.ts")],
  ["reload", () => import("./targets/reload.ts")],
  ["http", () => import("./targets/http.ts")],
  ["queue", () => import("./targets/queue.ts")],
  ["webhook", () => import("./targets/webhook.ts")],
  ["receiver", () => import("./targets/receiver.ts")],
  ["dns", () => import("./targets/dns.ts")],
  ["smtp_client", () => import("./targets/smtp_client.ts")],
  ["backup", () => import("./targets/backup.ts")],
  ["authenticate", () => import("./targets/authenticate.ts")],
]);

export async function openTarget(name: string): Promise<FuzzTarget> {
  const load = TARGETS.get(name);
  if (!load) throw new Error(`Cannot fuzz ${name}: known are ${[...TARGETS.keys()].join(", ")}`);
  return (await load()).open();
}
