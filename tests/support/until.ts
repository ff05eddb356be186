/** Waiting by looking: a test goes on as soon as what it waits for is there, and says what never came. */

/** A last resort against a test that would hang; nothing is judged by it. */
const PATIENCE_MS = 60_000;
const LOOK_MS = 10;

export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  patienceMs = PATIENCE_MS,
): Promise<void> {
  const giveUp = performance.now() + patienceMs;
  while (!await condition()) {
    if (performance.now() > giveUp) throw new Error(`Waited in vain for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
}
