/**
 * What to type when a listener's port can't be had: the same words in the daemon's log and from `doctor`. The
 * classic is port 25 on a host whose mail server came with the installation; without systemd, a container that has
 * no right to it.
 */

export interface MailServer {
  name: string;
  /** Its systemd unit. */
  unit: string;
  /** Found in its greeting, or in the path of its executable. */
  sign: RegExp;
}

const MAIL_SERVERS: readonly MailServer[] = [
  { name: "Postfix", unit: "postfix", sign: /postfix/i },
  { name: "Exim", unit: "exim4", sign: /\bexim/i },
  { name: "OpenSMTPD", unit: "opensmtpd", sign: /opensmtpd|\bsmtpd$/i },
  { name: "Sendmail", unit: "sendmail", sign: /sendmail/i },
];

/** The mail server that a greeting or an executable's path tells of. */
export function mailServerOf(text: string): MailServer | null {
  return MAIL_SERVERS.find(({ sign }) => sign.test(text)) ?? null;
}

const SMTP_PORT = 25;
/** Below it a port needs a right (ip_unprivileged_port_start, ip(7)). */
const FREE_PORTS_FROM = 1024;

const whoHas = (port: number) => `\`ss -ltnp 'sport = :${port}'\``;
const stop = (unit: string) => `\`systemctl disable --now ${unit}\``;

/** Of the host, as far as it matters for what is typed. */
export interface PortHost {
  hasSystemd: boolean;
}

/** For a port that another program holds; `key` is the one that asks for it. */
export function busyPortRemedy(
  port: number,
  key: string,
  { hasSystemd }: PortHost,
  holder: MailServer | null = null,
): string {
  if (!hasSystemd) return `stop ${holder?.name ?? `what holds it (${whoHas(port)})`}, or change ${key}`;
  if (holder?.name === "Postfix") {
    return `let it stay, in front of GoMail: \`gomail postfix\` prints how; or stop it: ${stop(holder.unit)}`;
  }
  if (holder !== null) return `stop it: ${stop(holder.unit)}`;
  if (port !== SMTP_PORT) return `${whoHas(port)} names it: stop it, or change ${key}`;
  return `${whoHas(port)} names it. Postfix may stay, in front of GoMail: \`gomail postfix\` prints how; ` +
    `or stop it: ${stop("postfix")} (Exim: ${stop("exim4")})`;
}

/** For a port that this user may not open: in the package systemd does that, around a container whoever runs it. */
export function forbiddenPortRemedy(port: number, key: string, host: PortHost): string {
  if (!host.hasSystemd) {
    return `use a port from ${FREE_PORTS_FROM} on in ${key}, and have ${port} mapped to it from outside ` +
      "(a Service's targetPort, `podman run --publish`)";
  }
  if (port !== SMTP_PORT) return `use a port from ${FREE_PORTS_FROM} on in ${key}, or \`mode: socket\``;
  return "let systemd open it, with `mode: socket`; `systemctl status gomail-smtp.socket` says why it did not. " +
    `Has another program the port? ${busyPortRemedy(port, key, host)}`;
}
