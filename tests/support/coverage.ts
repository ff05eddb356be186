/**
 * Judges a coverage directory: at least 85 % of the lines of src overall, and no file of src under 70 %.
 * A file that no test even loads counts as 0 %. Run: deno run -A tests/support/coverage.ts DIR
 */

const OVERALL_MIN = 85;
const FILE_MIN = 70;
/** Begins each statement of a file that only has types: nothing in it runs. */
const TYPE_STATEMENT = /^(?:import type|export type|export interface|export declare|type|interface|declare) /;

interface FileCoverage {
  found: number;
  hit: number;
}

/** Sums the lcov records (LF and LH lines) of each source file below `root`. */
export function parseLcov(lcov: string, root: string): Map<string, FileCoverage> {
  const files = new Map<string, FileCoverage>();
  let file: FileCoverage = { found: 0, hit: 0 };
  for (const line of lcov.split("\n")) {
    if (line.startsWith("SF:")) {
      file = { found: 0, hit: 0 };
      files.set(line.slice(3).replace(root, ""), file);
    } else if (line.startsWith("LF:")) file.found = Number(line.slice(3));
    else if (line.startsWith("LH:")) file.hit = Number(line.slice(3));
  }
  return files;
}

async function sourceFiles(dir: string): Promise<string[]> {
  const found: string[] = [];
  for await (const entry of Deno.readDir(dir)) {
    const path = `${dir}/${entry.name}`;
    if (entry.isDirectory) found.push(...await sourceFiles(path));
    else if (path.endsWith(".ts")) found.push(path);
  }
  return found;
}

/** deno fmt's layout has every statement begin at the line's start, and what belongs to it indented or a bracket. */
export function hasTypesOnly(text: string): boolean {
  const statements = text.replace(/\/\*[\s\S]*?\*\//g, "").split("\n").filter((line) => /^[a-z]/.test(line));
  return statements.every((line) => TYPE_STATEMENT.test(line));
}

/** A process that a test kills may leave a file that is empty or cut off, and `deno coverage` reads all or none. */
async function removeCutOff(dir: string): Promise<void> {
  for await (const { name } of Deno.readDir(dir)) {
    if (!name.endsWith(".json")) continue;
    const path = `${dir}/${name}`;
    const text = (await Deno.readTextFile(path)).trimEnd();
    if (!text.endsWith("}")) await Deno.remove(path);
  }
}

if (import.meta.main) {
  const root = new URL("../../", import.meta.url).pathname;
  Deno.chdir(root);
  await removeCutOff(Deno.args[0] ?? "coverage");
  const output = await new Deno.Command(Deno.execPath(), {
    args: ["coverage", "--lcov", `--include=^file://${root}src/`, Deno.args[0] ?? "coverage"],
    stderr: "inherit",
  }).output();
  const files = parseLcov(new TextDecoder().decode(output.stdout), root);
  let found = 0, hit = 0;
  const low: string[] = [];
  for (const path of (await sourceFiles("src")).sort()) {
    if (hasTypesOnly(await Deno.readTextFile(path))) continue;
    const file = files.get(path);
    found += file?.found ?? 1;
    hit += file?.hit ?? 0;
    const percent = file ? 100 * file.hit / Math.max(1, file.found) : 0;
    if (percent < FILE_MIN) low.push(`${path} ${percent.toFixed(1)} %`);
  }
  const overall = 100 * hit / Math.max(1, found);
  console.log(`Lines covered: ${overall.toFixed(1)} % of ${found} (at least ${OVERALL_MIN} %)`);
  for (const line of low) console.log(`Under ${FILE_MIN} %: ${line}`);
  Deno.exitCode = overall >= OVERALL_MIN && low.length === 0 ? 0 : 1;
}
