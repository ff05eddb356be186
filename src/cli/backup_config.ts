/**
 * The config's part of a backup: the file that holds, the secrets that it names in files of their own, and the DKIM
 * key that it names. Not the TLS key: it is renewed by whoever issued it, and would let a thief of the backup play the
 * server. Environment variables are not files; whoever sets them keeps them.
 */

import { load } from "../config/load.ts";
import { type ConfigKey, SECRET_KEYS } from "../config/schema.ts";
import { fileProblem } from "../base/places.ts";
import { messageOf } from "../base/errors.ts";
import type { Invocation } from "./command.ts";
import { loadInput } from "./context.ts";

const FILE_BYTES_MAX = 1024 * 1024;

export interface ConfigEntries {
  entries: { name: string; bytes: Uint8Array }[];
  /** What could not be read; a backup of the mail is worth more than none. */
  warnings: string[];
}

export function configEntries(invocation: Invocation): ConfigEntries {
  const result = load(loadInput(invocation));
  const config = result.ok ? result.config : result.partial;
  const entries: ConfigEntries["entries"] = [];
  const warnings: string[] = [];
  const take = (name: string, path: string) => {
    try {
      const bytes = invocation.io.readFile(path, FILE_BYTES_MAX);
      if (bytes.length > FILE_BYTES_MAX) warnings.push(`${path} is too large and not in the backup`);
      else entries.push({ name: `config/${name}`, bytes });
    } catch (error) {
      const { reason } = error instanceof Error ? fileProblem(path, error) : { reason: messageOf(error) };
      warnings.push(`${path} is not in the backup: ${reason}`);
    }
  };
  if (result.file !== null && result.file !== "-") take("gomail.yaml", result.file);
  for (const key of [...[...SECRET_KEYS].map((name) => `${name}_file`), "dkim_private_key_path"]) {
    const path = config[key as ConfigKey];
    if (typeof path === "string" && path !== "") take(key, path);
  }
  // By the routes' places, as problems name them.
  for (const [i, { secret_file: path }] of (config.routes ?? []).entries()) {
    if (path !== undefined) take(`routes_secret_file_${i}`, path);
  }
  return { entries, warnings };
}
