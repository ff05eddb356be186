/** What the demo's scenes share: where they play, how long they wait, and how their checks are shown. */

import type { Checks } from "./checks.ts";
import type { Screen } from "./screen.ts";
import type { Stage } from "./stage.ts";

const POLL_MS = 20;

export interface PlayOptions {
  stage: Stage;
  screen: Screen;
  /** How long a webhook may take to arrive, and its job to be done. */
  patienceMs: number;
}

/** Asks again until it has something, or patience ends. */
export async function until<T>(
  patienceMs: number,
  ask: () => Promise<T | null> | T | null,
): Promise<T | null> {
  const deadline = performance.now() + patienceMs;
  for (;;) {
    const found = await ask();
    if (found !== null || performance.now() > deadline) return found;
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

export function showChecks(screen: Screen, checks: Checks): void {
  for (const wrong of checks.wrong) screen.mark(false, wrong);
  if (checks.wrong.length === 0) {
    screen.mark(true, `${checks.count} of ${checks.count} checks as they should be`);
  }
}
