/**
 * How long the last stop took, handed from one run to the next in the data directory: a process that ends can't
 * be scraped any more, so gomail_shutdown_duration_seconds is told by its successor. After a crash there is
 * nothing to tell. None of this is worth a failed start or stop, so trouble is passed over.
 */

const FILE = "last_stop_ms";
/** More than shutdown_timeout can be; anything else is not ours. */
const MS_TEXT = /^\d{1,9}$/;

/** Call while the directory is still ours. */
export async function leaveStopDuration(dataDir: string, tookMs: number): Promise<void> {
  try {
    await Deno.writeTextFile(`${dataDir}/${FILE}`, String(Math.round(tookMs)), { mode: 0o600 });
  } catch {
    // A full disk: one observation is lost.
  }
}

/** Milliseconds, once: the next call finds nothing. */
export async function takeStopDuration(dataDir: string): Promise<number | null> {
  try {
    const text = await Deno.readTextFile(`${dataDir}/${FILE}`);
    await Deno.remove(`${dataDir}/${FILE}`);
    return MS_TEXT.test(text) ? Number(text) : null;
  } catch {
    // The first start, or one after a crash.
    return null;
  }
}
