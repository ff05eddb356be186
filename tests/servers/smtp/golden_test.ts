/**
 * Plays the conversations in tests/golden/smtp: small text files that a person can review. Each is played
 * twice, its bytes in whole groups and one at a time, and must read the same.
 *
 * Lines: `# ...` comment; `! key=value ...` settings (door, peer, tls, and config keys); `C: ` the client's
 * line, CRLF added; `C> ` the client's bytes as they are; `S: ` a reply line; `S! closes`; `M: ` a stored
 * mail, at the end. Escapes: \r \n \t \0 \xHH \\, and {a*300} for 300 times a. A group of client lines goes
 * out as one packet.
 */

import { assertEquals } from "@std/assert";
import type { DoorKind } from "../../../src/servers/smtp/dialogue.ts";
import { test } from "../../support/test.ts";
import { Recorder, type RecorderOptions } from "./recorder.ts";

const FOLDER = new URL("../../golden/smtp/", import.meta.url);

interface Step {
  client: string;
  server: string[];
  closes: boolean;
}

interface Script {
  options: RecorderOptions;
  steps: Step[];
  mails: string[];
}

function unescape(text: string): string {
  return text
    .replace(/\{(.|\\x[0-9a-f]{2})\*(\d+)\}/g, (_, what: string, times: string) => what.repeat(Number(times)))
    .replace(/\\(r|n|t|0|\\|x[0-9a-f]{2})/g, (_, code: string) => {
      if (code[0] === "x") return String.fromCharCode(parseInt(code.slice(1), 16));
      return { r: "\r", n: "\n", t: "\t", "0": "\0", "\\": "\\" }[code]!;
    });
}

function settings(words: string[]): RecorderOptions {
  const options: RecorderOptions = {};
  const config: Record<string, unknown> = {};
  for (const word of words) {
    const [key, value] = word.split("=") as [string, string];
    if (key === "door") options.kind = value as DoorKind;
    else if (key === "peer") {
      options.peer = { mayForward: value === "trusted", allowlisted: value === "trusted" };
    } else if (key === "tls") options.tlsOffered = value === "offered";
    else config[key] = /^\d+$/.test(value) ? Number(value) : value === "true";
  }
  return { ...options, config };
}

function parseScript(text: string): Script {
  const script: Script = { options: {}, steps: [], mails: [] };
  let step: Step = { client: "", server: [], closes: false };
  const push = () => script.steps.push(step);
  for (const line of text.split("\n")) {
    const [mark, rest] = [line.slice(0, 3), line.slice(3)];
    if (line.startsWith("! ")) script.options = settings(line.slice(2).split(" "));
    else if (mark === "C: " || mark === "C> ") {
      if (step.server.length > 0 || step.closes) {
        push();
        step = { client: "", server: [], closes: false };
      }
      step.client += unescape(rest) + (mark === "C: " ? "\r\n" : "");
    } else if (mark === "S: ") step.server.push(rest);
    else if (line === "S! closes") step.closes = true;
    else if (mark === "M: ") script.mails.push(unescape(rest));
    else if (line !== "" && !line.startsWith("#")) throw new Error(`Cannot read golden line: ${line}`);
  }
  push();
  return script;
}

async function play(script: Script, size: number): Promise<void> {
  const recorder = new Recorder(script.options);
  recorder.conversation.greet();
  for (const { client, server, closes } of script.steps) {
    const said = await recorder.say(Uint8Array.from(client, (char) => char.charCodeAt(0)), size);
    assertEquals(said, server.map((line) => line + "\r\n").join(""), `after ${JSON.stringify(client)}`);
    assertEquals(recorder.closed, closes, `closed after ${JSON.stringify(client)}`);
  }
  assertEquals(recorder.flow.mails.map((mail) => mail.text), script.mails);
  assertEquals(recorder.failures, []);
}

for (const entry of [...Deno.readDirSync(FOLDER)].sort((a, b) => a.name < b.name ? -1 : 1)) {
  const script = parseScript(Deno.readTextFileSync(new URL(entry.name, FOLDER)));
  test(`golden ${entry.name} in whole packets`, () => play(script, Infinity));
  // A file whose point is what stands behind a command in the same packet can't be cut.
  if (!entry.name.includes("packet")) test(`golden ${entry.name} byte by byte`, () => play(script, 1));
}
