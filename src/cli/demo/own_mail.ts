/** What to do with a demo that is up: commands to paste, and where everything is. They work as they stand. */

import { printable } from "../../base/printable.ts";
import type { Environment } from "../../config/layers.ts";
import { BANK, OUR_DOMAIN, SHOP } from "./internet.ts";
import type { Screen } from "./screen.ts";
import type { Stage } from "./stage.ts";

/** How this program is called from where the person sits. */
function ownCommand(env: Environment): string {
  if (Deno.build.standalone) return "gomail";
  // npx sets this; then there may be no deno on the path.
  const deno = env.get("npm_command") === "exec" ? `npx --yes deno@${Deno.version.deno}` : "deno";
  return `${deno} task gomail`;
}

/** A mail as an argument of printf, in any shell. */
function printfMail(from: string): string {
  const lines = [`From: <${from}>`, `To: <app@${OUR_DOMAIN}>`, "Subject: My own mail", "", "Hello!", ""];
  return `printf '${lines.join("\\r\\n")}'`;
}

export function showOwnMail(screen: Screen, stage: Stage, env: Environment): void {
  const { apiUrl, metricsUrl, smtpPort, token, controlSocket, logFile } = stage;
  const [from, to] = [`me@${SHOP}`, `app@${OUR_DOMAIN}`];
  screen.title("Now your own mail. By HTTP:");
  screen.line(`
${printfMail(from)} |
  curl -sS ${apiUrl}/mail/inbound \\
    -H 'Authorization: Bearer ${token}' \\
    -H 'Content-Type: message/rfc822' \\
    -H 'X-Original-Sender: ${from}' \\
    -H 'X-Original-Recipient: ${to}' \\
    -H 'X-Original-Client-Address: 127.0.0.1' \\
    --data-binary @-`);
  screen.title("By SMTP, with curl or with swaks:");
  screen.line(`
${printfMail(from)} |
  curl -sS smtp://127.0.0.1:${smtpPort} --mail-from ${from} --mail-rcpt ${to} --upload-file -

swaks --server 127.0.0.1 --port ${smtpPort} --from ${from} --to ${to}

With ${BANK} instead of ${SHOP} it is refused (curl calls that a weird server reply; swaks shows it).
The demo has a DNS of its own, and only its own domains are in it.`);
  screen.title("Where everything is");
  screen.line();
  screen.field("API", apiUrl, "plain", "with the token; /openapi.json describes it");
  screen.field("health", `${apiUrl}/health`);
  screen.field("metrics", metricsUrl);
  screen.field("log", logFile);
  screen.line(`   messages    ${ownCommand(env)} message list --control-socket ${printable(controlSocket)}`);
  screen.title("What arrives at the webhook receiver is shown here. Ctrl-C ends the demo.");
}
