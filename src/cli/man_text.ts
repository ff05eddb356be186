/** The parts of gomail(1) that no table knows: what it is for, its files, environment and signals. */

import { CONFIG_PATHS } from "../config/load.ts";
import type { Config } from "../config/schema.ts";

export const NAME = "mail appliance: receives and sends mail for an application, and tells it by webhook";

export const DESCRIPTION = `
GoMail receives and sends mail for an application. It takes mail by SMTP (directly, or behind Postfix), by LMTP and by HTTP,
verifies who sent it (SPF, DKIM, DMARC, ARC), stores it, and hands it to the application as a signed webhook with
the verdicts, the decoded text, the attachments and the exact bytes. The application sends with one HTTP call;
GoMail signs, queues and delivers, and a webhook tells what became of each recipient.

The sender hears 250, and the application 202, only when the mail and all that it causes are synced to disk. From
then on each webhook is tried until the application takes it or \`webhook_max_age\` is over, and each mail until the
next server takes or refuses it or \`outbound_max_age\` is over.

\`gomail server\` is the daemon. Commands that need it talk to it over its control socket, whose file mode is the
access check. \`gomail help COMMAND\` shows the help of one command.
`;

export const FLAGS = `
Flags may stand before and after the arguments. \`--x=V\` and \`--x V\` are the same; \`--no-x\` turns a switch off;
\`--\` ends the flags. A flag that is not known is an error.

\`gomail server\`, \`gomail validate\` and the others that are marked so take every key of CONFIGURATION as a flag as
well, with dashes instead of underscores: the key \`dns_timeout\` is \`--dns-timeout\`.
`;

export const CONFIGURATION = `
The file is YAML, flat, one key a line. \`gomail config example\` prints one with every key, \`gomail validate\` says
what is wrong with one, and \`gomail config show\` prints what holds in the end and where each value is from. Flags win
over the environment, that over the file, that over the defaults. An unknown key is an error.

Durations are \`500ms\`, \`30s\`, \`5m\`, \`1h\`, \`3d\` or whole seconds. Sizes are \`10KB\`, \`25MB\`, \`1GB\` or bytes,
with 1024 bytes to the KB. Lists are comma-separated in environment and flags, where an empty variable counts as not
set; a list of IP addresses is emptied by \`none\`.
`;

/** Path and what it is; those that the config can move are named by key. */
export function files(config: Pick<Config, "data_dir" | "control_socket">): [string, string][] {
  const [first, second] = CONFIG_PATHS;
  return [
    [first!, "The configuration. It may hold secrets: mode 0640, owner root, group gomail."],
    [second!, "Read where the file above does not exist."],
    [
      config.data_dir,
      "Stored mail, the queue and generated secrets (\`data_dir\`). Mode 0700, owner gomail.",
    ],
    [
      config.control_socket,
      "The control socket (\`control_socket\`). Who may write to it may use every command.",
    ],
    [
      "/var/backups/gomail",
      "Backups, each with its manifest beside it. Mode 0700, owner gomail.",
    ],
    ["/usr/share/doc/gomail", "Further documentation."],
    ["/etc/apparmor.d/usr.bin.gomail", "The AppArmor profile, which names every file that GoMail may touch."],
  ];
}

export const ENVIRONMENT: [string, string][] = [
  [
    "MAIL_<KEY>",
    "A key of CONFIGURATION in upper case: \`dns_timeout\` is \`MAIL_DNS_TIMEOUT\`. An empty variable is none. One " +
    "that is no key is a warning, not an error: it may belong to another program.",
  ],
  ["API_BEARER_TOKEN", "Another name for \`MAIL_BEARER_TOKEN\`."],
  ["MAIL_CONFIG", "The configuration file, where \`--config\` is not given."],
  ["NO_COLOR", "When it is not empty, nothing is printed in colour."],
  [
    "LISTEN_FDS, LISTEN_FDNAMES, LISTEN_PID",
    "Sockets that systemd hands over with \`mode: socket\`, told apart by name: smtp, proxy, lmtp, control.",
  ],
];

export const EXIT_STATUS: [string, string][] = [
  ["0", "Done."],
  ["1", "Could not be done, or something was found that needs mending: the output says what."],
  ["2", "Wrongly used: an unknown command or flag, too many or too few arguments."],
];

export const SIGNALS: [string, string][] = [
  [
    "SIGTERM, SIGINT",
    "End the daemon, however often they come: nothing new is accepted, what is in flight may take " +
    "\`shutdown_timeout\` to finish, and the exit status is 0. What is left is in the store, for the next start.",
  ],
  [
    "SIGHUP",
    "Reads configuration and certificate again. A configuration with problems is refused, they are logged, and the " +
    "old one stays. Keys that need a restart are named in the log.",
  ],
];

export const SEE_ALSO = ["age(1)", "postfix(1)", "postconf(1)", "ss(8)", "systemctl(1)", "systemd.socket(5)"];
