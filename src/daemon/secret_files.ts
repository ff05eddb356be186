/**
 * Secrets as files of the data directory, 0600. They are written to a temporary name, synced and renamed, so that a
 * crash leaves the old file or the whole new one.
 */

const FILE_BYTES_MAX = 4096;

/** The secret, or null when there is no such file. Throws when it is there and no good. */
export async function readSecret(path: string): Promise<string | null> {
  try {
    const text = (await Deno.readTextFile(path)).trim();
    if (text.length === 0 || text.length > FILE_BYTES_MAX) {
      throw new Error(`Cannot use ${path}: it is empty or too long; remove it to have a new one made`);
    }
    return text;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
}

export async function putSecret(path: string, secret: string): Promise<void> {
  const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`;
  const file = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
  try {
    await file.write(new TextEncoder().encode(secret + "\n"));
    await file.sync();
  } finally {
    file.close();
  }
  await takeOverSecret(temporary, path);
}

/** `from` is `to` from here on, also after a power cut. */
export async function takeOverSecret(from: string, to: string): Promise<void> {
  await Deno.rename(from, to);
  await syncFolderOf(to);
}

/** One that is gone already is as it should be. */
export async function removeSecret(path: string): Promise<void> {
  try {
    await Deno.remove(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  await syncFolderOf(path);
}

/** A rename is on disk when its directory is. */
async function syncFolderOf(path: string): Promise<void> {
  const folder = await Deno.open(path.slice(0, path.lastIndexOf("/")));
  try {
    await folder.sync();
  } finally {
    folder.close();
  }
}
