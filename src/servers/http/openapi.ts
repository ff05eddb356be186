/**
 * /openapi.json (OpenAPI 3.1), made from the route table and the schemas that check requests: there is nothing
 * here to keep in step with the code.
 */

import { z, type ZodType } from "zod";
import { HTTP_STATUS, type HttpErrorType } from "../../base/errors.ts";
import { errorSchema } from "./schemas.ts";
import type { Route } from "./types.ts";

type Json = Record<string, unknown>;

/** What every route that needs a token may answer besides its own; 403 to a banned address. */
const ALWAYS: HttpErrorType[] = [
  "validation_error",
  "unauthorized",
  "forbidden",
  "request_timeout",
  "rate_limited",
  "headers_too_large",
  "internal_error",
  "service_unavailable",
  "timeout",
];

/** Of these, what only a token can be the reason of. */
const TOKEN_ERRORS: HttpErrorType[] = ["unauthorized", "forbidden"];

/** A bearer scheme's list names roles in OpenAPI 3.1 (4.8.30); ours are the scopes of tokens. */
function securityOf(route: Route): Json[] {
  if (route.access === "open" || route.access === "public") return [];
  const bearer = { bearer: route.scope === "any" ? [] : [route.scope] };
  return route.access === "signed" ? [bearer, { expires: [], signature: [] }] : [bearer];
}

function schemaOf(schema: ZodType, io: "input" | "output"): Json {
  // `$schema` belongs to whole documents; OpenAPI 3.1 already means draft 2020-12.
  const { $schema: _, ...rest } = z.toJSONSchema(schema, { io }) as Json;
  return rest;
}

/** The whole document. Schemas are written out where they are used: each operation can be read by itself. */
export function describe(routes: readonly Route[], version: string): Json {
  const paths: Record<string, Json> = {};
  for (const route of routes) {
    paths[route.path] = { ...paths[route.path], [route.method.toLowerCase()]: operation(route) };
  }
  return {
    openapi: "3.1.0",
    info: {
      title: "GoMail",
      version,
      summary: "Mail in by SMTP and HTTP, verified, durable, out by webhook; and mail out by HTTP, signed",
    },
    paths,
    components: {
      schemas: { Error: schemaOf(errorSchema, "output") },
      securitySchemes: {
        bearer: {
          type: "http",
          scheme: "bearer",
          description: "bearer_token, which may do everything, or a token of /v1/tokens that has the scope " +
            "named by the operation; the scope admin has all others",
        },
        expires: { type: "apiKey", in: "query", name: "expires" },
        signature: { type: "apiKey", in: "query", name: "signature" },
      },
    },
  };
}

function operation(route: Route): Json {
  return {
    summary: route.summary,
    operationId: operationId(route),
    security: securityOf(route),
    ...(route.parameters && { parameters: route.parameters.flatMap(parametersOf) }),
    ...(route.body && { requestBody: { required: true, content: contentOf(route.body) } }),
    responses: { ...answersOf(route), ...errorsOf(route) },
  };
}

/** `post_v1_messages_id_replay` */
function operationId(route: Route): string {
  return `${route.method.toLowerCase()}${route.path.replace(/[{}]/g, "").replace(/[^a-z0-9]+/gi, "_")}`;
}

function parametersOf(group: NonNullable<Route["parameters"]>[number]): Json[] {
  const { properties, required } = schemaOf(group.schema, "input") as {
    properties?: Record<string, Json>;
    required?: string[];
  };
  return Object.entries(properties ?? {}).map(([name, { description, ...schema }]) => ({
    name,
    in: group.in,
    required: group.in === "path" || (required ?? []).includes(name),
    ...(description !== undefined && { description }),
    schema,
  }));
}

function contentOf(body: NonNullable<Route["body"]>): Json {
  return Object.fromEntries(
    Object.entries(body).map((
      [media, schema],
    ) => [media, schema ? { schema: schemaOf(schema, "input") } : {}]),
  );
}

function answersOf(route: Route): Json {
  return Object.fromEntries(
    Object.entries(route.answers).map(([status, answer]) => [status, {
      description: answer.description,
      ...((answer.schema || answer.media) && {
        content: {
          [answer.media ?? "application/json"]: answer.schema
            ? { schema: schemaOf(answer.schema, "output") }
            : {},
        },
      }),
    }]),
  );
}

/** Health asks for nothing and so can fail at nothing; everything else shares the common errors. */
function errorsOf(route: Route): Json {
  const always = ALWAYS.filter((type) => route.access !== "public" || !TOKEN_ERRORS.includes(type));
  const types = [...new Set([...route.errors, ...(route.access === "open" ? [] : always)])];
  return Object.fromEntries(
    types.sort((a, b) => HTTP_STATUS[a] - HTTP_STATUS[b]).map((type) => [HTTP_STATUS[type], {
      description: type,
      content: { "application/json": { schema: { $ref: "#/components/schemas/Error" } } },
    }]),
  );
}
