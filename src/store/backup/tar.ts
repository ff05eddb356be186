/**
 * The archive is a tar file (POSIX ustar, IEEE 1003.1 pax, "ustar Interchange Format"), so that people can look into
 * one with the tools they know. Written here and not by a library because of the reading: of all that tar can say
 * (links, devices, sparse files, long names, owners, extended headers) a backup says nothing, so a header is taken
 * apart into name, size and time, built anew from those, and has to be the same to the last bit. What a
 * general reader would have to be kept from doing can't be expressed here.
 */

import { BadArchive } from "./errors.ts";
import { printable } from "../../base/printable.ts";
import type { ByteReader } from "./bytes.ts";

export const BLOCK_BYTES = 512;
const NAME_BYTES_MAX = 100;
const PREFIX_BYTES_MAX = 155;
const SIZE_MAX = 8 ** 11 - 1;
const CHECKSUM_AT = 148;
const TYPE_AT = 156;

const encoder = new TextEncoder();

/** Two blocks of zeros end an archive. */
export const END = new Uint8Array(2 * BLOCK_BYTES);

/** Zeros up to the next block. */
export function paddingAfter(size: number): Uint8Array {
  return new Uint8Array((BLOCK_BYTES - size % BLOCK_BYTES) % BLOCK_BYTES);
}

export interface TarEntry {
  name: string;
  size: number;
  /** Seconds. */
  mtime: number;
}

/** A name of up to 255 characters has its first part in a field of its own, cut at a slash; null when it has no place to cut. */
function splitName(name: string): { prefix: string; rest: string } | null {
  if (name.length <= NAME_BYTES_MAX) return { prefix: "", rest: name };
  const cut = name.indexOf("/", name.length - NAME_BYTES_MAX - 1);
  if (cut < 1 || cut > PREFIX_BYTES_MAX) return null;
  return { prefix: name.slice(0, cut), rest: name.slice(cut + 1) };
}

const octal = (value: number, digits: number) => value.toString(8).padStart(digits, "0") + "\0";

/** The header of a regular file, or null when tar can't say it. Names are ASCII by their grammar. */
export function tarHeader({ name, size, mtime }: TarEntry): Uint8Array | null {
  const split = splitName(name);
  if (split === null || size > SIZE_MAX || mtime > SIZE_MAX || mtime < 0) return null;
  const block = new Uint8Array(BLOCK_BYTES);
  const put = (at: number, text: string) => block.set(encoder.encode(text), at);
  put(0, split.rest);
  put(100, octal(0o600, 7));
  put(108, octal(0, 7));
  put(116, octal(0, 7));
  put(124, octal(size, 11));
  put(136, octal(mtime, 11));
  put(CHECKSUM_AT, " ".repeat(8));
  put(TYPE_AT, "0");
  put(257, "ustar\u000000");
  put(329, octal(0, 7));
  put(337, octal(0, 7));
  put(345, split.prefix);
  const sum = block.reduce((total, byte) => total + byte, 0);
  put(CHECKSUM_AT, octal(sum, 6) + " ");
  return block;
}

const WHAT: Record<string, string> = {
  "1": "is a link",
  "2": "is a symbolic link",
  "3": "is a device",
  "4": "is a device",
  "5": "is a directory",
  "6": "is a pipe",
  "S": "is a sparse file",
};

function text(block: Uint8Array, at: number, length: number): string {
  const field = block.subarray(at, at + length);
  const end = field.indexOf(0);
  return String.fromCharCode(...field.subarray(0, end < 0 ? length : end));
}

function number(block: Uint8Array, at: number, length: number): number {
  const digits = text(block, at, length).trim();
  return /^[0-7]{1,11}$/.test(digits) ? parseInt(digits, 8) : -1;
}

/** Why a header is not one of ours, in words. */
function refusal(block: Uint8Array, name: string): string {
  const type = String.fromCharCode(block[TYPE_AT]!);
  const isTar = text(block, 257, 5) === "ustar";
  if (!isTar) return "it is not an archive that `gomail backup` made";
  const what = WHAT[type] ?? (/[xgLK]/.test(type) ? "has an extended header" : null);
  if (what !== null) return `its entry "${printable(name.slice(0, 120))}" ${what}, which no backup has`;
  return `the header of its entry "${printable(name.slice(0, 120))}" is damaged`;
}

const isZero = (bytes: Uint8Array) => bytes.every((byte) => byte === 0);

/** Reads the next header; null at the end, behind which nothing may follow. */
export async function readHeader(source: ByteReader): Promise<TarEntry | null> {
  const block = await source.exactly(BLOCK_BYTES);
  if (isZero(block)) {
    const isEnd = isZero(await source.exactly(BLOCK_BYTES));
    if (!isEnd || await source.some(1) !== null) throw new BadArchive("something follows behind its end");
    return null;
  }
  const prefix = text(block, 345, PREFIX_BYTES_MAX);
  const name = (prefix === "" ? "" : `${prefix}/`) + text(block, 0, NAME_BYTES_MAX);
  const entry = { name, size: number(block, 124, 12), mtime: number(block, 136, 12) };
  const again = entry.size < 0 || entry.mtime < 0 ? null : tarHeader(entry);
  if (again === null || again.some((byte, at) => byte !== block[at])) {
    throw new BadArchive(refusal(block, name));
  }
  return entry;
}

/** The zeros behind an entry. */
export async function readPadding(source: ByteReader, size: number): Promise<void> {
  const { length } = paddingAfter(size);
  if (!isZero(await source.exactly(length))) {
    throw new BadArchive("the space between its entries is not empty");
  }
}
