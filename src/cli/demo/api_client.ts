/** Requests to the demo's own API, with its token and without. */

import type { Stage } from "./stage.ts";

export interface ApiAnswer {
  status: number;
  body: string;
  bytes: Uint8Array;
}

/** Nothing on loopback takes so long; it only keeps the demo from waiting for ever. */
const ANSWER_MS_MAX = 20_000;

async function request(url: string, init: RequestInit): Promise<ApiAnswer> {
  const response = await fetch(url, { ...init, signal: AbortSignal.timeout(ANSWER_MS_MAX) });
  const bytes = await response.bytes();
  return { status: response.status, bytes, body: new TextDecoder().decode(bytes) };
}

export async function callApi(
  { apiUrl, token }: Pick<Stage, "apiUrl" | "token">,
  path: string,
  init: RequestInit & { headers?: Record<string, string> } = {},
): Promise<ApiAnswer> {
  return await request(apiUrl + path, {
    ...init,
    headers: { ...init.headers, authorization: `Bearer ${token}` },
  });
}

export async function getText(url: string): Promise<ApiAnswer> {
  return await request(url, {});
}
