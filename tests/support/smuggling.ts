/** What stands where the end of DATA could be seen by mistake, and the ways to cut it into packets. */

/** What some server somewhere takes for the end of DATA; in some of them no CR or LF stands alone. */
export const LOOKALIKES: readonly string[] = [
  "\n.\n",
  "\n.\r\n",
  "\r.\r\n",
  "\r\n.\n",
  "\r\n.\r",
  "\r.\r",
  "\r.\n",
  "\n.\r",
  "\n\n.\r\n",
  "\n\n.\n\n",
  "\r\r.\r\r",
  "\r\n.\r\r\n",
  "\r\n.\n\r",
  "\n\r.\n\r",
  "\n\r.\r\n",
  "\r\n\n.\r\n",
  "\r\n.\n\r\n",
  "\r\r\n.\r\r\n",
  "\r\n \r\n.\n",
  "\0\r\0\n.\r\0\n",
  "\r\n.\r\0\n",
  "\r\n..\r\n",
  "\r\n .\r\n",
  "\r\n. \r\n",
  "\r\n.\t\r\n",
  "\r\n\0.\r\n",
  "\r\n.\0\r\n",
  "\x85.\x85\xe2\x80\xa8.\xe2\x80\xa8",
  "\r\n...\r\n",
  "\x0b.\x0b",
  "\x85.\x85",
  "\xc2\x85.\xc2\x85",
  "\xe2\x80\xa8.\xe2\x80\xa8",
  "\r\n\xe3\x80\x82\r\n",
];

/** Whole, byte by byte, in threes, cut before and behind the lookalike, and cut between each of its bytes. */
export function fragmentations(all: Uint8Array, start: number, length: number): Uint8Array[][] {
  const sized = (size: number) =>
    Array.from({ length: Math.ceil(all.length / size) }, (_, i) => all.subarray(i * size, (i + 1) * size));
  const at = (places: number[]) =>
    [0, ...places].map((from, i) => all.subarray(from, places[i] ?? all.length));
  const inside = Array.from({ length: length + 1 }, (_, i) => start + i);
  return [[all], sized(1), sized(3), at([start, start + length]), at(inside)];
}
