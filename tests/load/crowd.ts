/**
 * The crowd of the porter's load runs, in a process of its own, so that its work is not taken for the daemon's:
 * connections that are open and idle, and others that hammer, each from addresses of its own (loopback has
 * millions). It is told what to do as JSON in its argument, says "ready", and ends with its standard input.
 *
 * A hammering connection says hello, begins a mail, talks out of turn, sends garbage or a whole mail, and comes
 * again at once, whatever it heard, a 421 included.
 */

import net from "node:net";
import { LoadConnection } from "./smtp_load.ts";

export interface CrowdPlan {
  port: number;
  /** Open and idle, from each of these. */
  idleFrom: string[];
  idleEach: number;
  /** So many at once, spread over these. */
  hammerFrom: string[];
  hammers: number;
  /** They keep the rules: whole mails, one after the other, each over a connection that it keeps. */
  keepsRules?: boolean;
}

/** What it says once a second, and at the end. */
export interface CrowdReport {
  idle: number;
  connects: number;
  /** How these ended: a 421 before anything, cut without a word, or after some conversation. */
  turnedAway: number;
  cut: number;
  talked: number;
}

const RECIPIENT = "inbox@example.com";
const MAIL = "MAIL FROM:<crowd@sender0.example>\r\nRCPT TO:<inbox@example.com>\r\nDATA\r\n";
const SCRIPTS: ((greeted: () => Promise<string>, say: (text: string) => Promise<string>) => Promise<void>)[] =
  [
    async (greeted, say) => {
      if ((await greeted()).startsWith("220")) await say("EHLO crowd.example\r\n").then(() => say(MAIL));
    },
    async (greeted, say) => {
      if (!(await greeted()).startsWith("220")) return;
      await say("EHLO crowd.example\r\n");
      await say(MAIL);
      await say("Subject: crowd\r\n\r\nHello.\r\n.\r\n");
    },
    async (greeted, say) => {
      if ((await greeted()).startsWith("220")) await say("NOOP\r\nWIZ\r\n".repeat(50));
    },
    async (_, say) => void await say("GET / HTTP/1.1\r\nHost: x\r\n\r\n"),
    async (_, say) => void await say("\x16\x03\x01\x00\x00"),
  ];

async function hammer(plan: CrowdPlan, from: string, nth: number, report: CrowdReport): Promise<void> {
  for (let i = nth;; i++) {
    report.connects++;
    const socket = net.connect({ host: "127.0.0.1", port: plan.port, localAddress: from });
    let heard = "";
    let wake = () => {};
    let closed = false;
    const done = new Promise<void>((resolve) =>
      socket.on("close", () => {
        closed = true;
        wake();
        resolve();
      })
    );
    socket.on("error", () => {});
    socket.on("data", (chunk: Uint8Array) => {
      heard += new TextDecoder().decode(chunk);
      wake();
    });
    const more = async () => {
      const before = heard.length;
      while (heard.length === before && !closed) await new Promise<void>((resolve) => wake = resolve);
      return heard.slice(before);
    };
    await SCRIPTS[i % SCRIPTS.length]!(more, (text) => {
      socket.write(text);
      return more();
    });
    socket.destroy();
    await done;
    if (heard === "") report.cut++;
    else if (/^421 4\.7\.0 Too many connections/.test(heard)) report.turnedAway++;
    else report.talked++;
  }
}

/** Nothing to ban anybody for, and as much work as fifty connections can make. */
async function sendAlways(plan: CrowdPlan, from: string, report: CrowdReport): Promise<void> {
  const bytes = new TextEncoder().encode(`Subject: crowd\r\n\r\n${"Hello, hello, hello.\r\n".repeat(190)}`);
  for (;;) {
    report.connects++;
    const connection = await LoadConnection.open(plan.port, from);
    for (let isServed = true; isServed;) {
      const { code } = await connection.send({ sender: "crowd@sender0.example", bytes }, RECIPIENT);
      if (code === 250) report.talked++;
      // After its thousand mails, or when something is wrong with the house: it comes again.
      else isServed = false;
    }
    await connection.close();
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
}

if (import.meta.main) {
  const plan: CrowdPlan = JSON.parse(Deno.args[0]!);
  const report: CrowdReport = { idle: 0, connects: 0, turnedAway: 0, cut: 0, talked: 0 };
  const greetings: Promise<void>[] = [];
  for (const from of plan.idleFrom) {
    for (let i = 0; i < plan.idleEach; i++) {
      const socket = net.connect({ host: "127.0.0.1", port: plan.port, localAddress: from });
      greetings.push(
        new Promise((resolve) => {
          let isGreeted = false;
          socket.on("data", (chunk: Uint8Array) => {
            const text = new TextDecoder().decode(chunk);
            if (!isGreeted && text.startsWith("220")) {
              isGreeted = true;
              report.idle++;
            }
            resolve();
          });
          socket.on("error", () => {});
          socket.on("close", () => {
            if (isGreeted) report.idle--;
            resolve();
          });
        }),
      );
    }
  }
  await Promise.all(greetings);
  for (let i = 0; i < plan.hammers; i++) {
    const from = plan.hammerFrom[i % plan.hammerFrom.length]!;
    void (plan.keepsRules ? sendAlways(plan, from, report) : hammer(plan, from, i, report));
  }
  console.log(JSON.stringify(report));
  setInterval(() => console.log(JSON.stringify(report)), 1000);
  for await (const _ of Deno.stdin.readable) {
    // Nothing is said there; it is the end that counts.
  }
  console.log(JSON.stringify(report));
  Deno.exit(0);
}
