/** A webhook receiver that only counts: the id of each mail and when it came first. Answers 200 at once. */

import http from "node:http";
import { Buffer } from "node:buffer";

export interface LoadReceiver {
  port: number;
  /** Message id -> milliseconds (performance.now) of its first arrival. */
  received: Map<string, number>;
  close(): Promise<void>;
}

const ID = /"id":"([0-7][0-9A-HJKMNP-TV-Z]{25})"/;

export async function startLoadReceiver(): Promise<LoadReceiver> {
  const received = new Map<string, number>();
  const server = http.createServer((request, response) => {
    let head = "";
    request.on("data", (chunk: Buffer) => {
      if (head.length < 4096) head += chunk.toString("latin1", 0, 4096);
    });
    request.on("end", () => {
      const id = ID.exec(head)?.[1];
      if (id && !received.has(id)) received.set(id, performance.now());
      response.writeHead(200, { "content-length": "0" }).end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  return {
    port,
    received,
    close: () =>
      new Promise((resolve) => {
        server.closeAllConnections();
        server.close(() => resolve());
      }),
  };
}
