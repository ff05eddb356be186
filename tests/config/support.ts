/** Loading a config from texts instead of files, and comparing with golden files. */

import { assertEquals } from "@std/assert";
import {
  load,
  type LoadFailed,
  type LoadInput,
  type LoadOk,
  type LoadResult,
} from "../../src/config/load.ts";

export interface Sources {
  /** Files by path; the value is their text, their bytes, or the error that reading them gives. */
  files?: Record<string, string | Uint8Array | Error>;
  env?: Record<string, string>;
  flags?: Record<string, string>;
  configFile?: string;
}

export function readFrom(files: NonNullable<Sources["files"]>): LoadInput["readFile"] {
  return (path, bytesMax) => {
    const content = files[path];
    if (content === undefined) throw new Deno.errors.NotFound(`no ${path}`);
    if (content instanceof Error) throw content;
    const bytes = typeof content === "string" ? new TextEncoder().encode(content) : content;
    return bytes.subarray(0, bytesMax + 1);
  };
}

export function loadFrom({ files = {}, env = {}, flags = {}, configFile }: Sources): LoadResult {
  return load({
    configFile,
    flags: new Map(Object.entries(flags)),
    env: { get: (name) => env[name], names: () => Object.keys(env) },
    readFile: readFrom(files),
  });
}

/** A YAML text as the only source. */
export function loadYaml(yaml: string | Uint8Array): LoadResult {
  return loadFrom({ files: { "/c.yaml": yaml }, configFile: "/c.yaml" });
}

export function okOf(result: LoadResult): LoadOk {
  if (!result.ok) throw new Error("should load: " + JSON.stringify(result.problems, null, 1));
  return result;
}

export function failedOf(result: LoadResult): LoadFailed {
  if (result.ok) throw new Error("should not load");
  return result;
}

/** "path: problem" of each, for comparing. */
export function briefly(problems: readonly { path: string; problem: string }[]): string[] {
  return problems.map(({ path, problem }) => `${path}: ${problem}`);
}

/** Compares with a file of tests/golden; with GOLDEN_UPDATE=1 writes it, for review in the diff. */
export async function assertGolden(name: string, actual: string): Promise<void> {
  const path = new URL(`../golden/${name}`, import.meta.url);
  if (Deno.env.get("GOLDEN_UPDATE") === "1") await Deno.writeTextFile(path, actual);
  assertEquals(actual, await Deno.readTextFile(path));
}
