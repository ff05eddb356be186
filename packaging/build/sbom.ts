/**
 * What the executable is made of, as CycloneDX 1.5 JSON (ECMA-424), from deno.lock: the runtime and each package of
 * npm that the program, and not its tests or its build, brings along. Nothing in it depends on when or where it
 * was made.
 */

import { DENO_VERSION } from "./pins.ts";

interface LockedPackage {
  integrity?: string;
  dependencies?: string[];
  optionalDependencies?: string[];
}

interface Lock {
  specifiers: Record<string, string>;
  npm: Record<string, LockedPackage>;
}

/** Of deno.json's imports, those that nothing in the executable uses. */
const DEVELOPMENT = new Set(["esbuild", "fast-check", "nodemailer", "standardwebhooks", "@std/assert"]);

/** `@scope/name@1.2.3_peer@4.5.6` -> name and version. */
function splitKey(key: string): { name: string; version: string } {
  const at = key.indexOf("@", 1);
  return { name: key.slice(0, at), version: key.slice(at + 1).split("_")[0]! };
}

/** A dependency stands as `name`, or as `name@version` where there are several. */
function findKey(lock: Lock, wanted: string): string {
  const key = Object.keys(lock.npm).find((k) =>
    k === wanted || splitKey(k).name === wanted || k.startsWith(`${wanted}_`)
  );
  if (!key) throw new Error(`deno.lock names ${wanted} and does not have it`);
  return key;
}

/** All packages that the given ones need, with themselves. */
function closure(lock: Lock, roots: readonly string[]): string[] {
  const found = new Set<string>();
  const visit = (wanted: string) => {
    const key = findKey(lock, wanted);
    if (found.has(key)) return;
    found.add(key);
    for (const next of lock.npm[key]!.dependencies ?? []) visit(next);
  };
  for (const root of roots) visit(root);
  return [...found].sort();
}

function component(lock: Lock, key: string) {
  const { name, version } = splitKey(key);
  const purl = `pkg:npm/${name.replace(/^@/, "%40")}@${version}`;
  const digest = /^sha512-(.+)$/.exec(lock.npm[key]!.integrity ?? "")?.[1];
  return {
    type: "library",
    "bom-ref": purl,
    name,
    version,
    purl,
    ...(digest && { hashes: [{ alg: "SHA-512", content: hex(digest) }] }),
  };
}

function hex(base64: string): string {
  return [...atob(base64)].map((c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

/** The packages inside, as keys of deno.lock. */
export function packagesInside(lock: Lock, imports: Record<string, string>): string[] {
  const roots = Object.entries(imports).filter(([name]) => !DEVELOPMENT.has(name)).map(([, specifier]) =>
    specifier.replace(/^npm:(@?[^@]+@[^/]+).*$/, "$1")
  );
  return closure(lock, [...new Set(roots)]);
}

export interface SbomOptions {
  lock: Lock;
  imports: Record<string, string>;
  version: string;
  license: string;
  /** Of the runtime that was really used. */
  denoVersion?: string;
}

export function sbom({ lock, imports, version, license, denoVersion = DENO_VERSION }: SbomOptions) {
  const self = `pkg:generic/gomail@${version}`;
  const deno = `pkg:generic/deno@${denoVersion}`;
  const libraries = packagesInside(lock, imports);
  const refOf = (wanted: string) => component(lock, findKey(lock, wanted))["bom-ref"];
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: {
      component: {
        type: "application",
        "bom-ref": self,
        name: "gomail",
        version,
        purl: self,
        licenses: [{ license: { id: license } }],
      },
    },
    components: [
      {
        type: "platform",
        "bom-ref": deno,
        name: "deno",
        version: denoVersion,
        purl: deno,
        licenses: [{ license: { id: "MIT" } }],
      },
      ...libraries.map((key) => component(lock, key)),
    ],
    dependencies: [
      { ref: self, dependsOn: [deno, ...libraries.map(refOf)] },
      ...libraries.map((key) => ({
        ref: refOf(key),
        dependsOn: (lock.npm[key]!.dependencies ?? []).map(refOf),
      })),
    ],
  };
}
