/**
 * /unsubscribe/{token}: the two ends of List-Unsubscribe (RFC 2369 3.2, RFC 8058). A mail program posts by itself
 * when its user presses "unsubscribe"; whoever opens the link gets a page with a button that posts the same.
 * GET changes nothing: scanners and previews fetch every link of a mail (RFC 8058 section 1).
 *
 * Open to everybody, since the token is the permission, but limited by address like all strangers. The page has no
 * script, loads nothing, and sends no Referer, because its own URL is the secret.
 */

import { z } from "zod";
import type { OutboundFlow } from "../../../outbound/types.ts";
import { checkMedia, limitsOf, readBody } from "../body.ts";
import { invalid, isProblem, problem } from "../problem.ts";
import type { ApiContext, HttpDeps, Problem, Route } from "../types.ts";

const PATH = "/unsubscribe/{token}";
const FORM = "application/x-www-form-urlencoded";
const MULTIPART = "multipart/form-data";
/** RFC 8058 section 3.1: the pair that the mail's List-Unsubscribe-Post promised. */
const FIELD = "List-Unsubscribe";
const VALUE = "One-Click";
/** It is one pair; a browser and a mail program may add their own. */
const BODY_BYTES_MAX = 16 * 1024;
const PAGE_POLICY = "default-src 'none'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

const tokenParameter = { in: "path", schema: z.object({ token: z.string() }) } as const;
const oneClick = z.looseObject({ [FIELD]: z.literal(VALUE) });

export function unsubscribeRoutes(deps: HttpDeps, outbound: OutboundFlow): Route[] {
  return [pageRoute(outbound), postRoute(deps, outbound)];
}

/** The token of the path, or null when it can't be one. */
function tokenOf(c: ApiContext): string | null {
  const token = c.req.param("token") ?? "";
  return /^[\x21-\x7e]{1,512}$/.test(token) ? token : null;
}

const unknown = (): Problem =>
  problem("not_found", "There is nothing to unsubscribe from here: the link is incomplete or not ours");

function pageRoute(outbound: OutboundFlow): Route {
  return {
    method: "GET",
    path: PATH,
    summary: "A page that asks before it unsubscribes; changes nothing",
    access: "public",
    parameters: [tokenParameter],
    answers: { 200: { description: "The page", media: "text/html" } },
    errors: ["not_found"],
    async handle(c) {
      const token = tokenOf(c);
      const address = token === null ? null : await outbound.readUnsubscribe(token);
      if (address === null) return unknown();
      return new Response(c.req.method === "HEAD" ? null : pageFor(address), {
        headers: {
          "content-type": "text/html; charset=utf-8",
          "content-security-policy": PAGE_POLICY,
          "referrer-policy": "no-referrer",
        },
      });
    },
  };
}

function postRoute(deps: HttpDeps, outbound: OutboundFlow): Route {
  return {
    method: "POST",
    path: PATH,
    summary: "Unsubscribes an address from mail like this (RFC 8058)",
    access: "public",
    parameters: [tokenParameter],
    body: { [FORM]: oneClick, [MULTIPART]: oneClick },
    answers: { 200: { description: "Done, now or earlier", media: "text/plain" } },
    errors: ["not_found", "validation_error", "payload_too_large", "unsupported_media_type"],
    async handle(c) {
      const wrong = checkMedia(c, [FORM, MULTIPART]);
      if (wrong) return wrong;
      const form = await readForm(c, deps);
      if (isProblem(form)) return form;
      if (form.get(FIELD) !== VALUE) return invalid([{ path: FIELD, problem: `must be ${VALUE}` }]);
      const token = tokenOf(c);
      // Whoever was told that it took too long must be able to believe that nothing was done.
      const done = token !== null && !c.get("signal").aborted && await outbound.unsubscribe(token);
      if (!done) return unknown();
      return new Response("You are unsubscribed and will get no more of these mails.\n", {
        headers: { "content-type": "text/plain; charset=utf-8", "referrer-policy": "no-referrer" },
      });
    },
  };
}

async function readForm(c: ApiContext, deps: HttpDeps): Promise<FormData | Problem> {
  const pieces: Uint8Array<ArrayBuffer>[] = [];
  const found = await readBody(c, limitsOf(c, deps, BODY_BYTES_MAX), (chunk) => {
    pieces.push(new Uint8Array(chunk));
    return null;
  });
  if (found) return found;
  try {
    const headers = { "content-type": c.req.header("content-type") ?? "" };
    return await new Response(new Blob(pieces), { headers }).formData();
  } catch {
    // Whatever is wrong with it, the answer is the same.
    return invalid([{ path: "body", problem: "is not a form" }]);
  }
}

function escaped(text: string): string {
  return text.replace(/[&<>"']/g, (char) => `&#${char.charCodeAt(0)};`);
}

function pageFor(address: string): string {
  return `<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Unsubscribe</title>
</head>
<body>
<h1>Unsubscribe</h1>
<p>Shall <bdi>${escaped(address)}</bdi> get no more of these mails?</p>
<form method="post">
<input type="hidden" name="${FIELD}" value="${VALUE}">
<button type="submit">Unsubscribe</button>
</form>
</body>
</html>
`;
}
