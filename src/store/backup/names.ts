/**
 * The names that an entry of a backup may have: a closed grammar, so that an archive made by somebody else can name
 * no place but those that a data directory has. Each kind has a size that is never exceeded.
 */

export type EntryKind = "chunk" | "blob" | "dkim" | "secret" | "config" | "manifest" | "sums";

const MIB = 1024 * 1024;
/** The largest size that eleven octal digits of a header can say is 8 GiB - 1; no mail comes near. */
const BLOB_BYTES_MAX = 4096 * MIB;
export const MANIFEST = "manifest.json";
export const SUMS = "manifest.sha256";
export const DATABASE = "gomail.db";
/** What is not chunk or blob is small, and read whole. */
export const SMALL_BYTES_MAX = MIB;
export const MANIFEST_BYTES_MAX = 512 * MIB;
export const SECRET_FILES = ["webhook_secret", "webhook_secret_next", "url_key"] as const;

const LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?";
const GRAMMAR: readonly [EntryKind, RegExp, number][] = [
  ["chunk", /^gomail\.db\/\d{15}$/, MIB],
  ["blob", /^blobs\/\d{4}-\d{2}\/\d{2}\/[A-Za-z0-9_-]{1,64}$/, BLOB_BYTES_MAX],
  ["dkim", new RegExp(`^dkim/${LABEL}(?:\\.${LABEL})*/${LABEL}\\.pem$`), SMALL_BYTES_MAX],
  ["secret", new RegExp(`^(?:${SECRET_FILES.join("|")})$`), SMALL_BYTES_MAX],
  ["config", /^config\/[a-z_]{1,64}(?:_\d{1,4}|\.yaml)?$/, SMALL_BYTES_MAX],
  ["manifest", /^manifest\.json$/, MANIFEST_BYTES_MAX],
  ["sums", /^manifest\.sha256$/, SMALL_BYTES_MAX],
];

export interface KnownName {
  kind: EntryKind;
  bytesMax: number;
}

/** What an entry of this name is, or null when no backup has such a one. */
export function knownName(name: string): KnownName | null {
  const found = GRAMMAR.find(([, pattern]) => pattern.test(name));
  return found ? { kind: found[0], bytesMax: found[2] } : null;
}

/** A piece of the database is named by where it begins, so that the names' order is the file's. */
export function chunkName(offset: number): string {
  return `${DATABASE}/${String(offset).padStart(15, "0")}`;
}

export function chunkOffset(name: string): number {
  return Number(name.slice(DATABASE.length + 1));
}

/** Sixteen hex digits that tell backups apart, also those of one second. */
export const BACKUP_ID = /^[0-9a-f]{16}$/;
/** The files that we name ourselves, and no others, are looked at by retention. */
const FILE_NAME = /^gomail-\d{8}T\d{6}Z-([0-9a-f]{16})\.(full|incremental)\.tar(\.age)?$/;

export function fileNameOf(
  { id, createdAt, kind, sealed }: {
    id: string;
    createdAt: number;
    kind: "full" | "incremental";
    sealed: boolean;
  },
): string {
  const time = new Date(createdAt).toISOString().replace(/\.\d+Z$/, "Z").replace(/[-:]/g, "");
  return `gomail-${time}-${id}.${kind}.tar${sealed ? ".age" : ""}`;
}

/** The id in a name that we gave, else null. */
export function idInFileName(name: string): string | null {
  return FILE_NAME.exec(name)?.[1] ?? null;
}
