/**
 * The daemon as a child process with a config of its own in a temporary directory, for load runs: everything
 * on loopback, ports of the system's choosing, read back from the "listening" log line.
 */

import { stringify } from "@std/yaml";

export const LOAD_TOKEN = "load-Run-4f9c1b7e2d";

export interface DaemonProcess {
  smtpPort: number;
  apiPort: number;
  readyMs: number;
  /** Peak resident bytes so far (VmHWM of the daemon's process). */
  peakRssBytes(): number;
  rssBytes(): number;
  stop(): Promise<void>;
}

function procStatus(pid: number, field: string): number {
  const line = Deno.readTextFileSync(`/proc/${pid}/status`).split("\n").find((l) => l.startsWith(field));
  return Number(/(\d+)/.exec(line ?? "")?.[1] ?? 0) * 1024;
}

/** Finds the first JSON log line with this message, then keeps draining the stream. */
async function waitForLine(
  stream: ReadableStream<Uint8Array>,
  message: string,
): Promise<Record<string, unknown>> {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`The daemon ended before it said "${message}": ${buffer.slice(-2000)}`);
    buffer += value;
    for (let end = buffer.indexOf("\n"); end >= 0; end = buffer.indexOf("\n")) {
      const line = buffer.slice(0, end);
      buffer = buffer.slice(end + 1);
      if (!line.includes(message)) continue;
      (async () => {
        while (!(await reader.read()).done);
      })();
      return JSON.parse(line);
    }
  }
}

/** Starts `main.ts server` with `values` over the load run's own config. */
export async function startDaemonProcess(
  dir: string,
  values: Record<string, unknown>,
): Promise<DaemonProcess> {
  const config = `${dir}/gomail.yaml`;
  await Deno.writeTextFile(
    config,
    stringify({
      port: 0,
      data_dir: `${dir}/data`,
      control_socket: `${dir}/gomail.sock`,
      bearer_token: LOAD_TOKEN,
      mail_hostname: "mx.example.com",
      primary_domain: "example.com",
      smtp_listen: ["127.0.0.1:0"],
      metrics_port: 0,
      webhook_allow_private: true,
      log_format: "json",
      ...values,
    }),
  );
  const started = performance.now();
  const main = new URL("../../main.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", main, "server", "--config", config],
    stdout: "null",
    stderr: "piped",
  }).spawn();
  const line = await waitForLine(child.stderr, '"msg":"Ready"');
  const readyMs = performance.now() - started;
  const smtp = String((line.smtp as string[])[0]);
  return {
    smtpPort: Number(smtp.split(":").pop()),
    apiPort: Number(String(line.api).split(":").pop()),
    readyMs,
    peakRssBytes: () => procStatus(child.pid, "VmHWM:"),
    rssBytes: () => procStatus(child.pid, "VmRSS:"),
    async stop() {
      child.kill("SIGTERM");
      await child.status;
    },
  };
}
