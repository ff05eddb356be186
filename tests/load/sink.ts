/** Where a load run's mail ends: smtp-sink(1) of Debian's Postfix in a process of its own, else our own here. */

import { MailSink } from "../support/mail_sink.ts";
import { hasSmtpSink, SmtpSink } from "../support/smtp_sink.ts";

export interface Sink {
  name: string;
  /** `host:port`. */
  address: string;
  /** Of a process of its own. */
  pid: number | null;
  close(): Promise<void>;
}

export async function startSink(): Promise<Sink> {
  if (await hasSmtpSink()) {
    const sink = await SmtpSink.start();
    return {
      name: "smtp-sink",
      address: `${sink.host}:${sink.port}`,
      pid: sink.pid,
      close: () => sink.stop(),
    };
  }
  const sink = await MailSink.start();
  const address = `127.0.0.1:${sink.port}`;
  return { name: "the sink in this process", address, pid: null, close: () => sink.close() };
}
