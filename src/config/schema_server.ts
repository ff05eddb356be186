/** The keys about the program itself: HTTP API, places on the disk, limits, timeouts, metrics, logs. */

import {
  boolean,
  choice,
  domain,
  duration,
  host,
  httpUrl,
  integer,
  key,
  list,
  networks,
  size,
  text,
} from "./schema_kinds.ts";

/** Who is on this host, in the form that base/address.ts matches. */
const LOOPBACK = ["127.0.0.0/8", "::1"];

/** Port 0 is for tests and the demo, which run beside each other. */
export const serverKeys = {
  port: key(integer(0, 65535).prefault(3000), {
    description: "Port of the HTTP API, plain HTTP: put a proxy in front for TLS. 0 takes a free one.",
    group: "HTTP API",
    kind: "integer",
    example: 3000,
  }),
  listen_address: key(host().prefault("127.0.0.1"), {
    description: "Address the HTTP API listens on.",
    group: "HTTP API",
    kind: "text",
    example: "127.0.0.1",
  }),
  public_url: key(httpUrl().transform((url) => url.replace(/\/+$/, "")).optional(), {
    description: "Where the HTTP API is reached from outside: base of the URLs in webhook payloads.",
    group: "HTTP API",
    kind: "text",
    example: "https://mail.example.com",
  }),
  bearer_token: key(
    text("a token without spaces").regex(/^[\x21-\x7e]+$/, {
      // Clients send other characters in one coding or another, so that it would be a wrong token: and a ban.
      error: "must be printable ASCII without spaces",
    }).optional(),
    {
      description: "Token that API clients send. Required by the server, 16 characters or more, random.",
      group: "HTTP API",
      kind: "text",
      example: "",
      secret: true,
    },
  ),
  trusted_proxies: key(networks().prefault([]), {
    description: "Proxies whose X-Forwarded-For is believed for the client's address.",
    group: "HTTP API",
    kind: "list",
    example: ["10.0.0.5"],
  }),
  rate_limit_per_minute: key(integer(1, 1_000_000).prefault(60), {
    description: "Requests an IP address may make without a valid token.",
    group: "HTTP API",
    kind: "integer",
    unit: "requests per minute",
    example: 60,
  }),
  rate_limit_burst: key(integer(1, 1_000_000).prefault(10), {
    description: "How many of them may come at once.",
    group: "HTTP API",
    kind: "integer",
    unit: "requests",
    example: 10,
  }),
  rate_limit_exempt: key(networks().prefault(LOOPBACK), {
    description:
      "Addresses without that limit, which may also hold more than 128 connections; none: no address.",
    group: "HTTP API",
    kind: "list",
    example: LOOPBACK,
  }),
  mode: key(choice("simple", "socket").prefault("simple"), {
    description: "simple: opens its own sockets. socket: takes them from systemd.",
    group: "Process",
    kind: "choice",
    example: "simple",
  }),
  data_dir: key(text("a directory").prefault("/var/lib/gomail"), {
    description: "Where mail, queue and generated secrets are kept.",
    group: "Process",
    kind: "text",
    example: "/var/lib/gomail",
  }),
  control_socket: key(text("a path").prefault("/run/gomail/gomail.sock"), {
    description: "Unix socket for the commands that talk to the daemon; its file mode is the access check.",
    group: "Process",
    kind: "text",
    example: "/run/gomail/gomail.sock",
  }),
  shutdown_timeout: key(duration(0, 3_600_000).prefault("30s"), {
    description: "How long what is in flight may take to finish after SIGTERM.",
    group: "Process",
    kind: "duration",
    example: "30s",
  }),
  mail_hostname: key(domain().optional(), {
    description: "Our name in the SMTP greeting and HELO; should be what the PTR record says.",
    group: "Domains",
    kind: "text",
    example: "mail.example.com",
    defaultNote: "mail.<infra_domain or primary_domain>, else the host's name",
  }),
  primary_domain: key(domain().optional(), {
    description: "The domain we accept mail for.",
    group: "Domains",
    kind: "text",
    example: "example.com",
  }),
  additional_domains: key(list(domain(), "domain names").prefault([]), {
    description: "More domains we accept mail for.",
    group: "Domains",
    kind: "list",
    example: ["example.org", "example.net"],
  }),
  infra_domain: key(domain().optional(), {
    description: "Domain of this host, where that is not primary_domain: mail_hostname is made from it.",
    group: "Domains",
    kind: "text",
    example: "example.com",
  }),
  read_timeout: key(duration(1, 3_600_000).prefault("30s"), {
    description: "How long an HTTP client may take to send its request.",
    group: "Timeouts",
    kind: "duration",
    example: "30s",
  }),
  write_timeout: key(duration(1, 3_600_000).prefault("30s"), {
    description: "How long an HTTP client may take to read the answer.",
    group: "Timeouts",
    kind: "duration",
    example: "30s",
  }),
  idle_timeout: key(duration(1, 3_600_000).prefault("120s"), {
    description: "How long a kept HTTP connection may be silent.",
    group: "Timeouts",
    kind: "duration",
    example: "120s",
  }),
  handler_timeout: key(duration(1, 3_600_000).prefault("60s"), {
    description: "How long we may take to answer an HTTP request.",
    group: "Timeouts",
    kind: "duration",
    example: "60s",
  }),
  retention_age: key(duration(1000, 3650 * 86_400_000).prefault("30d"), {
    description: "Stored mail older than this is deleted, unless something is still owed for it.",
    group: "Storage",
    kind: "duration",
    example: "30d",
  }),
  retention_bytes: key(size(1024).optional(), {
    description:
      "When stored mail is larger than this, the oldest goes first, unless something is owed for it.",
    group: "Storage",
    kind: "size",
    example: "10GB",
    defaultNote: "no limit",
  }),
  disk_reserve: key(size(0).prefault("512MB"), {
    description: "With less free space than this new mail gets 452.",
    group: "Storage",
    kind: "size",
    example: "512MB",
  }),
  metrics_enabled: key(boolean().prefault(true), {
    description: "Serves Prometheus metrics on a listener of their own.",
    group: "Metrics",
    kind: "boolean",
    example: true,
  }),
  metrics_port: key(integer(0, 65535).prefault(9090), {
    description: "Port of that listener. 0 takes a free one.",
    group: "Metrics",
    kind: "integer",
    example: 9090,
  }),
  metrics_path: key(
    text("a path").regex(/^\/[\w./~-]*$/, { error: "must be a path such as /metrics" }).prefault("/metrics"),
    { description: "Path of the metrics.", group: "Metrics", kind: "text", example: "/metrics" },
  ),
  metrics_listen_address: key(host().prefault("127.0.0.1"), {
    description: "Address the metrics listener binds.",
    group: "Metrics",
    kind: "text",
    example: "127.0.0.1",
  }),
  log_level: key(choice("debug", "info", "warn", "error").prefault("info"), {
    description: "The least important lines to log.",
    group: "Logs",
    kind: "choice",
    example: "info",
  }),
  log_format: key(choice("json", "text").prefault("json"), {
    description: "Form of the log lines, which go to stderr.",
    group: "Logs",
    kind: "choice",
    example: "json",
    defaultNote: "json, or text on a terminal",
  }),
};
