/**
 * Somebody else's mail server, as far as the demo needs one (RFC 5321): takes mail on loopback, keeps it, and
 * refuses the recipients it is told to. What it takes has to end every line with CRLF, so that a sender with
 * bare line ends would be found out here.
 */

import { Buffer } from "node:buffer";
import net from "node:net";
import type { AddressInfo } from "node:net";

export interface TakenMail {
  /** Envelope sender and recipients, without brackets. */
  mailFrom: string;
  recipients: string[];
  /** Without dot-stuffing and the final dot. */
  text: string;
  bytes: Uint8Array;
}

export interface MailExchange {
  readonly port: number;
  readonly mails: TakenMail[];
  close(): Promise<void>;
}

const MAILS_MAX = 1000;
const END = Buffer.from("\r\n.\r\n");

interface Session {
  mailFrom: string | null;
  recipients: string[];
  isData: boolean;
}

const newSession = (): Session => ({ mailFrom: null, recipients: [], isData: false });

/** The answer to one command; changes the session. */
function answerTo(line: string, session: Session, refusals: Record<string, string>): string {
  const verb = line.slice(0, 4).toUpperCase();
  const path = /<(.*)>/.exec(line)?.[1] ?? "";
  switch (verb) {
    case "EHLO":
      return "250-mx.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 ENHANCEDSTATUSCODES";
    case "HELO":
      return "250 mx.example";
    case "MAIL":
      Object.assign(session, newSession(), { mailFrom: path });
      return "250 2.1.0 Ok";
    case "RCPT": {
      const refusal = refusals[path.toLowerCase()];
      if (refusal !== undefined) return refusal;
      session.recipients.push(path);
      return "250 2.1.5 Ok";
    }
    case "DATA":
      if (session.recipients.length === 0) return "554 5.5.1 No valid recipients";
      session.isData = true;
      return "354 Go ahead";
    case "RSET":
      Object.assign(session, newSession());
      return "250 2.0.0 Ok";
    case "QUIT":
      return "221 2.0.0 Bye";
    default:
      return "500 5.5.2 Not understood";
  }
}

function serve(socket: net.Socket, mails: TakenMail[], refusals: Record<string, string>): void {
  const session = newSession();
  // A chunk can end anywhere. CRLF before it makes the end of an empty mail look like any other.
  let rest = Buffer.alloc(0);
  const say = (text: string) => socket.write(`${text}\r\n`);
  /** True when there was a whole mail or command to deal with. */
  const step = (): boolean => {
    const end = rest.indexOf(session.isData ? END : "\r\n");
    if (end < 0) return false;
    const part = rest.subarray(0, end);
    rest = rest.subarray(end + (session.isData ? END.length : 2));
    if (!session.isData) {
      const answer = answerTo(part.toString("utf8"), session, refusals);
      say(answer);
      if (answer.startsWith("221")) socket.end();
      return true;
    }
    const bytes = Buffer.from(part.toString("latin1").replace(/(^|\r\n)\./g, "$1") + "\r\n", "latin1");
    const { mailFrom, recipients } = session;
    if (mails.length < MAILS_MAX) {
      mails.push({ mailFrom: mailFrom ?? "", recipients, bytes, text: bytes.toString("utf8") });
    }
    Object.assign(session, newSession());
    say(`250 2.0.0 Ok: taken as ${mails.length}`);
    return true;
  };
  socket.on("data", (chunk: Uint8Array) => {
    rest = Buffer.concat([rest, chunk]);
    while (!socket.writableEnded && step());
  });
  // Whoever hangs up has taken what it wanted.
  socket.on("error", () => socket.destroy());
  say("220 mx.example ESMTP");
}

/** `refusals`: whole reply lines for RCPT, by lower-case address. */
export async function startMailExchange(refusals: Record<string, string> = {}): Promise<MailExchange> {
  const mails: TakenMail[] = [];
  const sockets = new Set<net.Socket>();
  const server = net.createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    serve(socket, mails, refusals);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    mails,
    close: () =>
      new Promise((resolve) => {
        for (const socket of sockets) socket.destroy();
        server.close(() => resolve());
      }),
  };
}
