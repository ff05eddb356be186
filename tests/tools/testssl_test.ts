/**
 * What a stranger's scanner says about our STARTTLS: testssl.sh (https://testssl.sh) shakes hands some hundred times,
 * with its own bytes where openssl could not make them any more (SSLv2, export ciphers). Its verdicts are read
 * from its JSON, where each check has an id and a severity.
 */

import { assert, assertEquals } from "@std/assert";
import { makeCertificate } from "../support/certificates.ts";
import { portOf } from "../support/daemon_process.ts";
import { type ConfigValues, withDaemon } from "../support/harness.ts";
import { hasProgram, run } from "../support/program.ts";
import { testIf, withTempDir } from "../support/test.ts";

/** The package's name for it is another than its author's. */
const PROGRAM = ["testssl", "testssl.sh"].find(hasProgram);
const NAME = "mx.example.com";

interface Finding {
  id: string;
  severity: string;
  finding: string;
}

/** Protocols, ciphers by strength, forward secrecy. */
const CHECKS = ["--protocols", "--standard", "--fs"];
/** A last resort: nothing is judged by it, however busy the machine is. */
const ANSWER_SECONDS_MAX = 60;
/** Whatever is worse than a matter of taste, and what it could not find out. */
const BAD = ["LOW", "MEDIUM", "HIGH", "CRITICAL", "WARN", "FATAL"];
/** Nobody vouches for a certificate that its owner has signed, and nobody could revoke it. */
const SELF_SIGNED = ["cert_chain_of_trust", "cert_revocation"];
/** About the scanner's own openssl, which has no GOST, and does not resume sessions over STARTTLS. */
const ITS_OWN = ["engine_problem", "sessionresumption_ticket"];

const NEVER_OFFERED = [
  ...["SSLv2", "SSLv3", "TLS1", "TLS1_1"],
  // In words: without encryption, without authentication, crippled for export, 64 bits and RC4, 3DES, CBC.
  ...["NULL", "aNULL", "EXPORT", "LOW", "3DES_IDEA", "AVERAGE"].map((list) => `cipherlist_${list}`),
];

async function scan(address: string, checks: string[], dir: string): Promise<Finding[]> {
  const [file, limit] = [`${dir}/findings.json`, String(ANSWER_SECONDS_MAX)];
  const { code, out, err } = await run(PROGRAM!, [
    ...[...checks, "--starttls", "smtp", "--ip", "127.0.0.1", "--nodns", "none"],
    ...["--jsonfile", file, "--quiet", "--color", "0", "--warnings", "batch"],
    ...["--connect-timeout", limit, "--openssl-timeout", limit, `${NAME}:${portOf(address)}`],
  ], { env: { TMPDIR: dir } });
  try {
    return JSON.parse(await Deno.readTextFile(file));
  } catch (cause) {
    throw new Error(`Cannot read what testssl.sh found: exit ${code}\n${out}${err}`, { cause });
  }
}

/** `key`: what certificate the ciphers are for. */
function check(findings: Finding[], key: "ECDSA" | "RSA"): void {
  const of = (id: string) => findings.find((finding) => finding.id === id)?.finding ?? "not looked at";
  for (const id of NEVER_OFFERED) assertEquals([id, of(id)], [id, "not offered"]);
  for (const id of ["TLS1_2", "TLS1_3", "cipherlist_STRONG"]) {
    assertEquals(of(id).split(" ")[0], "offered", id);
  }
  // By its name in 3.0, and in 3.2.
  const secrecy = findings.find(({ id }) => id === "PFS" || id === "FS");
  assertEquals([secrecy?.severity, secrecy?.finding.split(" ")[0]], ["OK", "offered"]);
  const ciphers = (findings.find(({ id }) => /^P?FS_ciphers$/.test(id))?.finding ?? "").split(" ");
  assert(ciphers.some((cipher) => cipher.startsWith(`ECDHE-${key}-`)), ciphers.join());
  for (const cipher of ciphers) assert(/^(TLS|ECDHE-(ECDSA|RSA))[-_].*(GCM|POLY1305)/.test(cipher), cipher);
  const bad = findings.filter(({ id, severity }) =>
    BAD.includes(severity) && ![...SELF_SIGNED, ...ITS_OWN].includes(id)
  );
  assertEquals(bad, []);
}

/** A daemon with these values is scanned. */
const scanned = (values: ConfigValues, checks = CHECKS): Promise<Finding[]> =>
  withTempDir(async (dir) => {
    let findings: Finding[] = [];
    await withDaemon({ mail_hostname: NAME, ...values }, async (d) => {
      findings = await scan(d.daemon.addresses.smtp[0]!, checks, dir);
    });
    return findings;
  });

testIf(
  PROGRAM !== undefined,
  "testssl.sh is not installed",
  "testssl.sh finds no protocol below TLS 1.2, no weak cipher and forward secrecy on all, with EC and RSA",
  () =>
    withTempDir(async (dir) => {
      const pair = await makeCertificate(NAME, "rsa");
      const files = { tls_cert_file: `${dir}/cert.pem`, tls_key_file: `${dir}/key.pem` };
      await Deno.writeTextFile(files.tls_cert_file, pair.cert);
      await Deno.writeTextFile(files.tls_key_file, pair.key, { mode: 0o600 });
      // It waits more than it computes: both at once take hardly longer than one.
      const [ownCertificate, rsa] = await Promise.all([
        // The certificate is ours as well, so it is looked at too.
        scanned({}, [...CHECKS, "--server-defaults"]),
        scanned(files),
      ]);
      check(ownCertificate, "ECDSA");
      assert(
        ownCertificate.some(({ id }) => id === "cert_validityPeriod"),
        "the certificate was not looked at",
      );
      check(rsa, "RSA");
    }),
);
