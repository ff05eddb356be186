/**
 * Where the executable may read and write: the one list, which the build turns into its permissions
 * (packaging/build/permissions.ts) and messages name. They are fixed when it is compiled, so a path outside can't
 * be allowed by whoever runs it, only brought inside; what is said about one says so. From source, with all
 * permissions, nothing is outside.
 */

/** Its places on a host, read and written. */
export const OWN_PLACES = ["/var/lib/gomail", "/run/gomail", "/var/backups/gomail"];

/** A downloaded executable runs where it lies, with its data beside it; the demo lives in the temporary directory. */
export const TRY_OUT_PLACES = [".", "/tmp"];

/** Configuration, certificates and secrets that an administrator puts there: read only. */
export const CONFIG_PLACES = [
  "/etc/gomail",
  "/etc/gomail.yaml",
  "/etc/letsencrypt",
  "/etc/ssl",
  "/run/credentials",
];

/** Deno's words for a path that the permissions leave out. */
const OUTSIDE = /^Requires (read|write) access to (?:"(.*?)"|<(TMP)>)/;

/** Whether a path is outside, and in which way. */
export function outsideAccess(error: unknown): "read" | "write" | null {
  if (!(error instanceof Deno.errors.NotCapable)) return null;
  return OUTSIDE.exec(error.message)?.[1] === "write" ? "write" : "read";
}

const WHERE = {
  read: "outside the places that this executable may read",
  write: "outside the places that this executable may write to",
} as const;

const REMEDY = {
  read: "put a copy below /etc/gomail",
  write: `use ${OWN_PLACES[0]}, a path below the working directory, or a bind mount of the other disk there`,
} as const;

/**
 * The error's message; for a path outside, one that says so in place of the runtime's advice to compile anew, and what
 * to do: `remedy` where this use of a path has another than most.
 */
export function plainMessage(error: Error, remedy?: string): string {
  const access = outsideAccess(error);
  const [, , path, temporary] = OUTSIDE.exec(error.message) ?? [];
  if (temporary) {
    return `the temporary directory is ${WHERE.write}: set TMPDIR to /tmp, or to a directory below it`;
  }
  return access === null || path === undefined
    ? error.message
    : `${path} is ${WHERE[access]}: ${remedy ?? REMEDY[access]}`;
}

/** What a link leads to, in words, or nothing: a refusal that names the link sends people to the wrong file. */
function linkTarget(path: string): string {
  try {
    return ` (it is a link to ${Deno.readLinkSync(path)})`;
  } catch {
    // No link, or one that can't be looked at.
    return "";
  }
}

export interface FileProblem {
  reason: string;
  remedy: string;
}

/** Why a file can't be read, in words that don't repeat its path, and what to do. */
export function fileProblem(path: string, error: unknown): FileProblem {
  const readable = "make it readable for this user";
  if (outsideAccess(error)) return { reason: `it is ${WHERE.read}`, remedy: REMEDY.read };
  if (error instanceof Deno.errors.PermissionDenied) {
    return { reason: `permission denied${linkTarget(path)}`, remedy: readable };
  }
  if (error instanceof Deno.errors.NotFound) {
    return { reason: `no such file${linkTarget(path)}`, remedy: "name an existing file" };
  }
  const isDirectory = error instanceof Error && /is a directory/i.test(error.message);
  return { reason: isDirectory ? "it is a directory" : "input/output error", remedy: readable };
}

/** The same for a socket that is to be bound or called: its place is all that can be mended. */
export const SOCKET_OUTSIDE = {
  reason: "is outside the places that this executable may touch",
  remedy: `use a socket below ${OWN_PLACES[1]}, or one on a loopback port`,
} as const;

/** For a place that will be written to later: what is wrong with it, or null when it is inside. */
export function outsideToWrite(path: string): FileProblem | null {
  const { state } = Deno.permissions.querySync({ name: "write", path });
  return state === "granted" ? null : { reason: `is ${WHERE.write}`, remedy: REMEDY.write };
}
