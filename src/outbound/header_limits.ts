/** How large a header block we send: what our own doors take in (BAD input is theirs to refuse, ours not to make). */

export const HEADER_BYTES_MAX = 256 * 1024;
export const HEADER_LINES_MAX = 5000;
