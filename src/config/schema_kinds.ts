/**
 * The kinds of values that config keys can have, each with its reader and the words that tell a person what
 * to write instead. Every kind accepts what people write and gives what the program uses: durations become
 * milliseconds, sizes bytes, lists string[], domains A-labels.
 */

import { z } from "zod";
import { isRange, parseAddress } from "../base/address.ts";
import { parseNameServer } from "../base/dns_servers.ts";
import {
  DURATION_PATTERN,
  formatDuration,
  formatSize,
  mergeWildcards,
  parseDuration,
  parseHttpUrl,
  parseListen,
  parseSize,
  readDomain,
  SIZE_PATTERN,
  splitList,
} from "./notation.ts";

export type KeyKind = "boolean" | "integer" | "duration" | "size" | "text" | "choice" | "list" | "routes";

/** What is known about a key besides its type: everything that is printed about it is made from this. */
export interface KeyMeta {
  description: string;
  group: string;
  kind: KeyKind;
  /** How to write it, in the form that belongs into YAML. */
  example: string | number | boolean | readonly unknown[];
  unit?: string;
  /** In words, where the default is not a fixed value. */
  defaultNote?: string;
  /** Never shown, also from a file named by `<key>_file`. */
  secret?: boolean;
}

/** Ties a key's schema to what is known about it. */
export function key<S extends z.ZodType>(schema: S, meta: KeyMeta): S {
  return schema.meta({ ...meta });
}

/** No list in a config may be longer: it is matched against on hot paths. */
const LIST_ENTRIES_MAX = 10_000;
const DAY_MS = 86_400_000;

export function boolean() {
  return z.boolean({ error: "must be true or false" });
}

export function integer(min: number, max: number) {
  const error = `must be a whole number from ${min} to ${max}`;
  return z.int({ error }).min(min, { error }).max(max, { error });
}

/** Timers count in 31 bits of milliseconds, so that timeouts end below 24 days; ages may be longer. */
export function duration(minMs: number, maxMs = DAY_MS) {
  const error = "must be a duration such as 500ms, 30s, 5m, 1h or 3d, or whole seconds";
  return z.union([z.string().regex(DURATION_PATTERN, { error }), z.int({ error }).min(0, { error })], {
    error,
  }).transform(
    (value, context) => {
      const ms = parseDuration(value);
      if (ms === null || ms < minMs || ms > maxMs) {
        const range = `must be from ${formatDuration(minMs)} to ${formatDuration(maxMs)}`;
        context.addIssue({ code: "custom", message: ms === null ? error : range });
        return z.NEVER;
      }
      return ms;
    },
  );
}

export function size(minBytes: number, maxBytes = 2 ** 50) {
  const error = "must be a size such as 25MB, 10KB or 1GB, or whole bytes";
  return z.union([z.string().regex(SIZE_PATTERN, { error }), z.int({ error }).min(0, { error })], { error })
    .transform((value, context) => {
      const bytes = parseSize(value);
      if (bytes === null || bytes < minBytes || bytes > maxBytes) {
        const range = `must be from ${formatSize(minBytes)} to ${formatSize(maxBytes)}`;
        context.addIssue({ code: "custom", message: bytes === null ? error : range });
        return z.NEVER;
      }
      return bytes;
    });
}

/** Text without control characters: it ends up in headers, paths and protocol lines. */
export function text(what = "text") {
  const error = `must be ${what}`;
  // deno-lint-ignore no-control-regex -- refusing control characters is the point
  return z.string({ error }).min(1, { error }).max(4096, { error }).regex(/^[^\u0000-\u001f\u007f]*$/, {
    error,
  });
}

export function choice<const T extends readonly [string, ...string[]]>(...values: T) {
  const names = values.length === 1 ? values[0] : `${values.slice(0, -1).join(", ")} or ${values.at(-1)}`;
  return z.enum(values, { error: `must be ${names}` });
}

export function domain() {
  return text("a domain name such as example.com").transform((value, context) => {
    const name = readDomain(value);
    if (name === null) {
      context.addIssue({ code: "custom", message: "must be a domain name such as example.com" });
      return z.NEVER;
    }
    return name;
  });
}

export function httpUrl() {
  const error = "must be an http:// or https:// URL";
  return text("an http:// or https:// URL").refine((value) => parseHttpUrl(value) !== null, { error });
}

/** Something to bind or to connect to: a name or an address, without brackets or port. */
export function host() {
  const error = "must be a host name or an IP address";
  const isHost = (value: string) => parseAddress(value) !== null || readDomain(value) !== null;
  return text("a host name or an IP address").refine(isHost, { error });
}

const network = text("an IP address or network").refine(isRange, {
  error: "must be an IP address or a network such as 10.0.0.0/8",
});

/**
 * IP addresses and networks. `none` is the empty list: an empty variable means "not set", and could not say that
 * the default goes as well. No list of names has it, because there it could be one.
 */
export function networks() {
  return list(network, "IP addresses or networks, or none", (value) => value.trim() === "none");
}

export function nameServer() {
  return text("a name server").refine((value) => parseNameServer(value) !== null, {
    error: "must be an IP address, or ip:port",
  });
}

/** `whsec_` and base64 of 24 to 64 bytes, as the Standard Webhooks specification has it. */
export function webhookSecret() {
  const error = "must be whsec_ followed by the base64 of 24 to 64 random bytes";
  return text("a webhook secret").refine((value) => {
    const encoded = /^whsec_([A-Za-z0-9+/]+={0,2})$/.exec(value)?.[1];
    if (encoded === undefined || encoded.length % 4 !== 0) return false;
    const bytes = encoded.length / 4 * 3 - (encoded.length - encoded.replace(/=+$/, "").length);
    return bytes >= 24 && bytes <= 64;
  }, { error });
}

/**
 * A YAML list, or one comma-separated string (which is what environment and flags have), of which `isEmpty` may
 * know one that stands for no entry at all.
 */
export function list<T>(item: z.ZodType<T, string>, what: string, isEmpty = (_value: string) => false) {
  const error = `must be a list of ${what}`;
  const fromText = z.string().transform((value) => isEmpty(value) ? [] : splitList(value));
  return z.union([fromText, z.array(z.string({ error }))], { error })
    .pipe(z.array(item).max(LIST_ENTRIES_MAX, { error: `must have at most ${LIST_ENTRIES_MAX} entries` }));
}

/** Listen addresses; `off` is the empty list. */
export function listenList() {
  const error = "must be host:port, [v6]:port or unix:/path";
  const item = text("a listen address").refine((value) => parseListen(value) !== null, { error });
  return z.union([
    z.string().transform((value) => value.trim() === "off" ? [] : splitList(value)),
    z.array(z.string({ error })),
  ], { error: "must be a list of host:port, [v6]:port or unix:/path, or off" })
    .pipe(z.array(item).max(64, { error: "must have at most 64 entries" }))
    .transform(mergeWildcards);
}
