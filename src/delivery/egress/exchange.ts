/**
 * One request and its answer, from somebody who may mean ill. Redirects are not followed; headers are read up to
 * their limit, and the body up to its own, never decoded. What a parser skips has no limit by itself (interim
 * answers, RFC 9110 15.2; blank lines before the status and extensions of chunks, RFC 9112 2.2, 7.1.1), so all
 * bytes that come are counted as well.
 *
 * Failure rules: without a status there is no answer, and it is told as an EgressError; with one it is the answer,
 * however the body goes on.
 */

import http from "node:http";
import https from "node:https";
import type { Socket } from "node:net";
import { reasonText } from "../reason.ts";
import { type EgressAnswer, EgressError, type EgressRequest } from "./types.ts";

/** For what is neither header nor body: the framing of chunks, and a few interim answers. */
const OVERHEAD_BYTES_MAX = 128 * 1024;

type End = (failure: EgressError | null) => void;

export class Exchange {
  readonly #agent: http.Agent;
  readonly #request: EgressRequest;
  #reused = false;
  #receivedBytes = 0;
  #answer: EgressAnswer | null = null;

  constructor(agent: http.Agent, request: EgressRequest) {
    this.#agent = agent;
    this.#request = request;
  }

  /** It failed on a kept connection before a single byte came back. */
  get stale(): boolean {
    return this.#reused && this.#receivedBytes === 0;
  }

  run(): Promise<EgressAnswer> {
    const { body, signal } = this.#request;
    return new Promise((resolve, reject) => {
      const request = this.#open();
      const lost = new EgressError("connection lost");
      let stopCounting = () => {};
      let settled = false;
      const end: End = (failure) => {
        if (settled) return;
        settled = true;
        signal.removeEventListener("abort", abort);
        stopCounting();
        if (this.#answer) resolve(Object.assign(this.#answer, { cut: failure?.message ?? null }));
        else reject(failure ?? lost);
        // An answer read to its end leaves the connection for the next request; anything else ends it, an answer
        // before we were done as well: who reads no more would hold our bytes for ever.
        if (!failure && request.writableFinished) return;
        // Destroyed on a kept connection, Deno's request is sent again on a new one, past every deadline; one that
        // looks new is not.
        request.reusedSocket = false;
        request.destroy();
      };
      const abort = () => end(new EgressError("no answer in time"));
      signal.addEventListener("abort", abort, { once: true });
      request.on("error", (error) => end(new EgressError(reasonText(error))));
      request.on("close", () => end(lost));
      request.on("socket", (socket) => {
        this.#reused = request.reusedSocket;
        stopCounting = this.#count(socket, end);
      });
      // 101 is an answer too, though not one that anybody should give.
      request.on("upgrade", (response, socket) => {
        this.#answer = { status: 101, headers: response.headers, body: null, cut: null };
        socket.destroy();
        end(null);
      });
      request.on("response", (response) => this.#read(response, end));
      if (signal.aborted) return abort();
      request.end(body);
    });
  }

  #open(): http.ClientRequest {
    const { url, method, headers, body, headerBytesMax } = this.#request;
    try {
      return (url.protocol === "https:" ? https : http).request(url, {
        method,
        agent: this.#agent,
        headers: body ? { ...headers, "content-length": String(body.length) } : headers,
        maxHeaderSize: headerBytesMax,
      });
    } catch (error) {
      // A header or path that can't be sent, or a permission that the runtime does not have.
      throw new EgressError(reasonText(error), { cause: error });
    }
  }

  /** Before the parser gets them: it is told of an error in the middle of a chunk. */
  #count(socket: Socket, end: End): () => void {
    const { headerBytesMax, bodyBytesMax } = this.#request;
    const bytesMax = headerBytesMax + bodyBytesMax + OVERHEAD_BYTES_MAX;
    const count = (chunk: Uint8Array) => {
      this.#receivedBytes += chunk.length;
      if (this.#receivedBytes > bytesMax) end(new EgressError("the answer is too long"));
    };
    socket.prependListener("data", count);
    return () => void socket.removeListener("data", count);
  }

  #read(response: http.IncomingMessage, end: End): void {
    const { bodyBytesMax, wantsBody } = this.#request;
    const head = { status: response.statusCode ?? 0, headers: response.headers };
    const answer: EgressAnswer = { ...head, body: null, cut: null };
    this.#answer = answer;
    const isWanted = wantsBody?.(head);
    if (isWanted === false) return end(new EgressError("not wanted"));
    const chunks: Uint8Array[] = [];
    let bodyBytes = 0;
    response.on("data", (chunk: Uint8Array) => {
      bodyBytes += chunk.length;
      if (bodyBytes > bodyBytesMax) return end(new EgressError("the body is too long"));
      if (isWanted) chunks.push(chunk.slice());
    });
    response.on("end", () => {
      if (isWanted && bodyBytes <= bodyBytesMax) answer.body = joined(chunks, bodyBytes);
      end(null);
    });
    response.on("error", (error) => end(new EgressError(reasonText(error))));
    response.on("aborted", () => end(new EgressError("connection lost")));
  }
}

function joined(chunks: readonly Uint8Array[], size: number): Uint8Array {
  const bytes = new Uint8Array(size);
  let at = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, at);
    at += chunk.length;
  }
  return bytes;
}
