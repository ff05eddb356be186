/**
 * Text as roff, for man(7) pages. Two kinds: prose, in which a hyphen is a hyphen and `code` is bold, and
 * literals, of which every character must come out of the terminal as it is typed (a plain `-` may be shown as
 * U+2010 there, which no shell takes for a flag).
 */

/** For people who review the source, and for mandoc's lint. */
const LINE_CHARS_MAX = 78;

const LITERALS: Record<string, string> = {
  "\\": "\\e",
  "-": "\\-",
  "'": "\\(aq",
  '"': "\\(dq",
  "`": "\\(ga",
  "^": "\\(ha",
  "~": "\\(ti",
};

/** Beyond ASCII there is one form that every formatter reads. */
function beyondAscii(text: string): string {
  return text.replace(
    /[^\n\x20-\x7e]/gu,
    (char) => `\\[u${char.codePointAt(0)!.toString(16).toUpperCase().padStart(4, "0")}]`,
  );
}

/** A dot or quote at the start of a line would make it a request. */
const guarded = (line: string) => /^[.']/.test(line) ? `\\&${line}` : line;

/** As it is typed. */
export function literal(text: string): string {
  return beyondAscii(text.replace(/[\\\-'"`^~]/g, (char) => LITERALS[char]!));
}

export const bold = (text: string) => `\\fB${literal(text)}\\fR`;
export const italic = (text: string) => `\\fI${literal(text)}\\fR`;

/** What people read, in one line: a hyphen between letters is one, every other a minus. */
function proseLine(text: string): string {
  return text.split(/`([^`]+)`/).map((part, i) =>
    i % 2 === 1
      ? bold(part)
      : beyondAscii(part.replaceAll("\\", "\\e").replace(/(?<![a-z])-|-(?![a-z])/gi, "\\-"))
  ).join("");
}

/** Prose in source lines: a new one for each sentence, as roff wants it, and for what is too long. */
export function prose(text: string): string {
  const lines: string[] = [];
  for (const sentence of text.split(/(?<=[.:?]) +(?=[A-Z`])/)) {
    let line = "";
    for (const word of proseLine(sentence).split(" ")) {
      if (line !== "" && line.length + 1 + word.length > LINE_CHARS_MAX) {
        lines.push(line);
        line = word;
      } else line = line === "" ? word : `${line} ${word}`;
    }
    lines.push(line);
  }
  return lines.map((line) => guarded(line) + "\n").join("");
}

/** Several paragraphs, divided by empty lines. */
export function paragraphs(text: string): string {
  return text.trim().split(/\n\n+/).map((part) => prose(part.replaceAll("\n", " "))).join(".PP\n");
}

/** A heading; its quotes hold blanks together. */
export const section = (title: string) => `.SH "${title}"\n`;
export const subsection = (title: string) => `.SS "${literal(title)}"\n`;

/** A term, already in roff, and what it means. */
export const entry = (term: string, meaning: string) => `.TP\n${guarded(term)}\n${meaning}`;

/** What belongs to the entry before it, indented. */
export const indented = (text: string) => text === "" ? "" : `.RS\n${text}.RE\n`;

/** To be typed, or copied: nothing is filled or broken. */
export function example(lines: readonly string[]): string {
  return `.PP\n.RS 4\n.EX\n${lines.map((line) => guarded(literal(line)) + "\n").join("")}.EE\n.RE\n`;
}
