/** Checks about listeners and TLS: nothing is bound here, only what can never work is found. */

import { Buffer } from "node:buffer";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { inRanges } from "../base/address.ts";
import { fileProblem, outsideToWrite, SOCKET_OUTSIDE } from "../base/places.ts";
import type { Findings, Surroundings } from "./findings.ts";
import { parseListen } from "./notation.ts";
import { isLoopbackHost } from "./private_host.ts";
import type { Config } from "./schema.ts";

/** A chain of certificates is some 10 KB. */
const PEM_BYTES_MAX = 2 ** 20;
const DAY_MS = 86_400_000;

/** Key exchange, as Go and OpenSSL write it in front of a suite's cipher; TLS 1.3 names have none. */
const ECDHE_PREFIX = /^(?:TLS_)?(?:ECDHE[-_](?:RSA|ECDSA)[-_](?:WITH[-_])?)?/i;
const AEAD_CIPHER = /^(?:AES[-_]?(?:128|256)[-_]GCM|CHACHA20[-_]POLY1305)(?:[-_]SHA(?:256|384))?$/i;

/** A suite that is offered anyway. */
const isStrong = (suite: string) => AEAD_CIPHER.test(suite.replace(ECDHE_PREFIX, ""));

/** One TCP listener, under the key that asks for it. */
interface Door {
  key: string;
  host: string;
  port: number;
}

const isWildcard = (host: string) => host === "0.0.0.0" || host === "::";

/** Two listeners that can't both be bound. A wildcard takes every address of the port. */
function collide(a: Door, b: Door): boolean {
  return a.port !== 0 && a.port === b.port && (a.host === b.host || isWildcard(a.host) || isWildcard(b.host));
}

/** sockaddr_un holds 108 bytes with the final NUL (unix(7)); a longer path can't be bound or connected to. */
const SOCKET_PATH_BYTES_MAX = 107;

function checkSocketPath(key: string, path: string, found: Findings): void {
  if (new TextEncoder().encode(path).length <= SOCKET_PATH_BYTES_MAX) return;
  const problem = `is too long for a socket: at most ${SOCKET_PATH_BYTES_MAX} bytes`;
  found.problem(key, path, problem, "use a shorter path, such as one below /run");
}

/** Found here, and not at bind time, where the second listener would fail and the first be up. */
function checkCollisions(config: Config, found: Findings): void {
  const doors: Door[] = [{ key: "port", host: config.listen_address, port: config.port }];
  if (config.metrics_enabled) {
    doors.push({ key: "metrics_port", host: config.metrics_listen_address, port: config.metrics_port });
  }
  checkSocketPath("control_socket", config.control_socket, found);
  const sockets = new Map([[config.control_socket, "control_socket"]]);
  for (const key of ["smtp_listen", "proxy_listen", "lmtp_listen"] as const) {
    for (const entry of config[key]) {
      const address = parseListen(entry);
      // The schema let only readable addresses through; this is for the type.
      if (address === null) continue;
      if (!("path" in address)) {
        doors.push({ key, ...address });
        continue;
      }
      checkSocketPath(key, address.path, found);
      if (outsideToWrite(address.path)) {
        found.problem(key, entry, SOCKET_OUTSIDE.reason, SOCKET_OUTSIDE.remedy);
      }
      const other = sockets.get(address.path);
      if (other !== undefined) {
        found.problem(key, entry, `is the same socket as ${other}`, "use another path");
      }
      sockets.set(address.path, key);
    }
  }
  doors.forEach((door, i) => {
    const other = doors.slice(0, i).find((earlier) => collide(earlier, door));
    if (other === undefined) return;
    found.problem(
      door.key,
      `${door.host}:${door.port}`,
      `is the same port as ${other.key}`,
      "use another port",
    );
  });
}

/** Doors that are open to more than their purpose. Nothing is refused: there may be a firewall. */
function checkExposure(config: Config, found: Findings): void {
  const { listen_address: address } = config;
  if (!isLoopbackHost(address)) {
    const problem = "is reachable from outside, and the API is plain HTTP: tokens go in the clear";
    found.warning("listen_address", address, problem, "put a TLS proxy in front and listen on 127.0.0.1");
  }
  if (config.smtp_listen.length + config.proxy_listen.length + config.lmtp_listen.length === 0) {
    found.warning("smtp_listen", "off", "with all SMTP doors off mail comes by HTTP only", "set smtp_listen");
  }
  const proxies = config.xforward_peers;
  const isOpen = (entry: string) => {
    const door = parseListen(entry);
    return door !== null && "host" in door && !isLoopbackHost(door.host) && !inRanges(door.host, proxies);
  };
  const open = config.proxy_listen.find(isOpen);
  if (open !== undefined) {
    const problem = "is a door for Postfix alone, and reachable from outside";
    found.warning("proxy_listen", open, problem, "listen on 127.0.0.1 or a unix socket");
  }
}

/** A PEM file for a look at it; null, with a problem noted, where that fails. */
function readPem(
  key: "tls_cert_file" | "tls_key_file",
  path: string,
  found: Findings,
  surroundings: Surroundings,
) {
  try {
    const bytes = surroundings.readFile(path, PEM_BYTES_MAX);
    if (bytes.length <= PEM_BYTES_MAX) return Buffer.from(bytes);
    found.problem(key, path, "names a file that is too large", "name a PEM file");
  } catch (error) {
    const { reason, remedy } = fileProblem(path, error);
    const what = error instanceof Deno.errors.NotFound ? "does not exist" : `cannot be read: ${reason}`;
    found.problem(
      key,
      path,
      `names a file that ${what}`,
      `name a PEM file that this user can read, or ${remedy}`,
    );
  }
  return null;
}

/**
 * Reads what STARTTLS will use. An expired certificate is a warning: most senders don't look (RFC 7435), and
 * mail with a stale certificate beats none.
 */
function checkCertificate(
  certPath: string,
  keyPath: string,
  found: Findings,
  surroundings: Surroundings,
): void {
  const certPem = readPem("tls_cert_file", certPath, found, surroundings);
  const keyPem = readPem("tls_key_file", keyPath, found, surroundings);
  let certificate: X509Certificate | null = null;
  try {
    if (certPem) certificate = new X509Certificate(certPem);
  } catch {
    // OpenSSL's words about a broken certificate help nobody who doesn't know which file it is.
    found.problem("tls_cert_file", certPath, "is not a PEM certificate", "name the certificate chain, PEM");
  }
  try {
    const key = keyPem && createPrivateKey(keyPem);
    if (certificate && key && !certificate.checkPrivateKey(key)) {
      found.problem(
        "tls_key_file",
        keyPath,
        "does not belong to tls_cert_file",
        "name the key of that certificate",
      );
    }
  } catch {
    // As above; and nothing about a private key belongs into a message.
    found.problem("tls_key_file", keyPath, "is not an unencrypted PEM private key", "name the key, PEM");
  }
  if (!certificate) return;
  const leftMs = Date.parse(certificate.validTo) - surroundings.now();
  if (leftMs < 0) {
    found.warning("tls_cert_file", certPath, "has expired", "renew the certificate");
  } else if (leftMs < 7 * DAY_MS) {
    found.warning("tls_cert_file", certPath, `expires in ${Math.floor(leftMs / DAY_MS)} days`, "renew it");
  }
}

/** The keys of TLS against each other. Suites can't be chosen: the TLS library offers strong ones only. */
function checkTls(config: Config, found: Findings, surroundings: Surroundings): void {
  const { tls_cert_file: cert, tls_key_file: key } = config;
  if (config.starttls_required && !(config.tls_enabled && config.starttls_enabled)) {
    const problem = "can't be met: STARTTLS is not offered";
    found.problem("starttls_required", true, problem, "set tls_enabled and starttls_enabled to true");
  }
  if (config.tls_cipher_suites.length > 0) {
    const weak = config.tls_cipher_suites.find((suite) => !isStrong(suite));
    const problem = weak === undefined
      ? "has no effect: all AEAD suites with ECDHE are offered, and no others"
      : "asks for a suite that is never offered: only AEAD suites with ECDHE are";
    found.warning("tls_cipher_suites", weak ?? config.tls_cipher_suites, problem, "remove it");
  }
  if ((cert === undefined) !== (key === undefined)) {
    const [present, absent] = cert === undefined
      ? ["tls_key_file", "tls_cert_file"]
      : ["tls_cert_file", "tls_key_file"];
    found.problem(absent!, undefined, `is not set, but ${present} is`, "set both or neither");
  }
  if (!config.tls_enabled) {
    if (cert !== undefined) {
      found.warning("tls_cert_file", cert, "has no effect with tls_enabled: false", "set tls_enabled: true");
    }
    return;
  }
  if (cert !== undefined && key !== undefined) checkCertificate(cert, key, found, surroundings);
}

/** Everything about listeners and TLS. */
export function checkDoors(config: Config, found: Findings, surroundings: Surroundings): void {
  checkCollisions(config, found);
  checkExposure(config, found);
  checkTls(config, found, surroundings);
}
