/**
 * Text of strangers on a terminal: a subject may hold escape sequences that repaint the screen, move the
 * cursor or answer for the person at the keyboard (BAD-INPUT 60), and direction marks that make a name read
 * backwards.
 */

/** On a terminal and in one line: control characters, C1 and line separators become escapes. */
export function printable(text: string): string {
  return text.replace(
    // deno-lint-ignore no-control-regex -- finding control characters is the point
    /[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g,
    (char) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0"),
  );
}
