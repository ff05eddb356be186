/**
 * The keys about mail coming in: the SMTP doors, TLS, limits for peers, and what is verified how strictly.
 */

import {
  boolean,
  choice,
  domain,
  duration,
  integer,
  key,
  list,
  listenList,
  nameServer,
  networks,
  size,
  text,
} from "./schema_kinds.ts";
import { z } from "zod";

/** Postfix on this host, and tests. */
const LOOPBACK = ["127.0.0.0/8", "::1"];

/** YAML reads an unquoted 1.2 as a number; both spellings mean the version. */
const tlsVersion = z.union([z.literal(["1.2", "1.3"]), z.literal([1.2, 1.3])], {
  error: "must be 1.2 or 1.3",
})
  .transform((value) => String(value) as "1.2" | "1.3");

/** Where mail is taken, from whom, and in what size; TLS is about these doors only. */
const doorKeys = {
  smtp_listen: key(listenList().prefault(["[::]:25"]), {
    description: "Where mail is taken by SMTP. [::] takes IPv4 as well.",
    group: "SMTP doors",
    kind: "list",
    example: ["[::]:25"],
  }),
  proxy_listen: key(listenList().prefault([]), {
    description: "Where Postfix hands mail over as its before-queue filter.",
    group: "SMTP doors",
    kind: "list",
    example: ["127.0.0.1:10025"],
  }),
  lmtp_listen: key(listenList().prefault([]), {
    description: "Where mail is taken by LMTP. Nothing is refused for policy here: it is marked.",
    group: "SMTP doors",
    kind: "list",
    example: ["unix:/run/gomail/lmtp.sock"],
  }),
  xforward_peers: key(networks().prefault(LOOPBACK), {
    description: "Peers whose XFORWARD is believed for the client's address; none: nobody.",
    group: "SMTP doors",
    kind: "list",
    example: LOOPBACK,
  }),
  max_message_size: key(size(1024, 2 ** 30).prefault("25MB"), {
    description: "Larger mail is refused; announced by SIZE.",
    group: "SMTP doors",
    kind: "size",
    example: "25MB",
  }),
  max_recipients: key(integer(1, 10_000).prefault(100), {
    description: "Recipients of one mail; more get 452 and are sent in the next.",
    group: "SMTP doors",
    kind: "integer",
    example: 100,
  }),
  tls_enabled: key(boolean().prefault(true), {
    description: "TLS at the SMTP doors. Without a certificate a self-signed one is made.",
    group: "TLS",
    kind: "boolean",
    example: true,
  }),
  tls_cert_file: key(text("a path").optional(), {
    description: "Certificate chain, PEM. Read again when it changes and on SIGHUP.",
    group: "TLS",
    kind: "text",
    example: "/etc/gomail/tls/fullchain.pem",
    defaultNote: "self-signed",
  }),
  tls_key_file: key(text("a path").optional(), {
    description: "Its private key, PEM.",
    group: "TLS",
    kind: "text",
    example: "/etc/gomail/tls/privkey.pem",
    defaultNote: "self-signed",
  }),
  tls_min_version: key(tlsVersion.prefault("1.2"), {
    description: "Oldest TLS version offered: 1.2 or 1.3.",
    group: "TLS",
    kind: "choice",
    example: "1.2",
  }),
  tls_cipher_suites: key(list(text("a cipher suite"), "cipher suites").prefault([]), {
    description: "Has no effect: only AEAD suites with ECDHE are ever offered.",
    group: "TLS",
    kind: "list",
    example: ["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384"],
    defaultNote: "strong AEAD/ECDHE suites only",
  }),
  starttls_enabled: key(boolean().prefault(true), {
    description: "Offers STARTTLS.",
    group: "TLS",
    kind: "boolean",
    example: true,
  }),
  starttls_required: key(boolean().prefault(false), {
    description: "Takes no mail before STARTTLS. Much legitimate mail comes without it.",
    group: "TLS",
    kind: "boolean",
    example: false,
  }),
};

/** What is verified, and what a failure leads to: the policy itself is in inbound/policy.ts. */
const authenticationKeys = {
  spf_enabled: key(boolean().prefault(true), {
    description: "Checks SPF (RFC 7208).",
    group: "Sender verification",
    kind: "boolean",
    example: true,
  }),
  spf_enforcement: key(choice("none", "soft", "strict").prefault("soft"), {
    description:
      "none: record. soft: fail is marked quarantine unless DMARC passes. strict: fail is refused.",
    group: "Sender verification",
    kind: "choice",
    example: "soft",
  }),
  dkim_enabled: key(boolean().prefault(true), {
    description: "Verifies DKIM signatures (RFC 6376).",
    group: "Sender verification",
    kind: "boolean",
    example: true,
  }),
  dmarc_enabled: key(boolean().prefault(true), {
    description: "Evaluates DMARC (RFC 9989).",
    group: "Sender verification",
    kind: "boolean",
    example: true,
  }),
  dmarc_enforcement: key(choice("none", "relaxed", "strict").prefault("relaxed"), {
    description: "none: record. relaxed: failing mail is marked quarantine. strict: p=reject is refused. " +
      "Mail that names no author, or several (no From field, two), is marked with none as well, and refused with " +
      "strict.",
    group: "Sender verification",
    kind: "choice",
    example: "relaxed",
  }),
  arc_trusted_sealers: key(list(domain(), "domain names").prefault([]), {
    description: "Forwarders whose ARC seals (RFC 8617) are believed.",
    group: "Sender verification",
    kind: "list",
    example: ["lists.example.org"],
  }),
  dns_servers: key(list(nameServer(), "name servers (ip or ip:port)").prefault([]), {
    description: "Name servers to ask. One on this host that validates DNSSEC is best.",
    group: "Sender verification",
    kind: "list",
    example: ["127.0.0.1"],
    defaultNote: "the system's",
  }),
  dns_timeout: key(duration(1, 60_000).prefault("5s"), {
    description: "How long one DNS question may take.",
    group: "Sender verification",
    kind: "duration",
    example: "5s",
  }),
};

/** Limits for each address. Over 100,000 connections the kernel is the limit, not we. */
const guardKeys = {
  max_connections_per_ip: key(integer(1, 100_000).prefault(10), {
    description:
      "SMTP connections that one address (an IPv6 /64) may have open. Behind proxy_listen, the client's mails.",
    group: "Abuse limits",
    kind: "integer",
    example: 10,
  }),
  max_total_connections: key(integer(1, 100_000).prefault(1000), {
    description: "SMTP connections in all; the allowlist and xforward_peers have a tenth more.",
    group: "Abuse limits",
    kind: "integer",
    example: 1000,
  }),
  throttle_connections_per_minute: key(integer(1, 1_000_000).prefault(60), {
    description:
      "New SMTP connections that one address may open; behind proxy_listen, the client's to Postfix.",
    group: "Abuse limits",
    kind: "integer",
    unit: "connections per minute",
    example: 60,
  }),
  ban_threshold: key(integer(1, 1_000_000).prefault(5), {
    description: "Points of abuse within ban_window that ban an address, or its IPv6 /64.",
    group: "Abuse limits",
    kind: "integer",
    example: 5,
  }),
  ban_window: key(duration(1000, 365 * 86_400_000).prefault("10m"), {
    description: "Time over which these points are counted.",
    group: "Abuse limits",
    kind: "duration",
    example: "10m",
  }),
  ban_duration: key(duration(1000, 365 * 86_400_000).prefault("1h"), {
    description: "How long a first ban lasts; each one after it twice as long, up to 30 days.",
    group: "Abuse limits",
    kind: "duration",
    example: "1h",
  }),
  connection_allowlist: key(networks().prefault(LOOPBACK), {
    description: "Addresses without connection limits, throttle and bans; none: no address.",
    group: "Abuse limits",
    kind: "list",
    example: LOOPBACK,
  }),
};

export const smtpKeys = { ...doorKeys, ...authenticationKeys, ...guardKeys };
