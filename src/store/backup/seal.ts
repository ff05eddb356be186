/**
 * Encryption of a whole archive, by age (age-encryption.org/v1), so that Debian's `age` opens our files as well. Each
 * 64 KiB of it are authenticated: a file that was cut off or changed is found out while it is read. To encrypt for a
 * recipient takes no secret, so the host that makes backups need not be able to read them.
 */

import { Decrypter, Encrypter } from "age-encryption";
import { BackupError, BadArchive } from "./errors.ts";

/** What to encrypt for, or nothing. Not both: age allows a passphrase only alone. */
export interface SealFor {
  recipients: readonly string[];
  passphrase?: string | undefined;
}

/** What to open with. */
export interface OpenWith {
  identities: readonly string[];
  passphrase?: string | undefined;
}

const MAGIC = new TextEncoder().encode("age-encryption.org/v1");

type Bytes = ReadableStream<Uint8Array>;

/** Checks recipients before any work is done; null when nothing is to be encrypted. */
export function sealer({ recipients, passphrase }: SealFor): ((plain: Bytes) => Promise<Bytes>) | null {
  if (recipients.length === 0 && passphrase === undefined) return null;
  const encrypter = new Encrypter();
  for (const recipient of recipients) {
    try {
      encrypter.addRecipient(recipient);
    } catch {
      throw new BackupError("Cannot encrypt: a --recipient is no age recipient (age1...)");
    }
  }
  if (passphrase !== undefined) encrypter.setPassphrase(passphrase);
  return (plain) => encrypter.encrypt(plain as ReadableStream<Uint8Array<ArrayBuffer>>);
}

/** Puts back what was read to look at it. */
async function peek(stream: Bytes, count: number): Promise<{ first: Uint8Array; whole: Bytes }> {
  const reader = stream.getReader();
  const pieces: Uint8Array[] = [];
  let total = 0;
  while (total < count) {
    const { value, done } = await reader.read();
    if (done) break;
    pieces.push(value);
    total += value.length;
  }
  const first = new Uint8Array(pieces.flatMap((piece) => [...piece.subarray(0, count)])).subarray(0, count);
  const whole = new ReadableStream<Uint8Array>({
    async pull(controller) {
      const kept = pieces.shift();
      if (kept) return controller.enqueue(kept);
      const { value, done } = await reader.read();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    cancel: (reason) => reader.cancel(reason),
  });
  return { first, whole };
}

/** What fails while it is read is the file's content, unless the system says that it is the disk. */
async function* plainOrTold(plain: Bytes): AsyncGenerator<Uint8Array> {
  try {
    for await (const piece of plain) yield piece;
  } catch (error) {
    if (error instanceof Error && "code" in error) throw error;
    throw new BadArchive("it is cut off or was changed: its encryption does not hold");
  }
}

/** The archive behind the encryption, if there is one. What is wrong with it later comes as the stream's error. */
export async function opened(stream: Bytes, { identities, passphrase }: OpenWith): Promise<Bytes> {
  const { first, whole } = await peek(stream, MAGIC.length);
  if (first.length < MAGIC.length || MAGIC.some((byte, at) => byte !== first[at])) return whole;
  if (identities.length === 0 && passphrase === undefined) {
    await whole.cancel();
    throw new BadArchive("it is encrypted: --identity F or --passphrase-file F is needed");
  }
  const decrypter = new Decrypter();
  for (const identity of identities) {
    try {
      decrypter.addIdentity(identity);
    } catch {
      await whole.cancel();
      throw new BackupError("Cannot use the --identity: it holds no age identity (AGE-SECRET-KEY-1...)");
    }
  }
  if (passphrase !== undefined) decrypter.addPassphrase(passphrase);
  try {
    const plain = await decrypter.decrypt(whole as ReadableStream<Uint8Array<ArrayBuffer>>);
    return ReadableStream.from(plainOrTold(plain));
  } catch {
    await whole.cancel().catch(() => {
      // Locked by the decrypter, which has let go of the file.
    });
    throw new BadArchive("it can't be decrypted: it is for another identity or passphrase, or damaged");
  }
}

const HEADER_BYTES_MAX = 65_536;
const NONCE_BYTES = 16;
const PIECE_BYTES = 65_536;
const TAG_BYTES = 16;

/**
 * How many bytes are in an encrypted file, told by its size, without a key: what follows the header is a nonce, and
 * a tag for each 64 KiB (age-encryption.org/v1). Null when it can be none.
 */
export async function sealedContentBytes(path: string): Promise<number | null> {
  using file = await Deno.open(path, { read: true });
  const { size } = await file.stat();
  const start = new Uint8Array(Math.min(size, HEADER_BYTES_MAX));
  for (let at = 0, n; at < start.length && (n = await file.read(start.subarray(at))); at += n);
  const header = /^age-encryption\.org\/v1\n[^]*?\n--- [^\n]*\n/.exec(
    new TextDecoder("latin1").decode(start),
  );
  if (header === null) return null;
  const payload = size - header[0].length - NONCE_BYTES;
  const tags = Math.ceil(payload / (PIECE_BYTES + TAG_BYTES)) * TAG_BYTES;
  return payload > TAG_BYTES ? payload - tags : null;
}
