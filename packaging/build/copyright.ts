/**
 * `/usr/share/doc/gomail/copyright` of the package (DEP-5): ours, the runtime's, and of each library whose code is
 * in the executable. Which those are is read from the bundle, where the bundler names the file that each piece came
 * from; holders and licence texts are read from the libraries' own licence files. So nothing is listed that is not
 * inside, and nothing is inside that is not listed.
 */

import { ROOT } from "./paths.ts";
import { run } from "./process.ts";

export interface Library {
  name: string;
  version: string;
}

/** The libraries in a bundle, by the bundler's comments: `// node_modules/.deno/zod@4.6.7/node_modules/zod/...` */
export async function librariesIn(bundleDir: string): Promise<Library[]> {
  const found = new Map<string, Library>();
  const named =
    /^\/\/ (?:\.\.\/)*node_modules\/\.deno\/([^/\s]+)\/node_modules\/((?:@[^/\s]+\/)?[^/\s]+)\//gm;
  for await (const entry of Deno.readDir(bundleDir)) {
    for (const [, folder, name] of (await Deno.readTextFile(`${bundleDir}/${entry.name}`)).matchAll(named)) {
      // The folder is name@version, perhaps with the versions of its peers after a "_".
      const version = folder!.slice(name!.length + 1).split("_")[0]!;
      found.set(`${name}@${version}`, { name: name!, version });
    }
  }
  if (found.size === 0) throw new Error(`Cannot tell the libraries in ${bundleDir}: it names none`);
  return [...found.values()].sort((a, b) => `${a.name} ${a.version}` < `${b.name} ${b.version}` ? -1 : 1);
}

/** Where Deno keeps the packages of npm: one folder for each registry that it has used. */
async function packageDir({ name, version }: Library): Promise<string> {
  const { npmCache } = JSON.parse(await run(Deno.execPath(), ["info", "--json"], { quiet: true }));
  for await (const registry of Deno.readDir(npmCache)) {
    const dir = `${npmCache}/${registry.name}/${name}/${version}`;
    if (await Deno.stat(dir).then((info) => info.isDirectory, () => false)) return dir;
  }
  throw new Error(`Cannot find ${name} ${version} in ${npmCache}`);
}

interface Terms {
  library: Library;
  /** SPDX, as the package says. */
  license: string;
  holders: string[];
  /** Without title, and without the lines that name holders. Null: the licence's usual text. */
  text: string | null;
}

/** Of packages that came without a licence file; a person has looked. */
const SPOKEN_FOR: Readonly<Record<string, string>> = {
  // JavaScript that was built from denoland/std.
  "deno-std": "2018-2026 the Deno authors",
};

const HOLDER = /^copyright\s*(?:\(c\)|©)?\s*(?=.*\d{4}|.*microsoft|(?<=\(c\)\s*)\S)/i;
const TITLE =
  /^[#\s]*\(?(?:the )?(?:mit|isc|bsd|apache|mit no attribution)[\w\s.-]*licen[cs]e\)?(?: \(mit\))?:?$/i;
const RIGHTS = /\s*all rights reserved\.?$/i;

async function licenseFile(dir: string): Promise<string | null> {
  const names = [...Deno.readDirSync(dir)].map((entry) => entry.name)
    .filter((name) => /^(?:licen[cs]e|copying)(?:-mit)?(?:\.(?:md|txt))?$/i.test(name)).sort();
  return names[0] === undefined ? null : await Deno.readTextFile(`${dir}/${names[0]}`);
}

async function termsOf(library: Library): Promise<Terms> {
  const { name } = library;
  const dir = await packageDir(library);
  const { license, author } = JSON.parse(await Deno.readTextFile(`${dir}/package.json`));
  if (typeof license !== "string") throw new Error(`Cannot tell the licence of ${name}: it names none`);
  const file = await licenseFile(dir);
  if (file === null) {
    const holder = SPOKEN_FOR[name];
    if (!holder) throw new Error(`Cannot tell the licence of ${name}: it has no licence file`);
    return { library, license, holders: [holder], text: null };
  }
  const lines = file.replace(/\r/g, "").split("\n").map((line) => line.trim());
  // Some leave the name to package.json. The Apache licence shows in an appendix where one would go.
  const from = `${typeof author === "string" ? author : author?.name ?? `the authors of ${name}`}`;
  const holders = lines.filter((line) => HOLDER.test(line) && !/\[yyyy\]/.test(line))
    .map((line) => line.replace(HOLDER, "").replace(RIGHTS, ""))
    .map((holder) => /[a-z]/i.test(holder) ? holder : `${holder} ${from}`);
  const text = lines.filter((line) =>
    !HOLDER.test(line) && !TITLE.test(line) && line.replace(RIGHTS, "") === line
  )
    .join("\n").replace(/\n{3,}/g, "\n\n").trim();
  return { library, license, holders: holders.length > 0 ? holders : [from], text };
}

/** Continuation lines of DEP-5: one blank before each, a dot for an empty one. */
function indented(text: string): string {
  return text.split("\n").map((line) => line === "" ? " ." : ` ${line}`).join("\n");
}

const words = (text: string) => text.toLowerCase().replace(/[^a-z0-9]+/g, " ").trim();

/**
 * A short name for each text: the SPDX name; with the first library's name after it where the words differ from
 * those that the name has in the template, or got first. Adds the new texts to `texts`.
 */
function nameOf({ library, license, text }: Terms, texts: Map<string, string>): string {
  if (license === "Apache-2.0" || text === null) return license;
  const known = [...texts].find(([name, other]) =>
    name.split("~")[0] === license && words(other) === words(text)
  );
  if (known) return known[0];
  const name = texts.has(license) ? `${license}~${words(library.name).replaceAll(" ", "-")}` : license;
  texts.set(name, text);
  return name;
}

/** The `License:` paragraphs of the template: name -> text. */
function textsIn(template: string): Map<string, string> {
  const paragraphs = template.split("\n\n").filter((paragraph) => paragraph.startsWith("License: "));
  return new Map(paragraphs.map((paragraph) => {
    const [first, ...rest] = paragraph.split("\n");
    return [first!.slice("License: ".length), rest.map((line) => line.replace(/^ \.?/, "")).join("\n")];
  }));
}

/** One paragraph for all versions of a library that have the same terms. */
function paragraphs(all: readonly Terms[], texts: Map<string, string>): string[] {
  const versions = new Map<string, string[]>();
  for (const terms of all) {
    const [first, ...rest] = terms.holders;
    const lines = [
      `Files: node_modules/${terms.library.name}/*`,
      `Copyright: ${first}`,
      ...rest.map((holder) => ` ${holder}`),
      `License: ${nameOf(terms, texts)}`,
    ].join("\n");
    versions.set(lines, [...versions.get(lines) ?? [], terms.library.version]);
  }
  return [...versions].map(([lines, list]) => `${lines}\nComment: Version ${list.join(" and ")}.`);
}

/** The whole file: the template's own paragraphs, then one for each library, then their texts. */
export async function copyrightFile(bundleDir: string): Promise<string> {
  const template = (await Deno.readTextFile(`${ROOT}/packaging/deb/copyright`)).trimEnd();
  const texts = textsIn(template);
  const known = new Set(texts.keys());
  const all: Terms[] = [];
  for (const library of await librariesIn(bundleDir)) all.push(await termsOf(library));
  const libraries = paragraphs(all, texts);
  const added = [...texts].filter(([name]) => !known.has(name)).sort(([a], [b]) => a < b ? -1 : 1)
    .map(([name, text]) => `License: ${name}\n${indented(text)}`);
  return [template, ...libraries, ...added].join("\n\n") + "\n";
}
