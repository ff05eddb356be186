/** /openapi.json against the routes that are really there, and against what they really answer. */

import { assert, assertEquals } from "@std/assert";
import { HTTP_STATUS } from "../../../src/base/errors.ts";
import { createApp, routeTable } from "../../../src/servers/http/app.ts";
import { RateLimits } from "../../../src/servers/http/rate_limit.ts";
import { test } from "../../support/test.ts";
import { withDoor } from "./harness.ts";

interface Operation {
  operationId: string;
  security: unknown[];
  parameters?: { name: string; in: string; required: boolean; schema: Record<string, unknown> }[];
  requestBody?: { content: Record<string, { schema?: Record<string, unknown> }> };
  responses: Record<string, { content?: Record<string, { schema?: { $ref?: string } }> }>;
}

interface Document {
  openapi: string;
  paths: Record<string, Record<string, Operation>>;
}

test("Each route is in the description, and the other way round", () =>
  withDoor({}, async (h) => {
    const response = await h.call("/openapi.json");
    assertEquals([response.status, response.headers.get("content-type")], [200, "application/json"]);
    const document: Document = await response.json();
    assertEquals(document.openapi, "3.1.0");
    const described = Object.entries(document.paths).flatMap(([path, operations]) =>
      Object.keys(operations).map((method) => `${method.toUpperCase()} ${path}`)
    );
    const app = createApp(h.deps, { limits: new RateLimits(h.deps.clock), draining: () => false });
    const registered = app.routes.filter((route) => route.method !== "ALL")
      .map((route) => `${route.method} ${route.path.replace(/:(\w+)/g, "{$1}")}`);
    assertEquals(described.sort(), [...new Set(registered)].sort());
    assert(described.includes("POST /mail/send") && described.includes("GET /openapi.json"));
  }));

test("Every operation has its parameters, a name of its own, and only known statuses", () =>
  withDoor({}, async (h) => {
    const document: Document = await (await h.call("/openapi.json")).json();
    const ids: string[] = [];
    const statuses = [200, 201, 202, ...Object.values(HTTP_STATUS)].map(String);
    for (const [path, operations] of Object.entries(document.paths)) {
      for (const operation of Object.values(operations)) {
        ids.push(operation.operationId);
        const inPath = (operation.parameters ?? []).filter((p) => p.in === "path").map((p) => p.name);
        assertEquals(inPath, [...path.matchAll(/\{(\w+)\}/g)].map((found) => found[1]!), path);
        assert(Object.keys(operation.responses).every((status) => statuses.includes(status)), path);
        assert((operation.parameters ?? []).every((p) => Object.keys(p.schema).length > 0), path);
      }
    }
    assertEquals(new Set(ids).size, ids.length);
    const limit = document.paths["/v1/messages"]?.["get"]?.parameters?.find((p) => p.name === "limit");
    assertEquals(limit?.required, false);
    assertEquals([limit?.schema["minimum"], limit?.schema["maximum"], limit?.schema["default"]], [
      1,
      500,
      50,
    ]);
  }));

test("Only health is open, only unsubscribing public, and only downloads take signatures", () =>
  withDoor({}, (h) => {
    const routes = routeTable(h.deps);
    assertEquals(routes.filter((r) => r.access === "open").map((r) => r.path), [
      "/health",
      "/health/live",
      "/health/ready",
    ]);
    assertEquals(routes.filter((r) => r.access === "public").map((r) => `${r.method} ${r.path}`), [
      "GET /unsubscribe/{token}",
      "POST /unsubscribe/{token}",
    ]);
    assertEquals(
      routes.filter((r) => r.access === "signed").map((r) => r.path.replace(/^.*\}\/(?=\w)/, "")),
      [
        "raw",
        "attachments/{n}",
      ],
    );
    for (const route of routes.filter((r) => r.access === "signed")) assertEquals(route.method, "GET");
  }));
