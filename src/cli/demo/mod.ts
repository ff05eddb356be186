/**
 * `gomail demo`: the whole of GoMail in a temporary folder, with the rest of the internet played beside it.
 * Real mails go in by SMTP and HTTP, and what their webhooks said is shown and checked, so that the exit code
 * means something. Without --once it stays up for mail of one's own, until a signal ends it.
 */

import { messageOf } from "../../base/errors.ts";
import { printable } from "../../base/printable.ts";
import { canServeTls } from "../../base/runtime.ts";
import { VERSION } from "../../base/version.ts";
import { CommandError, EXIT } from "../command.ts";
import type { CliIo } from "../io.ts";
import { type Ending, listenForEnding } from "../ending.ts";
import { type Internet, makeInternet, type Records } from "./internet.ts";
import { makeScenes } from "./mails.ts";
import { showOwnMail } from "./own_mail.ts";
import { play } from "./play.ts";
import type { ReceivedRequest, ReceiverAnswer } from "./receiver.ts";
import { Screen } from "./screen.ts";
import { type Stage, startStage } from "./stage.ts";
import { payloadOf, showWebhook } from "./webhook_view.ts";

export interface DemoOptions {
  /** Ends by itself. */
  once: boolean;
  io: Pick<CliIo, "out" | "err" | "env">;
  isColoured?: boolean;
  /** Laid over the demo's DNS; to see what it says when something is not as it should be. */
  records?: Records;
  /** What the receiver answers; 200 when absent. */
  answer?: (request: ReceivedRequest) => ReceiverAnswer;
  patienceMs?: number;
  /** Ends the demo as a signal would. */
  signal?: AbortSignal;
}

interface Performance {
  options: DemoOptions;
  screen: Screen;
  stage: Stage;
  internet: Internet;
  ending: Ending;
}

const PATIENCE_MS = 60_000;
const LOG_LINES_MAX = 20;

/** The log's warnings and errors: after a failure the folder is gone, and they say why. */
async function showTrouble(io: DemoOptions["io"], logFile: string): Promise<void> {
  const lines = (await Deno.readTextFile(logFile)).split("\n");
  const trouble = lines.filter((line) => /^\S+ (WARN|ERROR) /.test(line)).slice(-LOG_LINES_MAX);
  if (trouble.length > 0) io.err(`The log's warnings and errors:\n${trouble.map(printable).join("\n")}\n`);
}

/** True when all went as it should; else what is wrong has been said. */
async function perform({ options, screen, stage, internet }: Performance): Promise<boolean> {
  const { patienceMs = PATIENCE_MS, io } = options;
  const { count, wrong } = await play({ stage, screen, patienceMs }, await makeScenes(internet));
  if (wrong.length === 0) screen.title(`All went as it should: ${count} checks.`);
  else if (screen.isOpen) {
    io.err(`\ngomail: the demo failed: ${wrong.length} of ${count} checks are wrong\n`);
    await showTrouble(io, stage.logFile);
  }
  return wrong.length === 0;
}

/** From here on each webhook is shown as it comes. Nobody looks back, so nothing is remembered. */
function showArrivals({ options, screen, stage, ending }: Performance): void {
  const answer = options.answer ?? (() => ({ status: 200 }));
  stage.receiver.answerWith((request) => {
    stage.receiver.requests.length = 0;
    const mail = payloadOf(request);
    try {
      screen.title(new Date().toLocaleTimeString("en-GB"));
      if (mail) showWebhook(screen, request, mail);
      else screen.line("   a request that is no webhook of ours");
    } catch {
      // The screen is gone (a closed pipe): without it there is no reason to stay.
      ending.end();
    }
    return answer(request);
  });
}

function showStage(screen: Screen, stage: Stage): void {
  screen.line(`GoMail ${VERSION}, on this machine alone: nothing leaves it, and nothing stays behind.`);
  screen.field("folder", stage.folder);
  screen.field("mail in", `smtp://127.0.0.1:${stage.smtpPort} and ${stage.apiUrl}/mail/inbound`);
  screen.field("webhooks to", stage.receiver.url);
  if (!canServeTls()) {
    screen.field("TLS", `none: this runtime (Deno ${Deno.version.deno}) can't serve it`, "bad");
  }
}

/** From the first mail to the last signal. The exit code. */
async function run(performance: Performance): Promise<number> {
  const { options: { once, io }, screen, stage, ending } = performance;
  let performing: Promise<boolean> | null = null;
  try {
    showStage(screen, stage);
    performing = perform(performance);
    const outcome = await Promise.race([ending.come, performing]);
    if (outcome === "ended") {
      io.err("\ngomail: the demo was ended before it was over\n");
      return EXIT.failed;
    }
    if (!once) {
      showOwnMail(screen, stage, io.env);
      showArrivals(performance);
      await ending.come;
    }
    return outcome ? EXIT.ok : EXIT.failed;
  } finally {
    screen.close();
    await stage.close();
    // Cut off in the middle it fails, and nobody is left to be told.
    await performing?.catch(() => false);
  }
}

/** Resolves with the exit code: 0 when each expectation was met. Rejects when the demo can't be set up. */
export async function runDemo(options: DemoOptions): Promise<number> {
  const { io } = options;
  const isColoured = options.isColoured ?? (Deno.stdout.isTerminal() && !io.env.get("NO_COLOR"));
  const screen = new Screen(io.out, isColoured);
  const ending = listenForEnding(options.signal);
  try {
    const internet = await makeInternet();
    const records = { ...internet.records, ...options.records };
    const stage = await startStage({ records, answer: options.answer });
    const code = await run({ options, screen, stage, internet, ending });
    if (!options.once) io.out("\nThe demo has ended, and its folder is gone.\n");
    return code;
  } catch (error) {
    // A closed pipe (`gomail demo | head`) is the front desk's to judge.
    if (error instanceof Deno.errors.BrokenPipe) throw error;
    throw new CommandError(`Cannot run the demo: ${messageOf(error)}`, { cause: error });
  } finally {
    ending.release();
  }
}
