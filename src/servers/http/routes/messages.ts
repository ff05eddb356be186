/**
 * /v1/messages: what was stored. Bytes go out exactly as they lie there and as downloads, never as pages: what a
 * stranger sent must not run in anybody's browser under our name.
 */

import { z } from "zod";
import { isId } from "../../../base/id.ts";
import { readQuery } from "../body.ts";
import { isProblem, json, problem } from "../problem.ts";
import { messageItem, messageQuery, messageSchema, pageOf } from "../schemas.ts";
import { jobItem, messageWithJobsSchema } from "../schemas_queue.ts";
import { attachmentDisposition, rawResponse } from "../stored_bytes.ts";
import type { ApiContext, HttpDeps, Problem, Route } from "../types.ts";

/** A mail to many has more: one for each recipient, and the webhooks of what became of them. */
const JOBS_MAX = 500;
/** If a browser shows it all the same: no script, no form, no origin (CSP 3, sandbox). */
const DOWNLOAD_POLICY = "sandbox; default-src 'none'";

const idParameter = { in: "path", schema: z.object({ id: z.string() }) } as const;

export function messageRoutes(deps: HttpDeps): Route[] {
  return [listRoute(deps), showRoute(deps), rawRoute(deps), attachmentRoute(deps), replayRoute(deps)];
}

/** The id of the path, or null when it can't be one: no need to ask the store. */
function idOf(c: ApiContext): string | null {
  const id = c.req.param("id") ?? "";
  return isId(id) ? id : null;
}

const unknown = (): Problem => problem("not_found", "There is no such message");

function listRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/messages",
    summary: "Stored messages, newest first",
    access: "token",
    scope: "read",
    parameters: [{ in: "query", schema: messageQuery }],
    answers: { 200: { description: "A page of messages", schema: pageOf(messageSchema) } },
    errors: ["validation_error"],
    async handle(c) {
      const query = readQuery(c, messageQuery);
      if (isProblem(query)) return query;
      const { limit, cursor, ...filter } = query.value;
      const page = await deps.store.listMessages(filter, { limit, cursor });
      return json({ items: page.items.map(messageItem), next_cursor: page.nextCursor });
    },
  };
}

function showRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/messages/{id}",
    summary: "One message and the jobs that it caused",
    access: "token",
    scope: "read",
    parameters: [idParameter],
    answers: { 200: { description: "The message", schema: messageWithJobsSchema } },
    errors: ["not_found"],
    async handle(c) {
      const id = idOf(c);
      const message = id && await deps.store.getMessage(id);
      if (!message) return unknown();
      const jobs = await deps.store.listJobs({ messageId: message.id }, { limit: JOBS_MAX });
      return json({
        ...messageItem(message),
        jobs: jobs.items.map(jobItem),
        jobs_more: jobs.nextCursor !== null,
        jobs_next_cursor: jobs.nextCursor,
      });
    },
  };
}

function rawRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/messages/{id}/raw",
    summary: "The message's exact bytes",
    access: "signed",
    scope: "read",
    parameters: [idParameter],
    answers: { 200: { description: "The message", media: "message/rfc822" } },
    errors: ["forbidden", "not_found"],
    async handle(c) {
      const id = idOf(c);
      const raw = id && await deps.store.readRaw(id);
      const response = raw && await rawResponse(c, raw, {
        "content-type": "message/rfc822",
        "content-disposition": attachmentDisposition(`${id}.eml`, "message.eml"),
        "content-security-policy": DOWNLOAD_POLICY,
      });
      return response || unknown();
    },
  };
}

function attachmentRoute(deps: HttpDeps): Route {
  return {
    method: "GET",
    path: "/v1/messages/{id}/attachments/{n}",
    summary: "One decoded attachment, counted from 0 as in the webhook",
    access: "signed",
    scope: "read",
    parameters: [{ in: "path", schema: z.object({ id: z.string(), n: z.int().min(0) }) }],
    answers: { 200: { description: "The attachment", media: "application/octet-stream" } },
    errors: ["forbidden", "not_found"],
    async handle(c) {
      const id = idOf(c);
      const n = c.req.param("n") ?? "";
      const found = id && /^\d{1,6}$/.test(n) && await deps.attachment(id, Number(n));
      if (!found) return problem("not_found", "There is no such attachment");
      return new Response(c.req.method === "HEAD" ? null : found.content as Uint8Array<ArrayBuffer>, {
        headers: {
          "content-type": safeType(found.contentType),
          "content-length": String(found.content.length),
          "content-disposition": attachmentDisposition(found.filename, `attachment-${n}`),
          "content-security-policy": DOWNLOAD_POLICY,
        },
      });
    },
  };
}

/** The sender wrote this type: only plain `type/subtype` gets into our header. */
function safeType(type: string): string {
  return /^[a-z0-9!#$&^_.+-]{1,100}\/[a-z0-9!#$&^_.+-]{1,100}$/i.test(type)
    ? type
    : "application/octet-stream";
}

function replayRoute(deps: HttpDeps): Route {
  return {
    method: "POST",
    path: "/v1/messages/{id}/replay",
    summary: "Delivers the message's webhooks again, with their own ids",
    access: "token",
    scope: "admin",
    parameters: [idParameter],
    answers: { 200: { description: "How many", schema: z.object({ replayed: z.int() }) } },
    errors: ["not_found"],
    async handle(c) {
      const id = idOf(c);
      const replayed = id === null ? null : await deps.replay(id);
      return replayed === null ? unknown() : json({ replayed });
    },
  };
}
