/**
 * The README against the program: its table of keys is made from the schema, and what it says about routes,
 * commands, the payload and the check of a signature holds. GOLDEN_UPDATE=1 writes the table anew.
 */

import { assertEquals } from "@std/assert";
import { COMMANDS } from "../src/cli/commands.ts";
import { defaultsAsWritten, keysByGroup } from "../src/config/example.ts";
import type { ConfigKey, KeyMeta } from "../src/config/schema.ts";
import { sign } from "../src/delivery/webhook/sign.ts";
import { routeTable } from "../src/servers/http/app.ts";
import type { HttpDeps } from "../src/servers/http/types.ts";
import { test } from "./support/test.ts";

const README = new URL("../README.md", import.meta.url);
const TABLE =
  /(<!-- config-table: [^\n]*-->\n<!-- deno-fmt-ignore-start -->\n)([^]*?)(<!-- deno-fmt-ignore-end -->)/;

const readme = await Deno.readTextFile(README);

/** The code blocks of a language, in order. */
function blocks(language: string): string[] {
  return [...readme.matchAll(new RegExp(`^\`\`\`${language}\n([^]*?)^\`\`\``, "gm"))].map((match) =>
    match[1]!
  );
}

function defaultCell(written: unknown, meta: KeyMeta): string {
  if (meta.defaultNote !== undefined) return meta.defaultNote;
  if (Array.isArray(written)) {
    return written.length === 0 ? "none" : written.map((entry) => `\`${entry}\``).join(", ");
  }
  return written === undefined ? "-" : `\`${written}\``;
}

function meaningCell({ description, unit, secret }: KeyMeta): string {
  const notes = [unit && `Unit: ${unit}.`, secret && "Secret."];
  return [description, ...notes].filter(Boolean).join(" ").replaceAll("|", "\\|");
}

/** A table for each group of keys. */
function configTable(): string {
  const defaults = defaultsAsWritten();
  const row = ([name, meta]: [ConfigKey, KeyMeta]) =>
    `| \`${name}\` | ${defaultCell(defaults.get(name), meta)} | ${meaningCell(meta)} |\n`;
  const tables = [...keysByGroup()].map(([group, keys]) =>
    `| ${group} | default | |\n| --- | --- | --- |\n${keys.map(row).join("")}`
  );
  return `\n${tables.join("\n")}\n`;
}

test("The README's table of keys is what the schema says", async () => {
  const wanted = configTable();
  if (Deno.env.get("GOLDEN_UPDATE") === "1") {
    await Deno.writeTextFile(README, readme.replace(TABLE, (_, start, __, end) => start + wanted + end));
  }
  assertEquals(TABLE.exec(await Deno.readTextFile(README))?.[2], wanted);
});

test("The README names every route and every command", () => {
  // The handlers are never called, so what they need need not be there.
  const routes = routeTable({} as HttpDeps).map(({ method, path }) => `\`${method} ${path}\``);
  const commands = COMMANDS.map(({ name }) => `\`${name}`);
  assertEquals([...routes, ...commands].filter((name) => !readme.includes(name)), []);
});

/** Names, and what is below them, without the values; of a list the first entry stands for all. */
function shapeOf(value: unknown): unknown {
  if (Array.isArray(value)) return [];
  if (typeof value !== "object" || value === null) return null;
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, shapeOf(inner)]));
}

test("The README's payload has the fields that a payload has, in their order", async () => {
  const golden = new URL("golden/payload/attachment.json", import.meta.url);
  const real = JSON.parse(await Deno.readTextFile(golden));
  const shown = JSON.parse(blocks("json").find((block) => block.includes("mail.received"))!);
  assertEquals(shown.connection.tls, { version: "TLSv1.3", cipher: "TLS_AES_256_GCM_SHA384" });
  // The golden mail came without TLS.
  const comparable = { ...shown, connection: { ...shown.connection, tls: null } };
  assertEquals(JSON.stringify(shapeOf(comparable)), JSON.stringify(shapeOf(real)));
});

test("The README's check without a library takes our signature and no other", async () => {
  const source = blocks("js").find((block) => block.includes("function verify("))!;
  const { verify } = await import(
    `data:text/javascript,${encodeURIComponent(`${source}\nexport { verify };`)}`
  );
  const secret = "whsec_" + btoa("a secret of thirty-two bytes....");
  const body = new TextEncoder().encode('{"event":"mail.received"}');
  const now = Math.floor(Date.now() / 1000);
  const headers = {
    "webhook-id": "evt_1",
    "webhook-timestamp": String(now),
    "webhook-signature": `v1,AAAA ${sign([secret], "evt_1", now, body)}`,
  };
  assertEquals(verify(secret, headers, body), true);
  assertEquals(verify(secret, headers, body.slice(1)), false);
  assertEquals(verify(secret, { ...headers, "webhook-id": "evt_2" }, body), false);
  assertEquals(verify(secret, { ...headers, "webhook-timestamp": String(now - 600) }, body), false);
  assertEquals(verify(secret, { ...headers, "webhook-timestamp": undefined }, body), false);
  assertEquals(verify(secret, {}, body), false);
});
