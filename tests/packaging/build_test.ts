/** What can be said of the build without building: its pins, its permissions, its bill of materials. */

import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import meta from "../../deno.json" with { type: "json" };
import { GRANTS, permissionFlags } from "../../packaging/build/permissions.ts";
import { DENO_VERSION, FALLBACK, TARGETS } from "../../packaging/build/pins.ts";
import { sbom } from "../../packaging/build/sbom.ts";
import { canServeTls } from "../../src/base/runtime.ts";
import { test } from "../support/test.ts";

const read = (path: string) => Deno.readTextFile(new URL(`../../${path}`, import.meta.url));

test("README and CI name the pinned Deno and no other", async () => {
  for (const path of ["README.md", ".ci/run"]) {
    const named = [...(await read(path)).matchAll(/deno@(\d[\d.]*\d)/g)].map((match) => match[1]);
    assert(named.length > 0, path);
    assertEquals(new Set(named), new Set([DENO_VERSION]), path);
  }
});

test("every permission has its reason, and none is for everything but the network", () => {
  for (const { flag, values, why } of GRANTS) {
    assert(why.length > 20, flag);
    if (flag.startsWith("--allow-") && flag !== "--allow-net") assert(values && values.length > 0, flag);
  }
  const flags = permissionFlags();
  for (const wanted of ["--deny-run", "--deny-ffi", "--no-prompt", "--ignore-env"]) {
    assert(flags.includes(wanted));
  }
  assert(!flags.some((flag) => /^(?:-A|--allow-(?:all|run|ffi|import))/.test(flag)));
});

test("the bill of materials names each package that is inside, with its sum and what it needs of the others", async () => {
  const lock = JSON.parse(await read("deno.lock"));
  const inside = ["prom-client@15.1.3", "tdigest@0.1.3", "bintrees@1.0.2", "@hono/node-server@2.1.8"];
  const bill = sbom({ lock, inside, version: meta.version, license: meta.license });
  const refs = bill.components.map((component) => component["bom-ref"]);
  assertEquals(refs.slice(1), [
    "pkg:npm/prom-client@15.1.3",
    "pkg:npm/tdigest@0.1.3",
    "pkg:npm/bintrees@1.0.2",
    "pkg:npm/%40hono/node-server@2.1.8",
  ]);
  for (const component of bill.components.slice(1)) {
    assertMatch(JSON.stringify(component), /"alg":"SHA-512","content":"[0-9a-f]{128}"/);
  }
  const needs = Object.fromEntries(bill.dependencies.map(({ ref, dependsOn }) => [ref, dependsOn]));
  assertEquals(needs["pkg:npm/prom-client@15.1.3"], ["pkg:npm/tdigest@0.1.3"]);
  assertEquals(needs["pkg:npm/tdigest@0.1.3"], ["pkg:npm/bintrees@1.0.2"]);
  assertEquals(needs[`pkg:generic/gomail@${meta.version}`], refs);
  assertThrows(
    () => sbom({ lock, inside: ["leftpad@9.9.9"], version: "1", license: "MIT" }),
    Error,
    "leftpad",
  );
});

test("the fallback is for one of the platforms we build for, and known as unfit for TLS", () => {
  assert(TARGETS[FALLBACK.target]);
  assertEquals([canServeTls(FALLBACK.deno), canServeTls(DENO_VERSION)], [false, true]);
});
