/**
 * When the last backup was made, as `gomail backup create` leaves it in the data directory: what an alarm goes by. The
 * command may be any user's, so what it wrote is read with care.
 */

const FILE = "last_backup.json";
const BYTES_MAX = 4096;

/** Unix milliseconds; 0 when there never was one, or when nothing can be made of the file. */
export async function lastBackupAt(dataDir: string): Promise<number> {
  try {
    using file = await Deno.open(`${dataDir}/${FILE}`, { read: true });
    const bytes = new Uint8Array(BYTES_MAX);
    const length = await file.read(bytes) ?? 0;
    const note: unknown = JSON.parse(new TextDecoder().decode(bytes.subarray(0, length)));
    const at = typeof note === "object" && note !== null && "at" in note ? Date.parse(String(note.at)) : NaN;
    return Number.isFinite(at) ? at : 0;
  } catch {
    // No backup yet; anything else is as good as none, and the alarm is right to ring.
    return 0;
  }
}
