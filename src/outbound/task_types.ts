/**
 * Composing and signing as work for another thread: plain data in, plain data out. A bad message is a value;
 * what is thrown (a key that can't be read, a file that is gone) is the machine's trouble.
 */

import type { MessageBytes } from "../mail/types.ts";

export interface SigningKey {
  selector: string;
  /** The d= of its signatures. */
  domain: string;
  algorithm: "rsa" | "ed25519";
  /** PKCS#8. */
  privateKeyPem: string;
}

export interface ComposeAddress {
  name: string;
  address: string;
}

export interface ComposeAttachment {
  filename: string;
  contentType: string;
  content: Uint8Array;
  contentId: string | null;
}

/** Checked fields: nothing of it may hold line ends or controls, the texts aside. */
export interface ComposeInput {
  from: ComposeAddress;
  to: ComposeAddress[];
  cc: ComposeAddress[];
  replyTo: ComposeAddress[];
  subject: string;
  text: string | null;
  html: string | null;
  /** In this order, under the names as written. */
  headers: [name: string, value: string][];
  attachments: ComposeAttachment[];
  /** With its angle brackets. */
  messageId: string;
  /** RFC 5322 3.3. */
  date: string;
  keys: SigningKey[];
  /** Wall clock, milliseconds: the t= of the signatures. */
  signedAt: number;
}

/** Which key signed. */
export interface Signer {
  selector: string;
  domain: string;
}

export type ComposeOutput =
  | { kind: "made"; head: Uint8Array; body: Uint8Array; signers: Signer[] }
  | { kind: "unfit"; path: string; problem: string };

export interface SignInput {
  /** The header block with its empty line. */
  header: Uint8Array;
  body: MessageBytes;
  /** None: the body's lines are checked all the same. */
  keys: SigningKey[];
  signedAt: number;
}

export type SignOutput =
  | { kind: "made"; head: Uint8Array; signers: Signer[] }
  | { kind: "unfit"; path: string; problem: string };

/** Runs in the worker pool; may reject, which costs this mail a 503. */
export type Compose = (input: ComposeInput) => Promise<ComposeOutput>;
export type Sign = (input: SignInput) => Promise<SignOutput>;
