/**
 * The one source of what a config is. Types, defaults, JSON schema, `config example`, `config show`,
 * `validate` and the flags of the command line are all made from the schema below; nothing else lists the
 * keys.
 */

import { z } from "zod";
import { deliveryKeys } from "./schema_delivery.ts";
import { key, type KeyMeta, text } from "./schema_kinds.ts";
import { serverKeys } from "./schema_server.ts";
import { smtpKeys } from "./schema_smtp.ts";

export type { KeyKind, KeyMeta } from "./schema_kinds.ts";
export { EVENT_NAMES } from "./schema_delivery.ts";

/** `<key>_file` for each secret: systemd credentials and container secrets are files. */
function secretFile(secret: string, group: string) {
  return key(text("a path").optional(), {
    description:
      `A file with the value of ${secret}, so that it stands in no config, environment or process list.`,
    group,
    kind: "text",
    example: `/run/credentials/gomail.service/${secret}`,
  });
}

const secretFileKeys = {
  bearer_token_file: secretFile("bearer_token", "HTTP API"),
  webhook_secret_file: secretFile("webhook_secret", "Webhooks"),
  webhook_secret_next_file: secretFile("webhook_secret_next", "Webhooks"),
  webhook_bearer_token_file: secretFile("webhook_bearer_token", "Webhooks"),
  dkim_passphrase_file: secretFile("dkim_passphrase", "Outgoing mail"),
};

const shape = { ...serverKeys, ...smtpKeys, ...deliveryKeys, ...secretFileKeys };

/** What people write goes in, a Config comes out. */
export const configSchema = z.strictObject(shape);

type Output = z.output<typeof configSchema>;
export type ConfigKey = keyof Output & string;

/**
 * Durations in milliseconds, sizes in bytes, lists as string[]; what is not set and has no default is
 * undefined.
 */
export type Config = { [K in ConfigKey]: Output[K] };

export type Route = Config["routes"][number];

/** Every key with what is known about it, in the order in which it is shown. */
export const CONFIG_KEYS: ReadonlyMap<ConfigKey, KeyMeta> = new Map(
  Object.entries(shape).map(([name, schema]) => [name as ConfigKey, schema.meta() as unknown as KeyMeta]),
);

/** The secrets, each of which also has a `<key>_file`. */
export const SECRET_KEYS: readonly ConfigKey[] = [...CONFIG_KEYS].filter(([, meta]) => meta.secret)
  .map(([name]) => name);

/** A config of defaults and the given values, written as a person would. For tests, demo and benchmark. */
export function configOf(values: z.input<typeof configSchema> = {}): Config {
  return configSchema.parse(values) as Config;
}
