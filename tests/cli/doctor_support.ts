/** A host for `doctor` in a folder: config, data directory, listeners that others hold, certificates of a CA. */

import { assertEquals } from "@std/assert";
import type { CliIo } from "../../src/cli/io.ts";
import { startZoneServer, type ZoneName, type ZoneServer } from "../../src/cli/demo/zone_server.ts";
import type { TestDaemon } from "../support/harness.ts";
import { run } from "../support/program.ts";
import { withTempDir } from "../support/test.ts";
import { gomail, type Ran } from "./support.ts";

export interface Found {
  id: string;
  check: string;
  status: "ok" | "notice" | "problem" | "unknown" | "skipped";
  summary: string;
  remedy?: string;
}

/** Our address, as the world sees it, and what DNS has for a host that is set up; but for DKIM, which needs keys. */
export const IP = "20.1.2.3";
export const REVERSED = "3.2.1.20";
export const ZONES = ["zen.spamhaus.org", "bl.spamcop.net", "psbl.surriel.com", "bl.mailspike.net"];
const RIGHT: Record<string, ZoneName> = {
  "example.com": {
    MX: [{ exchange: "mail.example.com", priority: 10 }],
    TXT: ["v=spf1 mx -all"],
  },
  "mail.example.com": { A: [IP] },
  "_dmarc.example.com": { TXT: ["v=DMARC1; p=reject; rua=mailto:dmarc@example.com"] },
  [`${REVERSED}.in-addr.arpa`]: { PTR: ["mail.example.com"] },
  // Lists stand their test.
  ...Object.fromEntries(ZONES.map((zone) => [`2.0.0.127.${zone}`, { A: ["127.0.0.2"] }])),
};

export class Host {
  constructor(readonly dir: string, readonly zone: ZoneServer) {}

  get config(): string {
    return `${this.dir}/gomail.yaml`;
  }

  /** A config of what suits a test, with `yaml` over it. */
  async configure(yaml = ""): Promise<void> {
    const base = {
      bearer_token: "q7Zt4mXw9Lr2Vb8Ns5Kd",
      primary_domain: "example.com",
      mail_hostname: "mail.example.com",
      webhook_url: "https://app.example.com/",
      public_url: "https://mail.example.com",
      data_dir: `${this.dir}/data`,
      control_socket: `${this.dir}/gomail.sock`,
      port: freePort(),
      metrics_port: freePort(),
      smtp_listen: `127.0.0.1:${freePort()}`,
      // Of the machine that runs the tests nothing shall be asked.
      disk_reserve: 0,
      // Nor may anybody else be asked.
      dns_servers: this.zone.address,
    };
    const own = new Set([...yaml.matchAll(/^([a-z_]+):/gm)].map(([, key]) => key));
    const lines = Object.entries(base).filter(([key]) => !own.has(key)).map(([key, value]) =>
      `${key}: ${value}`
    );
    await Deno.writeTextFile(this.config, [...lines, yaml, ""].join("\n"), { mode: 0o600 });
  }

  doctor(args: readonly string[] = [], io: Partial<CliIo> = {}): Promise<Ran> {
    return gomail(["doctor", "--config", this.config, ...args], { io });
  }

  /** The findings of one check, of one id, or of all. */
  async findings(only?: string, io: Partial<CliIo> = {}, args: readonly string[] = []): Promise<Found[]> {
    const wanted = only === undefined ? [] : ["--only", only];
    const ran = await this.doctor(["--json", ...wanted, ...args], { now: Date.now, ...io });
    assertEquals(ran.err, "");
    const all: Found[] = JSON.parse(ran.out);
    for (const { id, check, status, remedy, summary } of all) {
      if (["notice", "problem", "unknown"].includes(status)) assertEquals(typeof remedy, "string", summary);
      assertEquals(id.split(".")[0], check);
    }
    assertEquals(ran.code, all.some(({ status }) => status === "problem" || status === "unknown") ? 1 : 0);
    return all;
  }
}

export const brief = (found: readonly Found[]) => found.map(({ status, summary }) => `${status}: ${summary}`);
export const problems = (found: readonly Found[]) => found.filter(({ status }) => status === "problem");

/** A host whose data directory is as the daemon would make it. */
export function withHost(fn: (host: Host) => Promise<void>): Promise<void> {
  return withTempDir(async (dir) => {
    await Deno.mkdir(`${dir}/data`, { mode: 0o700 });
    const zone = await startZoneServer({ records: RIGHT });
    try {
      const host = new Host(dir, zone);
      await host.configure();
      await fn(host);
    } finally {
      await zone.close();
    }
  });
}

export function freePort(): number {
  const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  listener.close();
  return (listener.addr as Deno.NetAddr).port;
}

/** Somebody else's server, which says `greeting` to everybody, for as long as `use` runs. */
export async function withServer(
  options: Deno.TcpListenOptions | Deno.UnixListenOptions & { transport: "unix" },
  greeting: string,
  use: (port: number) => Promise<void>,
): Promise<void> {
  const listener = "path" in options ? Deno.listen(options) : Deno.listen(options);
  const served = (async () => {
    for await (const connection of listener) {
      if (greeting !== "") await connection.write(new TextEncoder().encode(greeting));
      // Until the other side has had enough.
      while (await connection.read(new Uint8Array(1024)).catch(() => null) !== null);
      connection.close();
    }
  })();
  try {
    await use((listener.addr as Deno.NetAddr).port);
  } finally {
    listener.close();
    await served;
  }
}

/** As a person would, with openssl: a root, an intermediate, and a certificate for mail.example.com. */
export async function makeChain(
  dir: string,
  days = { root: 3650, middle: 90, leaf: 90 },
): Promise<{ leaf: string; chain: string; key: string; root: string }> {
  const openssl = async (...args: string[]) => {
    const ran = await run("openssl", args, { cwd: dir });
    assertEquals(ran.code, 0, ran.err);
  };
  const newKey = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  const subject = (name: string) => ["-keyout", `${name}.key`, "-subj", `/CN=${name}`];
  await openssl(
    "req",
    "-x509",
    ...newKey,
    ...subject("root"),
    "-out",
    "root.pem",
    "-days",
    String(days.root),
  );
  const sign = async (name: "middle" | "leaf", issuer: string, extensions: string) => {
    await Deno.writeTextFile(`${dir}/${name}.ext`, extensions);
    await openssl("req", ...newKey, ...subject(name), "-out", `${name}.csr`);
    const by = ["-CA", `${issuer}.pem`, "-CAkey", `${issuer}.key`, "-CAcreateserial"];
    const how = ["-days", String(days[name]), "-extfile", `${name}.ext`];
    await openssl("x509", "-req", "-in", `${name}.csr`, ...by, ...how, "-out", `${name}.pem`);
  };
  await sign("middle", "root", "basicConstraints=CA:TRUE");
  await sign("leaf", "middle", "subjectAltName=DNS:mail.example.com,DNS:*.wild.example");
  const read = (name: string) => Deno.readTextFile(`${dir}/${name}`);
  await Deno.writeTextFile(`${dir}/chain.pem`, await read("leaf.pem") + await read("middle.pem"));
  await Deno.writeTextFile(`${dir}/backwards.pem`, await read("leaf.pem") + await read("root.pem"));
  return {
    leaf: `${dir}/leaf.pem`,
    chain: `${dir}/chain.pem`,
    key: `${dir}/leaf.key`,
    root: `${dir}/root.pem`,
  };
}

/** The host of a daemon of the harness, whose zone gets what is right. */
export async function hostOf(d: TestDaemon, yaml = ""): Promise<Host> {
  for (const [name, records] of Object.entries(RIGHT)) d.zone.set(name, records);
  const host = new Host(d.dir, d.zone);
  const [port, metrics] = [d.daemon.addresses.api, d.daemon.addresses.metrics!].map((at) =>
    at.split(":").at(-1)
  );
  await host.configure(
    `port: ${port}\nmetrics_port: ${metrics}\nsmtp_listen: ${d.daemon.addresses.smtp[0]}\n${yaml}`,
  );
  return host;
}
