/** Deno.test with the op and resource sanitizers on (they are off by default): a test must clean up what it starts. */

export function test(name: string, fn: (t: Deno.TestContext) => void | Promise<void>): void {
  Deno.test({ name, fn, sanitizeOps: true, sanitizeResources: true });
}

/** A temporary directory that is gone when the callback ends. */
export async function withTempDir<T>(fn: (dir: string) => Promise<T>): Promise<T> {
  const dir = await Deno.makeTempDir({ prefix: "gomail-test-" });
  try {
    return await fn(dir);
  } finally {
    await Deno.remove(dir, { recursive: true });
  }
}

/** Registers a test that is reported as skipped, with its reason, where a component is missing; never in CI. */
export function testIf(
  available: boolean,
  reason: string,
  name: string,
  fn: (t: Deno.TestContext) => void | Promise<void>,
): void {
  if (available || Deno.env.get("CI") === "true") return test(name, fn);
  Deno.test({ name: `${name} (skipped: ${reason})`, ignore: true, fn });
}
