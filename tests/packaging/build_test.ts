/** What can be said of the build without building: its pins, its permissions, its bill of materials. */

import { assert, assertEquals, assertMatch } from "@std/assert";
import meta from "../../deno.json" with { type: "json" };
import { GRANTS, permissionFlags } from "../../packaging/build/permissions.ts";
import { DENO_VERSION, FALLBACK, TARGETS } from "../../packaging/build/pins.ts";
import { packagesInside, sbom } from "../../packaging/build/sbom.ts";
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

test("the bill of materials names each package inside once, with its sum, and no tool of ours", async () => {
  const lock = JSON.parse(await read("deno.lock"));
  const { imports, version, license } = meta;
  const bill = sbom({ lock, imports, version, license });
  const refs = bill.components.map((component) => component["bom-ref"]);
  assertEquals(new Set(refs).size, refs.length);
  assertEquals(bill.components.length, packagesInside(lock, imports).length + 1);
  for (const wanted of ["hono", "zod", "mailauth", "prom-client", "postal-mime", "tdigest", "bintrees"]) {
    assert(bill.components.some((component) => component.name === wanted), wanted);
  }
  for (const tool of ["esbuild", "fast-check", "standardwebhooks"]) {
    assert(!bill.components.some((component) => component.name === tool), tool);
  }
  for (const component of bill.components.slice(1)) {
    assertMatch(JSON.stringify(component), /"alg":"SHA-512","content":"[0-9a-f]{128}"/);
  }
  for (const { dependsOn } of bill.dependencies) for (const ref of dependsOn) assert(refs.includes(ref), ref);
});

test("the fallback is for one of the platforms we build for, and known as unfit for TLS", () => {
  assert(TARGETS[FALLBACK.target]);
  assertEquals([canServeTls(FALLBACK.deno), canServeTls(DENO_VERSION)], [false, true]);
});
