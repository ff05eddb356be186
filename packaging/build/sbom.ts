/**
 * What the executable is made of, as CycloneDX 1.5 JSON (ECMA-424): the runtime, and each package of npm whose code is
 * in the bundle, with the sums and dependencies that deno.lock has for it. Nothing in it depends on when or where it
 * was made.
 */

import { DENO_VERSION } from "./pins.ts";

interface LockedPackage {
  integrity?: string;
  dependencies?: string[];
}

export interface Lock {
  npm: Record<string, LockedPackage>;
}

/** `@scope/name@1.2.3_peer@4.5.6` -> `@scope/name@1.2.3` */
function plainKey(key: string): string {
  const at = key.indexOf("@", 1);
  return key.slice(0, at) + key.slice(at).split("_")[0]!;
}

const nameOf = (plain: string) => plain.slice(0, plain.indexOf("@", 1));

function hex(base64: string): string {
  return [...atob(base64)].map((c) => c.charCodeAt(0).toString(16).padStart(2, "0")).join("");
}

const refOf = (plain: string) => `pkg:npm/${plain.replace(/^@/, "%40")}`;

function component(plain: string, { integrity = "" }: LockedPackage) {
  const name = nameOf(plain);
  const digest = /^sha512-(.+)$/.exec(integrity)?.[1];
  return {
    type: "library",
    "bom-ref": refOf(plain),
    name,
    version: plain.slice(name.length + 1),
    purl: refOf(plain),
    ...(digest && { hashes: [{ alg: "SHA-512", content: hex(digest) }] }),
  };
}

export interface SbomOptions {
  lock: Lock;
  /** `name@version` of each library in the bundle. */
  inside: readonly string[];
  version: string;
  license: string;
  /** Of the runtime that was really used. */
  denoVersion?: string;
}

export function sbom({ lock, inside, version, license, denoVersion = DENO_VERSION }: SbomOptions) {
  const self = `pkg:generic/gomail@${version}`;
  const deno = `pkg:generic/deno@${denoVersion}`;
  const locked = new Map(Object.entries(lock.npm).map(([key, entry]) => [plainKey(key), entry]));
  const entryOf = (plain: string) => {
    const entry = locked.get(plain);
    if (!entry) throw new Error(`Cannot name ${plain} in the bill of materials: deno.lock does not have it`);
    return entry;
  };
  // A dependency stands as `name`, or as `name@version` where there are several.
  const needs = (plain: string) =>
    (entryOf(plain).dependencies ?? []).flatMap((wanted) =>
      inside.filter((other) => other === plainKey(wanted + "_") || nameOf(other) === wanted)
    );
  const part = (type: string, name: string, ref: string, at: string, id: string) => (
    { type, "bom-ref": ref, name, version: at, purl: ref, licenses: [{ license: { id } }] }
  );
  return {
    bomFormat: "CycloneDX",
    specVersion: "1.5",
    version: 1,
    metadata: { component: part("application", "gomail", self, version, license) },
    components: [
      part("platform", "deno", deno, denoVersion, "MIT"),
      ...inside.map((plain) => component(plain, entryOf(plain))),
    ],
    dependencies: [
      { ref: self, dependsOn: [deno, ...inside.map(refOf)] },
      ...inside.map((plain) => ({ ref: refOf(plain), dependsOn: needs(plain).map(refOf) })),
    ],
  };
}
