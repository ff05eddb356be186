/** Why there is no backup, or why one is not restored: one line for the person at the keyboard, never an internal fault. */

export class BackupError extends Error {
  override readonly name = "BackupError";
}

/** Its sums are right, and what it holds is no sound store all the same. The reason by itself fits behind a colon. */
export class Unusable extends BackupError {
  constructor(readonly reason: string) {
    super(`Cannot use the backup: ${reason}`);
  }
}

/** What a reader finds wrong with an archive. The name of the file is put in front by whoever knows it. */
export class BadArchive extends BackupError {}

/** Throws a BackupError that says which file, when it was the archive's content. */
export function aboutFile(label: string, error: unknown): unknown {
  return error instanceof BadArchive ? new BackupError(`Cannot use ${label}: ${error.message}`) : error;
}
