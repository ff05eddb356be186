/**
 * A stranger's words on their way into our results. Everything here is either a token from a known alphabet
 * or left out: nothing that could end a comment, a quoted string or a field is ever written (RFC 8601 2.2;
 * BAD-INPUT 39).
 */

/** One line without control characters, cut. For JSON, where quotes and parentheses do no harm. */
export function cleanText(text: string, charsMax: number): string {
  // deno-lint-ignore no-control-regex -- control characters are what must go
  return text.replace(/[\u0000-\u0020\u007f-\u00a0\u2028\u2029\ufffd]+/g, " ").trim().slice(0, charsMax)
    .replace(/[\ud800-\udbff]$/, "");
}

/** The value where it may stand in a header as it is: a host name, a selector, an algorithm; else null. */
export function cleanToken(text: string | null | undefined, charsMax = 253): string | null {
  return text && text.length <= charsMax && /^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?$/.test(text)
    ? text
    : null;
}
