/**
 * The runbooks against alerts and program: one for each alert, all of one form, leading to what there is. Their
 * commands are run by tests/tools/runbook_commands_test.ts.
 */

import { assert, assertEquals } from "@std/assert";
import { FILES } from "../../packaging/build/deb_files.ts";
import { REFUSALS } from "../../src/base/errors.ts";
import { test } from "../support/test.ts";
import { FORMS } from "../tools/host.ts";
import { commandsIn, HEADINGS, readRunbooks, RUNBOOKS } from "./runbooks.ts";
import { ROOT, rulesOf } from "./support.ts";

/** Units of others that a runbook may name. */
const FOREIGN_UNITS = ["prometheus", "postfix"];

const runbooks = await readRunbooks();
const alerts = await rulesOf("gomail-alerts.yml");

test("each alert has its runbook and names it, and each runbook has its alert", () => {
  const names = [...new Set(alerts.map(({ alert }) => alert!))].sort();
  assertEquals(runbooks.map(({ name }) => name), names);
  for (const { alert, annotations } of alerts) {
    const url = new URL(annotations!.runbook_url!);
    assertEquals(url.pathname, `/usr/share/doc/gomail/runbooks/${alert}.md`);
    const packaged = FILES.find(({ path }) => `/${path}` === url.pathname);
    assertEquals(packaged?.source, `packaging/doc/runbooks/${alert}.md`);
  }
});

test("all runbooks have the same sections, the alert's severity, and something to type in three of them", async () => {
  for (const { name, headings, severity, commands } of runbooks) {
    assertEquals(headings, HEADINGS, name);
    const severities = alerts.filter(({ alert }) => alert === name).map(({ labels }) => labels!.severity!);
    for (const one of severities) assert(severity.includes(one), `${name} is a ${one}, and says ${severity}`);
    assert(commands.length >= 3, `${name} has ${commands.length} commands`);
    const text = await Deno.readTextFile(`${RUNBOOKS}/${name}.md`);
    assert((text.match(/^```sh$/gm)?.length ?? 0) >= 2, name);
  }
});

test("runbooks lead to runbooks and reasons that there are", async () => {
  const names = runbooks.map(({ name }) => name);
  for (const name of names) {
    const text = await Deno.readTextFile(`${RUNBOOKS}/${name}.md`);
    for (const [other] of text.matchAll(/\bGoMail[A-Z]\w+/g)) {
      assert(names.includes(other), `${name}: ${other}`);
    }
    for (const [, reason] of text.matchAll(/`((?:storage|auth)_\w+|internal|shutting_down)`/g)) {
      assert(reason! in REFUSALS, `${name}: ${reason}`);
    }
  }
});

test("commandsIn() reads commands, their comments, and the exit codes that these announce", () => {
  const text = "a\n```sh\nls # exits 1 when it fails\ngrep '#x' f   # why\n```\n```json\nno\n```\n";
  assertEquals(commandsIn(text), [
    { text: "ls", mayEndWith: [0, 1] },
    { text: "grep '#x' f", mayEndWith: [0] },
  ]);
});

test("the stand-ins know only units that are packaged, and no form that nobody uses", () => {
  const units = [...Deno.readDirSync(`${ROOT}systemd`)].map(({ name }) => name);
  const known = [...units, ...FOREIGN_UNITS.map((unit) => `${unit}.service`)];
  const typed = runbooks.flatMap(({ commands }) => commands.map(({ text }) => text));
  for (const [program, forms] of Object.entries(FORMS)) {
    for (const form of forms) {
      assert(typed.some((text) => text.includes(`${program} ${form}`)), `${program} ${form}`);
    }
  }
  for (const form of FORMS.systemctl!) {
    const [, ...words] = form.replace(/ --.*$/, "").split(" ");
    for (const unit of words) assert(known.includes(unit.includes(".") ? unit : `${unit}.service`), form);
  }
  // systemd refuses that while the service runs, and a start of the service brings its sockets.
  assertEquals(FORMS.systemctl!.filter((form) => /^(re)?start \S+\.socket/.test(form)), []);
  const journal = FORMS.journalctl!.flatMap((form) => /-u (\S+)/.exec(form)?.[1] ?? []);
  assertEquals([...new Set(journal)].sort(), ["gomail", "gomail-backup"]);
  for (const unit of journal) assert(units.includes(`${unit}.service`), unit);
});

/** What neither group gomail nor group adm may do: to change the host, and to look into the folder of backups. */
const FOR_ROOT =
  /(?<before>\S+ |\S+ -u gomail |^)(?:systemctl (?!status|show|list-|is-)|systemd-tmpfiles |certbot |dmesg |ss |journalctl --vacuum|gomail (?:backup|restore) )/g;

test("what root or user gomail alone may do is typed with sudo", () => {
  let seen = 0;
  for (const { name, commands } of runbooks) {
    for (const { text } of commands) {
      for (const { groups } of text.matchAll(FOR_ROOT)) {
        seen++;
        assert(/^sudo /.test(groups!.before!), `${name}: ${text}`);
      }
    }
  }
  assert(seen > 20, `only ${seen} commands`);
});

/** All of src, for what a log line may say. */
async function sources(dir = `${ROOT}src`): Promise<string> {
  let text = "";
  for await (const { name, isDirectory } of Deno.readDir(dir)) {
    if (isDirectory) text += await sources(`${dir}/${name}`);
    else if (name.endsWith(".ts")) text += await Deno.readTextFile(`${dir}/${name}`);
  }
  return text;
}

test("the log lines that runbooks look for are lines that the program writes", async () => {
  const text = await sources();
  let seen = 0;
  for (const { name, commands } of runbooks) {
    for (const { text: command } of commands) {
      for (const [, pattern] of command.matchAll(/"msg":"([^"']+?)(?:"|')/g)) {
        for (const message of pattern!.replace(/^\(|\)$/g, "").split("|")) {
          seen++;
          assert(text.includes(`"${message}`), `${name}: ${message}`);
        }
      }
    }
  }
  assert(seen >= 10, `only ${seen} messages`);
});
