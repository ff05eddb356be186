/**
 * How Postfix has to be set up to stand in front of GoMail, as data: the script is written from it, and the
 * check compares with it. Only parameters that Postfix 3.7 has (Debian 12).
 *
 * What is about everybody's mail goes into main.cf. The filter goes to the service of port 25 alone: in
 * main.cf it would take the mail that GoMail sends, and send it back to GoMail.
 */

import type { Config } from "../../config/schema.ts";
import { HEADER_BYTES_MAX } from "../../outbound/header_limits.ts";
import { doorOf, lmtpTransport, type Outlet, outletOf, type Way, word } from "./place.ts";

export type Setting =
  /** A parameter of main.cf. */
  | {
    kind: "main";
    name: string;
    value: string;
    /** As good for the check. */
    also?: readonly string[];
    /** What Postfix takes when it isn't set. */
    standard?: string;
    /** A set of names: their order means nothing. */
    isSet?: boolean;
    /** Only set where none of these is: somebody's choice is kept. */
    unless?: readonly string[];
  }
  /** Names that a list in main.cf must not hold; `standard` is the list where it isn't set. */
  | { kind: "without"; name: string; words: readonly string[]; standard: string }
  /** A parameter of one service of master.cf; null where it must have none. */
  | { kind: "option"; service: string; name: string; value: string | null }
  /** A service of master.cf that must be there already, and run this program; null for any. */
  | { kind: "program"; service: string; program: string | null }
  /** A service of master.cf that we add: unprivileged, in Postfix's jail, as Debian runs its own. */
  | {
    kind: "service";
    service: string;
    fields: string;
    options: readonly (readonly [name: string, value: string])[];
    /** What takes its place when we are gone; without it the service goes. */
    before?: string;
  };

export interface Step {
  /** One line: what it is good for. */
  why: string;
  settings: readonly Setting[];
}

export type PlanConfig = Pick<
  Config,
  | "proxy_listen"
  | "lmtp_listen"
  | "max_message_size"
  | "max_connections_per_ip"
  | "throttle_connections_per_minute"
  | "tls_cert_file"
  | "tls_key_file"
  | "tls_min_version"
  | "starttls_required"
  | "data_dir"
  | "outbound_transport"
  | "outbound_smarthost"
>;

export interface PlanInput {
  way: Way;
  config: PlanConfig;
  /** A-labels. */
  domains: readonly string[];
  /** How master.cf calls port 25: `smtp`, `25`, `192.0.2.1:smtp`. */
  port25: string;
  /** postscreen(8) has port 25, and hands on to smtpd. */
  postscreen: boolean;
}

/** Of a mail that fills max_message_size Postfix's own Received field would be too much. */
const TRACE_BYTES = 4096;
/** Default of mailbox_size_limit and virtual_mailbox_limit: below message_size_limit local(8) refuses to work. */
const MAILBOX_BYTES = 51_200_000;

const main = (name: string, value: string, more: Partial<Extract<Setting, { kind: "main" }>> = {}) =>
  ({ kind: "main", name, value, ...more }) as const;

/**
 * Postfix's default without relay_domains: a domain would stand for its subdomains too, whose mail GoMail does
 * not take. Hardly anybody else sets it, so that it also tells whether a Postfix has been set up by us.
 */
export const PARENT_DOMAINS = main(
  "parent_domain_matches_subdomains",
  "debug_peer_list, fast_flush_domains, mynetworks, permit_mx_backup_networks, qmqpd_authorized_clients, smtpd_access_maps",
  { isSet: true, also: [""] },
);

function domainStep(domains: readonly string[]): Step {
  const relay = "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination";
  const stricter = ["permit_mynetworks, reject_unauth_destination", "reject_unauth_destination"];
  return {
    why: "Takes mail for our domains, not for what is below them, and never relays for strangers.",
    settings: [
      main("relay_domains", domains.map(word).join(", "), { isSet: true }),
      PARENT_DOMAINS,
      main("smtpd_relay_restrictions", relay, { also: stricter }),
      // Postfix looks into these first, and would deliver or refuse the mail itself.
      {
        kind: "without",
        name: "mydestination",
        words: domains,
        standard: "$myhostname, localhost.$mydomain, localhost",
      },
      { kind: "without", name: "virtual_alias_domains", words: domains, standard: "" },
      { kind: "without", name: "virtual_mailbox_domains", words: domains, standard: "" },
    ],
  };
}

function sizeStep({ way, config }: PlanInput): Step {
  // Before the queue GoMail refuses what is too large while the sender is there; after it there would be a bounce.
  const room = way === "lmtp" ? Math.min(TRACE_BYTES, Math.floor(config.max_message_size / 2)) : 0;
  const limit = config.max_message_size - room;
  const mailboxes = ["mailbox_size_limit", "virtual_mailbox_limit"].map((name) => main(name, "0"));
  return {
    why: room > 0
      ? `Takes what GoMail takes: max_message_size less ${room} bytes for Postfix's own header field.`
      : "Takes what GoMail takes: max_message_size.",
    settings: [main("message_size_limit", String(limit)), ...(limit > MAILBOX_BYTES ? mailboxes : [])],
  };
}

const SMUGGLING: Step = {
  why: "Nothing is smuggled in behind a mail's end, nobody talks before it is their turn.",
  settings: [
    main("smtpd_forbid_bare_newline", "yes", { also: ["normalize", "reject"] }),
    main("smtpd_forbid_unauth_pipelining", "yes"),
  ],
};

/**
 * Key first, then its chain. smtpd_tls_chain_files wins over smtpd_tls_cert_file, which so keeps what it was for
 * the day we are gone. Without a certificate in the config Postfix keeps its own, or borrows the one that GoMail
 * made for itself: most senders don't look at who signed (RFC 7435).
 */
function chainOf({ tls_cert_file: cert, tls_key_file: key, data_dir }: PlanConfig) {
  if (cert !== undefined && key !== undefined) {
    return main("smtpd_tls_chain_files", `${word(key)}, ${word(cert)}`);
  }
  const made = word(`${data_dir}/tls/self-signed`);
  return main("smtpd_tls_chain_files", `${made}.key, ${made}.crt`, {
    unless: ["smtpd_tls_chain_files", "smtpd_tls_cert_file", "smtpd_tls_eccert_file"],
  });
}

function tlsStep({ config }: PlanInput): Step {
  const { tls_min_version: version } = config;
  const oldest = `>=TLSv${version}`;
  const also = version === "1.3" ? [] : [">=TLSv1.3", "!SSLv2, !SSLv3, !TLSv1, !TLSv1.1"];
  const chain = chainOf(config);
  const whose = chain.unless ? "Postfix's certificate, else the one GoMail made" : "our certificate";
  return {
    why: `Offers STARTTLS, TLS ${version} or newer, with ${whose}.`,
    settings: [
      config.starttls_required
        ? main("smtpd_tls_security_level", "encrypt")
        : main("smtpd_tls_security_level", "may", { also: ["encrypt"] }),
      main("smtpd_tls_protocols", oldest, { also }),
      main("smtpd_tls_mandatory_protocols", oldest, { also }),
      chain,
    ],
  };
}

/**
 * GoMail counts Postfix's clients by XFORWARD, but not before their first mail, and by LMTP not at all. mynetworks
 * is exempt from the limits of anvil(8).
 */
function limitStep({ config }: PlanInput): Step {
  return {
    why:
      "Limits for each client as in gomail.yaml, counted by anvil; postscreen, where used, drops who talks first.",
    settings: [
      main("smtpd_client_connection_count_limit", String(config.max_connections_per_ip)),
      main("smtpd_client_connection_rate_limit", String(config.throttle_connections_per_minute)),
      main("anvil_rate_time_unit", "60s", { standard: "60s", also: ["60", "1m"] }),
      main("postscreen_greet_action", "enforce", { also: ["drop"] }),
      main("postscreen_denylist_action", "enforce", { also: ["drop"] }),
    ],
  };
}

/** master.cf of Debian and of Postfix itself, where these lines are comments. */
function postscreenStep(port25: string): Step {
  const service = (name: string, fields: string, before?: string): Setting => ({
    kind: "service",
    service: name,
    fields,
    options: [],
    ...(before !== undefined && { before }),
  });
  return {
    why: "Puts postscreen on port 25, which hands on to smtpd who has waited for the greeting.",
    settings: [
      service("smtpd/pass", "- - y - - smtpd"),
      service("dnsblog/unix", "- - y - 0 dnsblog"),
      service("tlsproxy/unix", "- - y - 0 tlsproxy"),
      service(`${port25}/inet`, "n - y - 1 postscreen", "n - y - - smtpd"),
    ],
  };
}

/**
 * What is in Postfix's queue for our domains goes to the LMTP door, in both ways: bounces above all, which Postfix
 * makes itself, without any client that a filter could answer. At the filter's door a refusal would end such a
 * bounce, unheard (a DMARC policy of our own is enough, for a Postfix with a name below our domain); at the LMTP
 * door nothing is refused for policy. And what Postfix wants of others' servers, TLS for one (smtp_tls_*), it does
 * not want of that door.
 */
function wayStep({ way, config }: PlanInput, smtpd: string): Step {
  const filter = (value: string | null): Setting => ({
    kind: "option",
    service: smtpd,
    name: "smtpd_proxy_filter",
    value,
  });
  const home = [
    main("relay_transport", lmtpTransport(config.lmtp_listen)),
    main("lmtp_send_xforward_command", "yes"),
    main("smtputf8_enable", "yes"),
  ];
  if (way === "lmtp") {
    return {
      why: "Queues mail for our domains and delivers it to GoMail by LMTP, with the client's true address.",
      settings: [filter(null), ...home],
    };
  }
  return {
    why:
      "Asks GoMail before it queues anything; Postfix's own bounces, and this host's mail, reach it by LMTP.",
    settings: [filter(doorOf(way, config.proxy_listen)), ...home],
  };
}

/** A record of Postfix's queue has one byte more than its line where that is longer than this. */
const LONG_LINE_BYTES = 128;

/**
 * Takes what GoMail sends, from this host alone, and changes nothing of it: it is signed, and its envelope sender
 * leads each bounce home. Whatever main.cf has for strangers (filters, milters, restrictions, rewriting, limits) is
 * off here. A cleanup of its own, because it is that one which writes addresses anew, cuts long header fields off,
 * and ends what is larger than others may send.
 */
function outletStep({ service, mynetworks }: Exclude<Outlet, { none: string }>, config: PlanConfig): Step {
  const only = "permit_mynetworks,reject";
  const { max_message_size: bytes } = config;
  const size = [
    "message_size_limit",
    String(bytes + TRACE_BYTES + Math.ceil(bytes / LONG_LINE_BYTES)),
  ] as const;
  const mark = ["syslog_name", "postfix/gomail"] as const;
  return {
    why: "Takes GoMail's outgoing mail on loopback, unfiltered and unchanged, and from nobody else.",
    settings: [
      {
        kind: "service",
        service: "gomail-cleanup/unix",
        fields: "n - y - 0 cleanup",
        options: [
          mark,
          size,
          ["header_size_limit", String(HEADER_BYTES_MAX)],
          ["canonical_maps", ""],
          ["sender_canonical_maps", ""],
          ["masquerade_domains", ""],
        ],
      },
      {
        kind: "service",
        service: `${service}/inet`,
        fields: "n - y - - smtpd",
        options: [
          mark,
          ["cleanup_service_name", "gomail-cleanup"],
          size,
          ["mynetworks", mynetworks],
          ["smtpd_client_event_limit_exceptions", mynetworks],
          ["smtpd_client_restrictions", only],
          ["smtpd_relay_restrictions", only],
          ["smtpd_recipient_restrictions", only],
          ["smtpd_helo_restrictions", ""],
          ["smtpd_sender_restrictions", ""],
          ["smtpd_data_restrictions", ""],
          ["smtpd_end_of_data_restrictions", ""],
          ["smtpd_reject_unlisted_sender", "no"],
          ["smtpd_proxy_filter", ""],
          ["content_filter", ""],
          ["smtpd_milters", ""],
          ["receive_override_options", "no_header_body_checks"],
          ["local_header_rewrite_clients", ""],
          ["smtpd_discard_ehlo_keywords", ""],
          ["smtpd_discard_ehlo_keyword_address_maps", ""],
          ["smtpd_tls_security_level", "none"],
          ["smtpd_sasl_auth_enable", "no"],
        ],
      },
    ],
  };
}

/** All of it, in the order in which it should be done. */
export function planOf(input: PlanInput): Step[] {
  const { port25, postscreen, config, domains } = input;
  const smtpd = postscreen ? "smtpd/pass" : `${port25}/inet`;
  const outlet = outletOf(config, port25);
  const exists: Setting = {
    kind: "program",
    service: `${port25}/inet`,
    program: postscreen ? null : "smtpd",
  };
  return [
    { why: "Port 25 is where it should be.", settings: [exists] },
    domainStep(domains),
    sizeStep(input),
    SMUGGLING,
    tlsStep(input),
    limitStep(input),
    ...(postscreen ? [postscreenStep(port25)] : []),
    wayStep(input, smtpd),
    ...("none" in outlet ? [] : [outletStep(outlet, config)]),
  ];
}
