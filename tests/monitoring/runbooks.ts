/** The runbooks, read: their sections, and the commands in them with the exit codes that they announce. */

import { ROOT } from "./support.ts";

export const RUNBOOKS = `${ROOT}packaging/doc/runbooks`;
export const HEADINGS = ["What it means", "How to see it", "What to do", "When it is over"];

export interface Runbook {
  /** The alert's. */
  name: string;
  severity: string;
  headings: string[];
  commands: Command[];
}

export interface Command {
  text: string;
  /** "exits 1 when ..." beside it. */
  mayEndWith: number[];
}

/** Lines of all ```sh blocks. A comment is not part of the command. */
export function commandsIn(markdown: string): Command[] {
  const blocks = [...markdown.matchAll(/^```sh\n([^]*?)^```$/gm)].map(([, block]) => block!);
  return blocks.flatMap((block) => block.split("\n").filter(Boolean)).map((line) => {
    const comment = /\s+# (.*)$/.exec(line);
    const announced = /^exits (\d+) when /.exec(comment?.[1] ?? "")?.[1];
    return {
      text: comment ? line.slice(0, comment.index) : line,
      mayEndWith: announced === undefined ? [0] : [0, Number(announced)],
    };
  });
}

export async function readRunbooks(): Promise<Runbook[]> {
  const found: Runbook[] = [];
  for await (const { name: file } of Deno.readDir(RUNBOOKS)) {
    if (file === "README.md") continue;
    const text = await Deno.readTextFile(`${RUNBOOKS}/${file}`);
    found.push({
      name: /^# (\w+)\n/.exec(text)?.[1] ?? "",
      severity: /^Severity: (.*)\.$/m.exec(text)?.[1] ?? "",
      headings: [...text.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading!),
      commands: commandsIn(text),
    });
    if (`${found.at(-1)!.name}.md` !== file) throw new Error(`${file} has another name in its first line`);
  }
  return found.sort((a, b) => a.name < b.name ? -1 : 1);
}
