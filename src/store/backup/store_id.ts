/**
 * Whose store a backup is of, where several hosts have one folder: no increment is built on another's, and retention
 * leaves those alone. A store is known by the key of its URLs, which it has for life and a restore brings back; of that
 * only a part of a sum is told.
 */

import { createHash } from "node:crypto";
import { join } from "node:path";
import type { Summary } from "./manifest.ts";

const DIGITS = 16;

/** Null for a store that no daemon has opened yet. */
export async function storeIdOf(dataDir: string): Promise<string | null> {
  try {
    const key = await Deno.readFile(join(dataDir, "url_key"));
    return createHash("sha256").update("gomail store\n").update(key).digest("hex").slice(0, DIGITS);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

/** Where one of both is not known, they count as the same. */
export function isOf(summary: Summary, store: string | null): boolean {
  return store === null || !summary.store || summary.store === store;
}
