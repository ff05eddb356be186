/**
 * The style rules of the house, executed: which room may import which, behind which door each library stays,
 * how long files and functions may be, and that every file says what it is. A rule that a test does not hold
 * is soon a wish.
 */

import { assertEquals } from "@std/assert";
import { test } from "./support/test.ts";

const ROOT = new URL("../", import.meta.url);
const FILE_LINES_MAX = 400;
const FUNCTION_LINES_MAX = 80;

/** Imports go down only. A room may always import itself. */
const MAY_IMPORT: Record<string, string[]> = {
  base: [],
  mail: ["base"],
  config: ["mail", "base"],
  store: ["mail", "config", "base"],
  events: ["store", "mail", "config", "base"],
  guard: ["store", "config", "base"],
  inbound: ["events", "store", "mail", "config", "base"],
  outbound: ["events", "store", "mail", "config", "base"],
  delivery: ["events", "store", "mail", "config", "base"],
  servers: ["inbound", "outbound", "guard", "events", "store", "mail", "config", "base"],
  daemon: [
    "servers",
    "inbound",
    "outbound",
    "delivery",
    "guard",
    "events",
    "store",
    "mail",
    "config",
    "base",
  ],
  cli: [
    "daemon",
    "servers",
    "inbound",
    "outbound",
    "delivery",
    "guard",
    "events",
    "store",
    "mail",
    "config",
    "base",
  ],
};

/** One package, few doors. `npm:` types that come with the runtime (node:*) are not listed but for the store's. */
const DOORS: Record<string, RegExp> = {
  "@hono/node-server": /^src\/servers\/http\//,
  "@std/cli/parse-args": /^src\/cli\//,
  "@std/ulid": /^src\/base\/id\.ts$/,
  "@std/yaml": /^src\/config\//,
  "age-encryption": /^src\/store\/backup\/seal\.ts$/,
  "dns-packet": /^src\/(base\/resolver|base\/dns|cli\/demo\/)/,
  "hono": /^src\/servers\/http\//,
  "ipaddr.js": /^src\/base\/address\.ts$/,
  "mailauth": /^src\/(inbound\/authenticate|inbound\/auth_|outbound\/sign|cli\/demo\/)/,
  "node:sqlite": /^src\/store\//,
  "nodemailer": /^src\/outbound\/compose/,
  "postal-mime": /^src\/mail\/parse\.ts$/,
  "prom-client": /^src\/base\/metrics\.ts$/,
  "selfsigned": /^src\/servers\/smtp\/self_signed\.ts$/,
  "zod": /^src\/(config|servers\/http|events)\//,
};

/** Who may open a connection to somewhere, and to where. Everybody else goes through delivery/egress. */
const CALLS_OUT: Record<string, string> = {
  "src/base/dns_transport.ts": "the name servers of the configuration",
  "src/cli/bench/resources.ts": "the daemon's metrics on loopback, as its configuration has them",
  "src/cli/control_client.ts": "the daemon's control socket, a path",
  "src/cli/demo/api_client.ts": "the demo's own daemon, on loopback",
  "src/cli/demo/receiver.ts": "nobody: it only listens, with node:https where it is asked to",
  "src/cli/demo/smtp_client.ts": "the demo's own daemon, on loopback",
  "src/cli/demo/zone_server.ts": "nobody: a name server answers over the datagram socket it is asked on",
  "src/cli/doctor/port_holder.ts":
    "whoever holds a port or a path that the configuration says is ours, and the mail host that port25.ts names",
  "src/cli/doctor/sntp.ts": "the time server that --ntp names",
  "src/daemon/service_manager.ts": "systemd's notify socket, a path",
  "src/delivery/egress/connections.ts": "the door itself: addresses that its guard has checked",
  "src/delivery/egress/exchange.ts": "the door itself: over those connections",
  "src/delivery/smtp/wire.ts":
    "mail hosts at addresses that mx.ts has checked, the configured smarthost, and bench's target, which has to be ours or confirmed",
  "src/servers/http/control_socket.ts": "our own path, to see whether another daemon listens there",
  "src/servers/smtp/listener.ts": "our own path, to see whether another daemon listens there",
};

interface Source {
  path: string;
  text: string;
  lines: string[];
}

async function sources(dir: string): Promise<Source[]> {
  const found: Source[] = [];
  for await (const entry of Deno.readDir(new URL(dir, ROOT))) {
    const path = `${dir}${entry.name}`;
    if (entry.isDirectory) found.push(...await sources(`${path}/`));
    else if (/\.ts$/.test(entry.name)) {
      const text = await Deno.readTextFile(new URL(path, ROOT));
      found.push({ path, text, lines: text.split("\n") });
    }
  }
  return found.sort((a, b) => a.path < b.path ? -1 : 1);
}

/** Every specifier imported, statically, dynamically, or as a worker's URL. */
function importsOf(source: Source): string[] {
  const patterns = [
    /^\s*(?:import|export)\b[^"';]*?\bfrom\s+"([^"]+)"/gm,
    /^\s*import\s+"([^"]+)"/gm,
    /\bimport\(\s*"([^"]+)"/g,
    /new URL\(\s*"([^"]+\.ts)"/g,
  ];
  return patterns.flatMap((pattern) => [...source.text.matchAll(pattern)].map((m) => m[1]!));
}

const roomOf = (path: string) => path.split("/")[1]!;
const resolved = (from: string, specifier: string) =>
  new URL(specifier, new URL(from, ROOT)).href.slice(ROOT.href.length);

const all = await sources("src/");
const code = all.filter((s) => !s.path.startsWith("src/types/"));

test("Rooms import only what is below them", () => {
  const wrong: string[] = [];
  for (const source of code) {
    for (const specifier of importsOf(source).filter((s) => s.startsWith("."))) {
      const target = resolved(source.path, specifier);
      if (!target.startsWith("src/")) continue;
      const [from, to] = [roomOf(source.path), roomOf(target)];
      if (from !== to && !MAY_IMPORT[from]?.includes(to)) wrong.push(`${source.path} -> ${target}`);
    }
  }
  assertEquals(wrong, []);
});

test("Every library stays behind its door", () => {
  const wrong: string[] = [];
  for (const source of code) {
    for (const specifier of importsOf(source).filter((s) => !s.startsWith("."))) {
      const name = Object.keys(DOORS).find((d) => specifier === d || specifier.startsWith(`${d}/`));
      if (!name && specifier.startsWith("node:")) continue;
      if (!name) wrong.push(`${source.path} imports ${specifier}, which has no door`);
      else if (!DOORS[name]!.test(source.path)) wrong.push(`${source.path} imports ${specifier}`);
    }
  }
  assertEquals(wrong, []);
});

const NET_MODULES = /^(?:node:)?(?:http|https|http2|net|tls|dgram|dns|dns\/promises|undici)$/;
const CLIENT_NAMES = "request|get|connect|createConnection|createSocket|Socket|Agent|ClientRequest|fetch";
const CLIENT_GLOBALS = [
  /(?<![.\w#])fetch\(/,
  /\b(?:globalThis|self|window)\.fetch\b/,
  /\bDeno\.(?:connect|connectTls|connectQuic|createHttpClient|listenDatagram|resolveDns)\b/,
  /\bnew (?:WebSocket|WebSocketStream|WebTransport|EventSource|XMLHttpRequest)\b/,
];

/** The text opens connections, as far as text can show: by a global, or by what it imports of a network module. */
function callsOut(text: string): boolean {
  const plain = text.replace(/\/\*[^]*?\*\//g, "").replace(/(?<!:)\/\/.*$/gm, "");
  if (CLIENT_GLOBALS.some((pattern) => pattern.test(plain))) return true;
  for (const [, name] of plain.matchAll(/\bimport\(\s*"([^"]+)"/g)) if (NET_MODULES.test(name!)) return true;
  for (const [, what, from] of plain.matchAll(/^\s*import\s+(?!type\b)([^"';]*?)\s+from\s+"([^"]+)"/gm)) {
    if (!NET_MODULES.test(from!)) continue;
    const [, named = ""] = /\{([^}]*)\}/.exec(what!) ?? [];
    if (named.split(",").some((one) => new RegExp(`^\\s*(?:${CLIENT_NAMES})\\b`).test(one))) return true;
    const whole = /^(?:\* as )?([\w$]+)/.exec(what!)?.[1];
    // Called; anything else is a type.
    const use = new RegExp(`\\b${whole}\\)?\\.(?:${CLIENT_NAMES})\\(`);
    if (whole && use.test(plain)) return true;
  }
  return false;
}

test("Nothing opens a connection but the door for it and a named few", () => {
  const calls = [
    'const answer = await fetch("https://a.example/");',
    "globalThis.fetch;",
    "await Deno.connect({ port: 25 });",
    'import net from "node:net";\nnet.connect(25);',
    'import * as net from "node:net";\nnew net.Socket();',
    'import { type Server, connect as go } from "node:net";',
    'import http, { type Server } from "node:http";\nhttp.get("http://a.example/");',
    'import http from "node:http";\nimport https from "node:https";\n(x ? http : https).request(url);',
    'const https = await import("node:https");',
  ];
  assertEquals(calls.filter((text) => !callsOut(text)), []);
  const quiet = [
    'import type { Socket } from "node:net";\nlet socket: Socket;',
    'import net from "node:net";\nlet socket: net.Socket;\nnet.createServer();',
    "await app.fetch(request); // fetch() says little\n/* fetch() */",
  ];
  assertEquals(quiet.filter(callsOut), []);
  assertEquals(code.filter((s) => callsOut(s.text)).map((s) => s.path), Object.keys(CALLS_OUT));
});

test("What is behind the door of delivery/egress is its own", () => {
  const wrong: string[] = [];
  for (const source of code.filter((s) => !s.path.startsWith("src/delivery/egress/"))) {
    for (const specifier of importsOf(source).filter((s) => s.startsWith("."))) {
      const target = resolved(source.path, specifier);
      if (/^src\/delivery\/egress\/(?!mod\.ts$)/.test(target)) wrong.push(`${source.path} -> ${target}`);
    }
  }
  assertEquals(wrong, []);
});

test("No imports go round in a circle", () => {
  const graph = new Map(
    code.map((s) => [s.path, importsOf(s).filter((i) => i.startsWith(".")).map((i) => resolved(s.path, i))]),
  );
  const done = new Set<string>();
  const circles: string[] = [];
  const visit = (path: string, trail: string[]) => {
    if (trail.includes(path)) {
      return void circles.push([...trail.slice(trail.indexOf(path)), path].join(" -> "));
    }
    if (done.has(path)) return;
    for (const next of graph.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of graph.keys()) visit(path, []);
  assertEquals(circles, []);
});

test("No file of src is dead", () => {
  const used = new Set(["src/cli/mod.ts"]);
  for (const source of code) {
    for (const i of importsOf(source)) if (i.startsWith(".")) used.add(resolved(source.path, i));
  }
  assertEquals(code.map((s) => s.path).filter((path) => !used.has(path)), []);
});

test("Files open with prose and stay readable in length", () => {
  const wrong: string[] = [];
  for (const source of code) {
    if (!/^\/\*\*/.test(source.text)) wrong.push(`${source.path} does not say what it is`);
    if (source.lines.length > FILE_LINES_MAX + 1) {
      wrong.push(`${source.path} has ${source.lines.length} lines`);
    }
    if (/(^|\/)index\.ts$/.test(source.path)) wrong.push(`${source.path}: mod.ts, not index.ts`);
    if (!/^[a-z0-9_/.]+$/.test(source.path)) wrong.push(`${source.path}: snake_case names`);
  }
  const long = code.filter((s) => s.lines.length > 300).length;
  if (long > code.length * 0.1) wrong.push(`${long} of ${code.length} files are over 300 lines`);
  assertEquals(wrong, []);
});

/** deno fmt's layout makes the end easy to find: the first line that closes at the indentation of the start. */
function longFunctions(source: Source): string[] {
  const start =
    /^(\s*)(?:export )?(?:default )?(?:private |static |override )*(?:async )?(?:function\b|get |set |#?[\w]+(?:<[^>]*>)?\([^;]*\)?.*\{$|const \w+ = (?:async )?\()/;
  const found: string[] = [];
  source.lines.forEach((line, at) => {
    const match = start.exec(line);
    // A line that ends a statement is a function of one line.
    if (!match || /^\s*(if|for|while|switch|return|catch|else)\b|;$/.test(line)) return;
    const close = new RegExp(`^${match[1]}\\}`);
    const end = source.lines.findIndex((l, i) => i > at && close.test(l));
    const isClass = /\bclass\b/.test(line);
    if (!isClass && end - at + 1 > FUNCTION_LINES_MAX) {
      found.push(`${source.path}:${at + 1} ${end - at + 1} lines`);
    }
  });
  return found;
}

test("Functions fit on a page", () => {
  assertEquals(code.flatMap(longFunctions), []);
});

test("No leftovers: any, to-dos, silenced checks without a reason, empty catch blocks, module state", () => {
  const wrong: string[] = [];
  for (const source of code) {
    source.lines.forEach((line, at) => {
      const say = (what: string) => wrong.push(`${source.path}:${at + 1} ${what}`);
      if (/(: any\b|as any\b|<any>)/.test(line) && !/^\s*(\*|\/\/)/.test(line)) say("any");
      if (/\b(TODO|FIXME|XXX)\b/.test(line)) say("leftover note");
      if (/deno-lint-ignore|@ts-expect-error|deno-fmt-ignore/.test(line) && !/ -- /.test(line)) {
        say("no reason");
      }
      if (/@ts-ignore|deno-lint-ignore-file/.test(line)) say("silenced");
      if (/catch *(\([^)]*\))? *\{ *\}/.test(line)) say("empty catch");
      if (/^(export )?(let|var) /.test(line)) say("module-level state");
    });
  }
  assertEquals(wrong, []);
});

test("The map names every room", async () => {
  const map = await Deno.readTextFile(new URL("src/README.md", ROOT));
  const rooms = [...new Set(code.map((s) => roomOf(s.path)))];
  assertEquals(rooms.filter((room) => !map.includes(`${room}/`)), []);
});

test("The top level holds what it should and nothing else", async () => {
  const names: string[] = [];
  for await (const entry of Deno.readDir(ROOT)) if (!entry.name.startsWith(".")) names.push(entry.name);
  const allowed = ["main.ts", "src", "tests", "deno.json", "deno.lock", "packaging", "apparmor", "systemd"];
  const built = ["dist", "coverage", "node_modules"];
  const fine = [...allowed, ...built, "README.md", "LICENSE", "CHANGELOG.md"];
  assertEquals(names.filter((name) => !fine.includes(name)), []);
});
