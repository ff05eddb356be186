/**
 * Reading a stored message piece by piece: its head from memory, its body from memory or from a file. The one
 * buffer is used again for each piece, so a reader that wants to keep bytes copies them.
 */

import type { MessageBytes } from "./types.ts";

/** A whole message: head first, then body. */
export interface MailSource {
  head: Uint8Array;
  body: MessageBytes;
}

const CHUNK_BYTES = 64 * 1024;

export function sourceSizeBytes(source: MailSource): number {
  const { head, body } = source;
  return head.length + (body.kind === "memory" ? body.bytes.length : body.length);
}

/** The message's bytes in order. Each piece is only good until the next is asked for. */
export async function* sourceChunks(source: MailSource): AsyncGenerator<Uint8Array> {
  yield source.head;
  const { body } = source;
  if (body.kind === "memory") {
    yield body.bytes;
    return;
  }
  using file = await Deno.open(body.path, { read: true });
  await file.seek(body.offset, Deno.SeekMode.Start);
  const buffer = new Uint8Array(Math.min(CHUNK_BYTES, body.length));
  for (let left = body.length; left > 0;) {
    const count = await file.read(buffer.subarray(0, Math.min(buffer.length, left)));
    if (count === null) throw new Error("Cannot read the message: its file is shorter than recorded");
    left -= count;
    yield buffer.subarray(0, count);
  }
}

/** All of it in one piece. For messages known to be small. */
export async function readSource(source: MailSource): Promise<Uint8Array> {
  const bytes = new Uint8Array(sourceSizeBytes(source));
  let at = 0;
  for await (const chunk of sourceChunks(source)) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
