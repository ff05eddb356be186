/**
 * Secrets in files of their own: `<key>_file` for each secret key, and `secret_file` in a route. A file is read
 * with every load, so that a reload takes a changed one, and nothing of what is in it belongs into a message.
 */

import { fileProblem } from "../base/places.ts";
import { printable } from "../base/printable.ts";
import type { Layer, Written } from "./layers.ts";
import { type Problem, showValue } from "./problem.ts";
import { type Route, SECRET_KEYS } from "./schema.ts";
import { webhookSecret } from "./schema_kinds.ts";

/** A token, not a key ring. */
const SECRET_FILE_BYTES_MAX = 65_536;

/** Reads at most one byte more than `bytesMax`; throws Deno.errors.NotFound where there is none. */
export type ReadFile = (path: string, bytesMax: number) => Uint8Array;

interface Findings {
  problems: Problem[];
  warnings: Problem[];
}

type Refuse = (problem: string, remedy: string) => void;

/** The secret, or null when it has been refused. One newline at the end is the editor's, not the secret's. */
function readSecret(path: string, readFile: ReadFile, refuse: Refuse): string | null {
  try {
    const bytes = readFile(path, SECRET_FILE_BYTES_MAX);
    if (bytes.length > SECRET_FILE_BYTES_MAX) {
      refuse("names a file that is too large", "name a file with the secret alone");
      return null;
    }
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes).replace(/\r?\n$/, "");
    if (text !== "") return text;
    refuse("names an empty file", "write the secret into it, or remove the key");
  } catch (error) {
    const notText = { reason: "it is not text", remedy: "write the secret alone into it" };
    const { reason, remedy } = error instanceof TypeError ? notText : fileProblem(path, error);
    refuse(`names a file that cannot be read: ${printable(reason)}`, remedy);
  }
  return null;
}

function refuser(path: string, written: Written, found: Findings): Refuse {
  const value = showValue(path, written.value);
  return (problem, remedy) => found.problems.push({ path, value, problem, remedy, source: written.source });
}

/** The value of `<key>_file` takes the place of the key. */
export function readSecretFiles(found: Findings & { layer: Layer }, readFile: ReadFile): void {
  for (const name of SECRET_KEYS) {
    const pathKey = `${name}_file`;
    const written = found.layer.get(pathKey);
    if (!written || typeof written.value !== "string" || written.value === "") continue;
    const refuse = refuser(pathKey, written, found);
    const direct = found.layer.get(name);
    const isBoth = direct !== undefined && direct.value !== "";
    // Two ways to write one key: the higher place wins as for any key, and the same place is a contradiction.
    if (isBoth && direct.rank > written.rank) {
      const problem = `is ignored: ${name} is set (${direct.source})`;
      found.warnings.push({ path: pathKey, problem, remedy: `remove ${pathKey}`, source: written.source });
      continue;
    }
    if (isBoth && direct.rank === written.rank) {
      refuse(`is set as well as ${name} (${direct.source})`, "keep one of the two");
      continue;
    }
    const text = readSecret(written.value, readFile, refuse);
    if (text !== null) found.layer.set(name, { ...written, value: text, source: `file ${written.value}` });
  }
}

/** The routes, each that names a `secret_file` with its secret. `source`: where the routes stand. */
export function withRouteSecrets(
  routes: readonly Route[],
  source: string,
  found: Findings,
  readFile: ReadFile,
): Route[] {
  return routes.map((route, i) => {
    const { secret_file: file } = route;
    if (file === undefined) return route;
    const refuse = refuser(`routes[${i}].secret_file`, { value: file, source, rank: 0 }, found);
    if (route.secret !== undefined) {
      refuse("is set as well as secret", "keep one of the two");
      return route;
    }
    const text = readSecret(file, readFile, refuse);
    if (text === null) return route;
    const secret = webhookSecret().safeParse(text);
    if (secret.success) return { ...route, secret: secret.data };
    const [issue] = secret.error.issues;
    refuse(`names a file whose text ${issue!.message}`, "write a generated secret alone into it");
    return route;
  });
}
