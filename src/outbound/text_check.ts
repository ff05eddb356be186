/** What may stand in a header field's text: one line, of valid Unicode, in every reading of it. */

import { hasControls } from "../mail/address_list.ts";
import { decodeWords } from "../mail/words.ts";

/** Takes one finding. */
export type Say = (path: string, problem: string) => void;

/** Fewer than are ever decoded (mail/words.ts), so that none is overlooked. */
const WORDS_MAX = 100;

/** Encoded words may hide a line end from everything but the reader's mail program. */
export function textProblem(text: string, charsMax: number): string | null {
  if (text.length > charsMax) return `is longer than ${charsMax} characters`;
  if (hasControls(text)) return "has control characters or line ends";
  if (!text.isWellFormed()) return "is not valid Unicode";
  if (text.split("=?").length > WORDS_MAX) return `has more than ${WORDS_MAX} encoded words`;
  if (hasControls(decodeWords(text))) return "has encoded words with control characters in them";
  return null;
}
