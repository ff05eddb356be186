/** A look at HTML that the program writes, without a browser. */

/** What is not closed in order; good enough for what we write ourselves. */
export function unclosed(html: string): string[] {
  const open: string[] = [];
  const wrong: string[] = [];
  for (const [, slash, name, rest] of html.matchAll(/<(\/?)([a-zA-Z][a-zA-Z0-9]*)([^>]*)>/g)) {
    if (/^(?:meta|br|hr|line)$/.test(name!) || rest!.endsWith("/")) continue;
    if (slash === "") open.push(name!);
    else if (open.pop() !== name) wrong.push(`</${name}>`);
  }
  return [...open, ...wrong];
}
