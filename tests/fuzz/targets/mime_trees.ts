/** MIME messages for the mime target: trees with a known meaning, and fragments without any. */

import fc from "fast-check";
import { latin1, latin1Text } from "../arbitraries.ts";

export interface Leaf {
  type: string;
  attached: boolean;
  encoding: "base64" | "quoted-printable" | "8bit";
  /** One character for each byte. */
  content: string;
}

export interface Multipart {
  subtype: string;
  children: Tree[];
  preamble: string;
  epilogue: string;
  quoted: boolean;
}

export type Tree = Leaf | Multipart;

export const isLeaf = (tree: Tree): tree is Leaf => "content" in tree;

const bytes = fc.array(fc.nat(255), { maxLength: 100 }).map((list) => String.fromCharCode(...list));
/** Text for identity parts: nothing in it can be taken for a boundary. */
const plain = fc.stringMatching(/^[a-z ,.]{0,80}$/);
const encoding = fc.constantFrom("base64" as const, "quoted-printable" as const);
const file: fc.Arbitrary<Leaf> = fc.record({
  type: fc.constantFrom(
    "application/octet-stream",
    "image/png",
    "message/rfc822",
    "text/calendar",
    "text/plain",
  ),
  attached: fc.constant(true),
  encoding,
  content: bytes,
});
const text: fc.Arbitrary<Leaf> = fc.record({
  type: fc.constantFrom("text/plain", "text/html"),
  attached: fc.constant(false),
  encoding: fc.constantFrom("base64" as const, "quoted-printable" as const, "8bit" as const),
  content: plain,
});

export const tree: fc.Arbitrary<Tree> = fc.letrec<{ tree: Tree; multipart: Multipart }>((tie) => ({
  tree: fc.oneof({ maxDepth: 4, withCrossShrink: true }, file, text, tie("multipart")),
  multipart: fc.record({
    subtype: fc.constantFrom("mixed", "alternative", "related"),
    children: fc.array(tie("tree"), { minLength: 1, maxLength: 4 }),
    preamble: fc.constantFrom("", "This is MIME.\r\n", "--b\r\n", "--\r\n"),
    epilogue: fc.constantFrom("", "\r\n", "\r\nEnd.\r\n", "\r\n--b\r\n"),
    quoted: fc.boolean(),
  }),
})).tree;

function quotedPrintable(content: string): string {
  const codes = [...content].map((char) =>
    /[a-z]/.test(char) ? char : `=${char.charCodeAt(0).toString(16).toUpperCase().padStart(2, "0")}`
  );
  let out = "";
  let length = 0;
  for (const code of codes) {
    if (length + code.length > 72) {
      out += "=\r\n";
      length = 0;
    }
    out += code;
    length += code.length;
  }
  return out;
}

function encodedBody({ encoding, content }: Leaf): string {
  if (encoding === "8bit") return content;
  if (encoding === "quoted-printable") return quotedPrintable(content);
  return latin1(content).toBase64().replace(/.{1,76}/g, "$&\r\n").replace(/\r\n$/, "");
}

/** The tree as a message part: its fields, the empty line, its body without a line end. */
export function rendered(node: Tree, path = "0"): string {
  if (isLeaf(node)) {
    const disposition = node.attached ? `Content-Disposition: attachment; filename="f ${path}.bin"\r\n` : "";
    return `Content-Type: ${node.type}\r\nContent-Transfer-Encoding: ${node.encoding}\r\n${disposition}\r\n${
      encodedBody(node)
    }`;
  }
  const boundary = `b${path}_`;
  const value = node.quoted ? `"${boundary}"` : boundary;
  const parts = node.children.map((child, i) => `--${boundary}\r\n${rendered(child, `${path}.${i}`)}\r\n`)
    .join("");
  return `Content-Type: multipart/${node.subtype}; boundary=${value}\r\n\r\n${node.preamble}${parts}--${boundary}--${node.epilogue}`;
}

/** Leaves in order. */
export function leaves(node: Tree): Leaf[] {
  return isLeaf(node) ? [node] : node.children.flatMap(leaves);
}

export const contentOf = (bytes: Uint8Array | null) => bytes && latin1Text(bytes);

export const WORDS = [
  "Content-Type: multipart/mixed; boundary=b\r\n",
  'Content-Type: multipart/digest; boundary="b"\r\n',
  "Content-Type: multipart/mixed\r\n",
  "Content-Type: text/html; charset=utf-7\r\n",
  "Content-Type: text/plain; charset=iso-2022-jp\r\n",
  "Content-Type: text/plain; charset=x-nobody-knows; format=flowed\r\n",
  "Content-Type: message/rfc822\r\n",
  "Content-Type: message/partial; id=x; number=1\r\n",
  "Content-Type: application/x; name*0*=utf-8''%41%; name*1=b; name*999999999=c\r\n",
  'Content-Type: application/x; name="=?utf-8?q?=0d=0aX=3A?="\r\n',
  "Content-Type: \xff/\0; x\r\n",
  'Content-Disposition: attachment; filename="../../\0evil\u00ff"\r\n',
  "Content-Disposition: inline; filename*=utf-8''%e2%80%ae%ff\r\n",
  "Content-Transfer-Encoding: base64\r\n",
  "Content-Transfer-Encoding: quoted-printable\r\n",
  "Content-ID: <a@b>\r\n",
  "Subject: =?utf-8?b?8J+SqQ==?= =?utf-8?q?=f0=9f?= =?utf-8?q?=92=a9?=\r\n",
  "From: =?utf-8?q?a=40b=2C?= <c@d.example>\r\n",
  'To: "=?utf-8?q?=22?=" <c@d.example>\r\n',
  "Subject: twice\r\n",
  "--b\r\n",
  "--b--\r\n",
  "--b \t\r\n",
  "--b",
  "--b0_\r\n",
  "\r\n",
  "\r\n\r\n",
  "\n",
  "\r",
  "=",
  "=3D",
  "=\r\n",
  "=zz",
  "AAAA",
  "A===",
  "<p>hi</p>&amp;",
  "\x1b$B",
  "\xff",
  "\xed\xa0\x80",
  "\xef\xbb\xbf",
  "\0",
  "x".repeat(5000),
];
