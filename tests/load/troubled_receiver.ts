/** Two receivers in trouble: one takes 5 s for each answer, the other reads and never answers. */

import http from "node:http";

export interface TroubledReceiver {
  slowUrl: string;
  neverUrl: string;
  close(): Promise<void>;
}

const SLOW_MS = 5000;

async function start(answer: (response: http.ServerResponse) => void) {
  const server = http.createServer((request, response) => {
    request.resume();
    request.on("end", () => answer(response));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  const close = () =>
    new Promise<void>((resolve) => {
      server.closeAllConnections();
      server.close(() => resolve());
    });
  return { url: `http://127.0.0.1:${port}/hook`, close };
}

/** Each has a port of its own: the breaker and the limit at once belong to an endpoint. */
export async function startTroubledReceiver(): Promise<TroubledReceiver> {
  const timers = new Set<number>();
  const slow = await start((response) => {
    const timer = setTimeout(() => {
      timers.delete(timer);
      response.writeHead(200, { "content-length": "0" }).end();
    }, SLOW_MS) as unknown as number;
    timers.add(timer);
  });
  const never = await start(() => {});
  return {
    slowUrl: slow.url,
    neverUrl: never.url,
    async close() {
      for (const timer of timers) clearTimeout(timer);
      await slow.close();
      await never.close();
    },
  };
}
