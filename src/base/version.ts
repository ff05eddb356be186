/** What this program calls itself; deno.json is where the version is written. */

import meta from "../../deno.json" with { type: "json" };
import { canServeTls, isPackagingTest } from "./runtime.ts";

export const VERSION: string = meta.version;

/** Put in by the build (packaging/build/bundle.ts); from source there is no such name. */
declare const GOMAIL_COMMIT: string | null;

const COMMIT: string | null = typeof GOMAIL_COMMIT === "undefined" ? null : GOMAIL_COMMIT;

/** What `gomail version` shows, by name. */
export function versionFacts() {
  return {
    version: VERSION,
    /** The commit it was built from; null from source, and from an archive without history. */
    commit: COMMIT,
    deno: Deno.version.deno,
    v8: Deno.version.v8,
    target: Deno.build.target,
    /** Whether this runtime can offer STARTTLS. */
    server_tls: canServeTls(),
    /** Made with another runtime than the one that is shipped: for testing the package only. */
    packaging_test: isPackagingTest(),
  };
}

/** `gomail 0.1.0 (commit 0123456789ab, Deno 2.9.6, V8 15.0, server TLS)` */
export function versionLine(): string {
  const { version, commit, deno, v8, server_tls, packaging_test } = versionFacts();
  const facts = [
    commit === null ? (Deno.build.standalone ? "commit unknown" : "from source") : `commit ${commit}`,
    `Deno ${deno}`,
    `V8 ${v8}`,
    server_tls ? "server TLS" : "no server TLS",
    ...(packaging_test ? ["packaging-test runtime"] : []),
  ];
  return `gomail ${version} (${facts.join(", ")})`;
}
