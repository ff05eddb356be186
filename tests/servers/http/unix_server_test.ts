/** The control socket's stand-in for runtimes whose node:http has none, spoken to by the commands' own client. */

import { assertEquals } from "@std/assert";
import { systemClock } from "../../../src/base/clock.ts";
import { Turns } from "../../../src/base/turns.ts";
import { withControl } from "../../../src/cli/control_client.ts";
import { serveOnUnixSocket } from "../../../src/servers/http/unix_server.ts";
import { test, withTempDir } from "../../support/test.ts";

test("a request on the unix socket is as much of a node request as the app looks at", () =>
  withTempDir(async (dir) => {
    const path = `${dir}/s`;
    const turns = new Turns(systemClock);
    const server = serveOnUnixSocket(path, async (request, { incoming, outgoing, door, expectsContinue }) => {
      outgoing.writeContinue();
      let body = "";
      for await (const chunk of incoming) body += new TextDecoder().decode(chunk);
      const { method, url } = request;
      const type = incoming.headers["content-type"] ?? null;
      const isRaw = incoming.rawHeaders.includes("host") && incoming.socket.remoteAddress === undefined;
      return Response.json({ method, path: new URL(url).pathname, body, type, door, isRaw, expectsContinue });
    }, turns);
    try {
      const shared = { door: "control", isRaw: true, expectsContinue: false };
      await withControl(path, async (client) => {
        assertEquals(await client.request("POST", "/v1/queue/hold", { body: { all: true } }), {
          ...shared,
          method: "POST",
          path: "/v1/queue/hold",
          body: '{"all":true}',
          type: "application/json",
        });
        assertEquals(await client.request("GET", "/health"), {
          ...shared,
          method: "GET",
          path: "/health",
          body: "",
          type: null,
        });
      });
    } finally {
      await server.close();
      turns.stop();
    }
  }));
