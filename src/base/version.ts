/** What this program calls itself; deno.json is where the version is written. */

import meta from "../../deno.json" with { type: "json" };

export const VERSION: string = meta.version;

/** `gomail 0.1.0 (Deno 2.9.6, V8 14.2)` */
export function versionLine(): string {
  return `gomail ${VERSION} (Deno ${Deno.version.deno}, V8 ${Deno.version.v8})`;
}
