/** Where a load run's mail ends: smtp-sink(1) of Debian's Postfix in a process of its own, else our own here. */

import { startMailExchange } from "../../src/cli/demo/mail_exchange.ts";
import { answers, exists } from "../support/postfix.ts";

export interface Sink {
  name: string;
  port: number;
  close(): Promise<void>;
}

const SMTP_SINK = "/usr/sbin/smtp-sink";
const START_MS_MAX = 10_000;

/** Free at the moment of asking; smtp-sink can't be told to take any. */
function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  listener.close();
  return port;
}

async function startSmtpSink(): Promise<Sink> {
  const port = freePort();
  const user = Deno.uid() === 0 ? ["-u", "postfix"] : [];
  const child = new Deno.Command(SMTP_SINK, {
    args: [...user, `127.0.0.1:${port}`, "500"],
    stdout: "null",
    stderr: "null",
  }).spawn();
  const giveUp = performance.now() + START_MS_MAX;
  while (!await answers(`127.0.0.1:${port}`)) {
    if (performance.now() > giveUp) throw new Error("Cannot start smtp-sink: it does not answer");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return {
    name: "smtp-sink",
    port,
    async close() {
      child.kill();
      await child.status;
    },
  };
}

export async function startSink(): Promise<Sink> {
  if (exists(SMTP_SINK)) return await startSmtpSink();
  const exchange = await startMailExchange();
  return { name: "the sink in this process", port: exchange.port, close: () => exchange.close() };
}
