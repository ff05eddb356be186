/**
 * The SMTP doors as one thing to start, drain and close: listeners for SMTP, for Postfix's before-queue filter
 * and for LMTP, the porter in front of them, and the sessions behind. Decides nothing about mail.
 */

import type { Socket } from "node:net";
import { inRanges, parseAddress, partyAround, plainAddress } from "../../base/address.ts";
import type { Clock, Timer } from "../../base/clock.ts";
import { newId } from "../../base/id.ts";
import type { Logger } from "../../base/log.ts";
import type { Metrics } from "../../base/metrics.ts";
import { mergeWildcards } from "../../config/notation.ts";
import type { Config } from "../../config/schema.ts";
import type { Bans } from "../../guard/bans.ts";
import { type Admission, ConnectionGuard, type ConnectionLimits } from "../../guard/connections.ts";
import { ForwardedClients } from "../../guard/forwarded_clients.ts";
import type { InboundFlow } from "../../inbound/types.ts";
import type { BanRecord } from "../../store/types.ts";
import { type DialogueConfig, type DoorKind, newDialogue, type Peer } from "./dialogue.ts";
import { SMTP_LIMITS, type SmtpLimits } from "./limits.ts";
import { type Binder, Listener, type ListenerInfo, netBinder } from "./listener.ts";
import { type Answer, REPLY } from "./replies.ts";
import { lookUpName, type ResolveHostname } from "./names.ts";
import { Reporter } from "./reporter.ts";
import { Session } from "./session.ts";
import { type TlsConfig, TlsKeeper } from "./tls_keeper.ts";
import { Turns } from "../../base/turns.ts";
import { hasSystemd } from "../../base/systemd.ts";

export type SmtpDoorConfig =
  & Pick<Config, "smtp_listen" | "proxy_listen" | "lmtp_listen" | "xforward_peers">
  & DialogueConfig
  & ConnectionLimits
  & TlsConfig;

export interface SmtpDoorOptions {
  /** Read anew whenever something is needed, so a reload holds at once; only the addresses are read once. */
  config: () => SmtpDoorConfig;
  /** Our name in greeting and certificate. */
  hostname: () => string;
  flow: InboundFlow;
  clock: Clock;
  log: Logger;
  metrics: Metrics;
  /** Who is not let in, and where violations are told. The door listens to it: its sessions end when a ban falls. */
  bans: Bans;
  /** The forward-confirmed reverse name of an address. Absent: names are not looked up. */
  resolveHostname?: ResolveHostname | undefined;
  /** Sockets handed over by the service manager; a kind that is among them is not bound by its addresses. */
  inherited?: readonly { kind: DoorKind; fd: number }[] | undefined;
  limits?: Partial<SmtpLimits> | undefined;
  binder?: Binder | undefined;
  /** For what a port's trouble is told with; asked of the host when absent. */
  hasSystemd?: (() => boolean) | undefined;
}

export interface SmtpDoor {
  /** Loads the certificate and binds. What could not be bound is told in the result, and tried again. */
  listen(): Promise<ListenerInfo[]>;
  listeners(): ListenerInfo[];
  /** False when the configured certificate can't be used; the one in use stays. */
  reloadTls(): Promise<boolean>;
  /** Why it does not listen where it should, a sentence for each address; empty when all is well. */
  problems(): string[];
  /** Why the certificate that is configured is not the one in use, or null. Mail comes in all the same. */
  tlsProblem(): string | null;
  /** Stops accepting; idle sessions end with 421, the others after their mail. Resolves when all are gone. */
  drain(): Promise<void>;
  /** The hard end. */
  close(): Promise<void>;
  readonly activeCount: number;
}

export function createSmtpDoor(options: SmtpDoorOptions): SmtpDoor {
  return new Door(options);
}

class Door implements SmtpDoor {
  #options: SmtpDoorOptions;
  #limits: SmtpLimits;
  #guard: ConnectionGuard;
  #forwarded: ForwardedClients;
  #tls: TlsKeeper;
  #reporter: Reporter;
  #turns: Turns;
  #listeners: Listener[] = [];
  /** Each with the network that a ban of its peer alone would be of. */
  #sessions = new Map<Session, string | null>();
  /** Sockets that wait for their last word, with the timers that say it. */
  #leaving = new Map<Socket, Timer>();
  #draining = false;
  /** Whoever waits in drain() for the last session. */
  #onEmpty: (() => void)[] = [];

  constructor(options: SmtpDoorOptions) {
    const { config, hostname, clock, log, metrics, bans } = options;
    this.#options = options;
    this.#limits = { ...SMTP_LIMITS, ...options.limits };
    this.#guard = new ConnectionGuard(config, clock);
    this.#forwarded = new ForwardedClients(config, clock);
    this.#tls = new TlsKeeper({ config, hostname, clock, log, metrics, pollMs: this.#limits.tlsPollMs });
    this.#reporter = new Reporter({ clock, log, metrics, bans });
    // Not at once: the ban may come out of a conversation that is in the middle of its reply.
    bans.onBan = (ban) => queueMicrotask(() => this.#endBanned(ban));
    this.#turns = new Turns(clock);
  }

  get activeCount(): number {
    return this.#sessions.size;
  }

  async listen(): Promise<ListenerInfo[]> {
    const { config } = this.#options;
    // The certificate first, so that not even the first client misses the offer of STARTTLS.
    await this.#tls.start();
    const { smtp_listen, proxy_listen, lmtp_listen } = config();
    this.#listeners = [
      ...this.#listenersOf("smtp", smtp_listen),
      ...this.#listenersOf("proxy", proxy_listen),
      ...this.#listenersOf("lmtp", lmtp_listen),
    ];
    await Promise.all(this.#listeners.map((listener) => listener.open()));
    return this.listeners();
  }

  listeners(): ListenerInfo[] {
    return this.#listeners.map((listener) => ({ ...listener.info }));
  }

  reloadTls(): Promise<boolean> {
    return this.#tls.reload();
  }

  problems(): string[] {
    return this.#listeners.map((listener) => listener.info.problem).filter((problem) => problem !== null);
  }

  tlsProblem(): string | null {
    return this.#tls.problem;
  }

  async drain(): Promise<void> {
    this.#draining = true;
    this.#tls.stop();
    await Promise.all(this.#listeners.map((listener) => listener.close()));
    // Only after the listeners are shut, so that whoever is sent away does not come back to us.
    for (const session of this.#sessions.keys()) session.conversation.drain();
    if (this.#sessions.size === 0) return;
    await new Promise<void>((resolve) => void this.#onEmpty.push(resolve));
  }

  async close(): Promise<void> {
    this.#draining = true;
    this.#tls.stop();
    for (const session of this.#sessions.keys()) session.destroy();
    for (const [socket, timer] of this.#leaving) {
      timer.cancel();
      socket.destroy();
    }
    this.#leaving.clear();
    await Promise.all(this.#listeners.map((listener) => listener.close()));
  }

  #listenersOf(kind: DoorKind, addresses: readonly string[]): Listener[] {
    const { clock, log, binder = netBinder, inherited = [] } = this.#options;
    const shared = {
      kind,
      clock,
      log,
      binder,
      hasSystemd: this.#options.hasSystemd ?? (() => hasSystemd()),
      retryMs: this.#limits.listenRetryMs,
      onSocket: (socket: Socket) => this.#accept(kind, socket),
    };
    const handed = inherited.filter((entry) => entry.kind === kind);
    if (handed.length > 0) {
      return handed.map(({ fd }) => new Listener({ ...shared, configured: `fd:${fd}`, fd }));
    }
    return mergeWildcards(addresses).map((configured) => new Listener({ ...shared, configured }));
  }

  #accept(kind: DoorKind, socket: Socket): void {
    const remote = socket.remoteAddress;
    // Reset before we came to it, it has no peer any more; it must not pass for a unix socket, which never had one.
    if (!remote && socket.localAddress) return void socket.destroy();
    const address = remote ? plainAddress(remote) : null;
    if (this.#draining) return this.#turnAway(socket, REPLY.shuttingDown.text, 0);
    const mayForward = kind !== "smtp" &&
      (address === null || inRanges(address, this.#options.config().xforward_peers));
    const banned = this.#banned(kind, { address, mayForward });
    if (banned) {
      this.#reporter.turnedAway("banned", address);
      return this.#turnAway(socket, banned.text, this.#limits.turnAwayMs);
    }
    const admission = this.#guard.admit(address, { isOurs: mayForward });
    if (!admission.admitted) {
      this.#reporter.turnedAway(admission.reason, address);
      // Our own mail server is refused only when the house is full, and knows when to come again.
      return this.#turnAway(socket, REPLY.turnedAway.text, mayForward ? 0 : this.#limits.turnAwayMs);
    }
    const peer: Peer = { address, allowlisted: admission.allowlisted, mayForward };
    try {
      this.#open(kind, socket, peer, admission.leave);
    } catch (error) {
      // One connection's failure is its own: the listener goes on.
      admission.leave();
      socket.destroy();
      this.#options.log.error("SMTP session not opened", { error });
    }
  }

  #open(kind: DoorKind, socket: Socket, peer: Peer, leave: () => void): void {
    const { config, hostname, flow, clock, resolveHostname } = this.#options;
    const limits = this.#limits;
    const tls = () => this.#tls.current();
    const tlsOffered = () => tls() !== null;
    const dialogue = newDialogue({
      kind,
      peer,
      limits,
      flow,
      config,
      hostname,
      tlsOffered,
      banned: (client) => this.#refuseBanned(client),
      admitForwarded: (client, port) => this.#admitForwarded(client, port),
    });
    const { address } = peer;
    // Behind a proxy or a queue the client's name is XFORWARD's to tell.
    const name = kind === "smtp" && resolveHostname && address !== null
      ? lookUpName(clock, limits.hostnameMs, () => resolveHostname(address))
      : null;
    const report = this.#reporter.session(newId(), dialogue, () => this.#sessions.size);
    const events = {
      ...report,
      ended: () => {
        this.#sessions.delete(session);
        leave();
        report.ended();
        if (this.#sessions.size === 0) { for (const done of this.#onEmpty.splice(0)) done(); }
      },
    };
    const session = new Session({ socket, dialogue, clock, events, tls, name, turns: this.#turns });
    const parsed = address === null ? null : parseAddress(address);
    this.#sessions.set(session, parsed && partyAround(parsed));
    report.began();
    session.begin();
  }

  /** A peer that may forward is not asked about itself: its mail is everybody's. */
  #banned(kind: DoorKind, { address, mayForward }: Pick<Peer, "address" | "mayForward">): Answer | null {
    if (address === null || (kind !== "smtp" && mayForward)) return null;
    return bannedAnswer(this.#options.bans)(address);
  }

  /** Open sessions of whoever is banned now. The farewell is temporary in any case: it may meet a good mail. */
  #endBanned({ source, range }: BanRecord): void {
    for (const [{ parts: { dialogue }, conversation }, party] of this.#sessions) {
      // An automatic ban is of one party: to look up all others is work that a flood of bans would do for each.
      if (source === "automatic" && party !== range) continue;
      if (this.#banned(dialogue.kind, dialogue.peer)) conversation.drain(REPLY.banned);
    }
  }

  /** At MAIL, where it is XFORWARD's client for the most part; the line says who, which the peer's would not. */
  #refuseBanned(client: string): Answer | null {
    const banned = bannedAnswer(this.#options.bans)(client);
    if (banned) this.#reporter.turnedAway("banned", client);
    return banned;
  }

  #admitForwarded(client: string, port: number | null): Admission {
    const admission = this.#forwarded.admit(client, port);
    if (!admission.admitted) this.#reporter.turnedAway(admission.reason, client);
    return admission;
  }

  /**
   * One line and out, before any work: nothing is read (a read has a buffer of 64 KB), so a client that waits for
   * the greeting hears the line, and one that talked into it may hear a reset. A client that comes again at once
   * comes once in `waitMs`, where an answer at once would keep both sides as busy as they can be. As many may wait
   * as may be in; more are cut off without a word.
   */
  #turnAway(socket: Socket, text: string, waitMs: number): void {
    socket.on("error", () => socket.destroy());
    if (this.#leaving.size >= this.#options.config().max_total_connections) return void socket.destroy();
    const timer = this.#options.clock.timer(
      waitMs,
      () => socket.end(text + "\r\n", () => socket.destroy()),
    );
    this.#leaving.set(socket, timer);
    socket.on("close", () => {
      timer.cancel();
      this.#leaving.delete(socket);
    });
  }
}

function bannedAnswer(bans: Bans): (address: string) => Answer | null {
  return (address) => {
    const ban = bans.find(address);
    return ban && (ban.expiresAt === null ? REPLY.bannedForGood : REPLY.banned);
  };
}
