/**
 * Stored bytes as a response body. A large message is read from its file as fast as the client takes it, never
 * whole. If the file can't be read to its end, the connection is cut: the client has our Content-Length and sees
 * that something is missing, instead of an error text in the middle of somebody's mail.
 */

import { messageOf } from "../../base/errors.ts";
import type { MessageBytes } from "../../mail/types.ts";
import type { RawMessage } from "../../store/types.ts";
import type { ApiContext } from "./types.ts";

const CHUNK_BYTES = 64 * 1024;

export function lengthOf(bytes: MessageBytes): number {
  return bytes.kind === "memory" ? bytes.bytes.length : bytes.length;
}

/** A file name for Content-Disposition (RFC 6266, 8187): the ASCII form says little, the UTF-8 form all. */
export function attachmentDisposition(filename: string | null, fallback: string): string {
  // deno-lint-ignore no-control-regex -- control characters are what must go
  const noise = /[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069/\\]/g;
  const name = (filename ?? "").toWellFormed().replace(noise, "_").replace(/^\.+/, "_").slice(0, 200) ||
    fallback;
  const ascii = name.replace(/[^\x20-\x7e]|["%]/g, "_");
  const encoded = encodeURIComponent(name.toWellFormed()).replace(
    /['()*!]/g,
    (c) => "%" + c.charCodeAt(0).toString(16).toUpperCase(),
  );
  return `attachment; filename="${ascii}"; filename*=UTF-8''${encoded}`;
}

/** The message, or null when its file has gone meanwhile (retention is allowed to). */
export async function rawResponse(
  c: ApiContext,
  raw: RawMessage,
  headers: Record<string, string>,
): Promise<Response | null> {
  const length = raw.head.length + lengthOf(raw.body);
  const all = { ...headers, "content-length": String(length) };
  if (c.req.method === "HEAD") return new Response(null, { headers: all });
  if (raw.body.kind === "memory") {
    const bytes = new Uint8Array(length);
    bytes.set(raw.head);
    bytes.set(raw.body.bytes, raw.head.length);
    return new Response(bytes, { headers: all });
  }
  const body = await fileStream(c, raw.head, raw.body);
  return body && new Response(body, { headers: all });
}

async function fileStream(
  c: ApiContext,
  head: Uint8Array,
  body: Extract<MessageBytes, { kind: "file" }>,
): Promise<ReadableStream<Uint8Array> | null> {
  let file: Deno.FsFile;
  try {
    file = await Deno.open(body.path);
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return null;
    throw error;
  }
  try {
    await file.seek(body.offset, Deno.SeekMode.Start);
  } catch (error) {
    file.close();
    throw error;
  }
  // One chunk ahead of the client at most: memory does not grow with the mail or with slow readers.
  let left = body.length;
  let gone = false;
  return new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(head),
    async pull(controller) {
      try {
        const chunk = new Uint8Array(Math.min(CHUNK_BYTES, left));
        const read = left === 0 ? 0 : await file.read(chunk);
        if (read === null) throw new Error(`Cannot read the stored message: ${left} bytes are missing`);
        left -= read;
        if (read > 0) controller.enqueue(chunk.subarray(0, read));
        if (left > 0) return;
      } catch (error) {
        // The client hung up while we read: that is its right, and the file is closed.
        if (gone) return;
        c.get("log").error("HTTP download cut off", { error: messageOf(error) });
        c.env.outgoing.destroy();
      }
      file.close();
      controller.close();
    },
    cancel() {
      gone = true;
      file.close();
    },
  }, { highWaterMark: 1 });
}
