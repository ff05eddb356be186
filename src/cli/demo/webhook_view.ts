/** A webhook as its receiver sees it: read, shown verdict by verdict, and held against what was expected. */

import type { MailReceived } from "../../events/types.ts";
import { type Checks, equalBytes } from "./checks.ts";
import type { WantedWebhook } from "./mails.ts";
import type { ReceivedRequest } from "./receiver.ts";
import type { Screen, Tone } from "./screen.ts";

/** The body, or null when it is none of ours. */
export function payloadOf(request: ReceivedRequest): MailReceived | null {
  try {
    const body = JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(request.body));
    return body?.event === "mail.received" ? body : null;
  } catch {
    // Anybody may post to a loopback port; the caller says that it was not ours.
    return null;
  }
}

function toneOf(result: string): Tone {
  if (result === "pass" || result === "accept") return "good";
  if (result === "fail") return "bad";
  return result === "none" ? "plain" : "doubtful";
}

function alignment({ spf_alignment: spf, dkim_alignment: dkim }: MailReceived["authentication"]["dmarc"]) {
  return spf && dkim ? "SPF and DKIM" : spf ? "SPF" : dkim ? "DKIM" : "neither SPF nor DKIM";
}

export function showWebhook(screen: Screen, request: ReceivedRequest, mail: MailReceived): void {
  const { spf, dkim, dmarc } = mail.authentication;
  const { client_address: client, tls } = mail.connection;
  screen.field("webhook", request.headers["webhook-id"] ?? "without an id");
  const signature = request.verified ? "verifies" : "does NOT verify";
  screen.field("signature", signature, request.verified ? "good" : "bad");
  screen.field("from", mail.from_header ?? "-");
  screen.field("subject", mail.subject ?? "-");
  screen.field("client", client ?? "not known", "plain", tls ? `${tls.version}, ${tls.cipher}` : "no TLS");
  screen.field("spf", spf.result, toneOf(spf.result), spf.mail_from || spf.helo_domain || "");
  const signed = dkim.signatures.map((s) => `${s.domain}, ${s.selector}, ${s.algorithm}`).join("; ");
  screen.field("dkim", dkim.result, toneOf(dkim.result), signed || "no signature");
  const policy = dmarc.policy === null ? "no policy" : `policy ${dmarc.policy}, aligned: ${alignment(dmarc)}`;
  screen.field("dmarc", dmarc.result, toneOf(dmarc.result), policy);
  screen.field("verdict", mail.verdict, toneOf(mail.verdict));
  for (const file of mail.attachments) {
    screen.field(
      "attachment",
      file.filename ?? "without a name",
      "plain",
      `${file.size} bytes, ${file.content_type}`,
    );
  }
  const body = (mail.text ?? "").trim().replaceAll("\n", " / ");
  if (body) screen.field("text", body);
}

/** Everything the receiver was told, and that it can trust who told it. */
export function checkWebhook(
  checks: Checks,
  request: ReceivedRequest,
  mail: MailReceived,
  wanted: WantedWebhook,
): void {
  const { spf, dkim, dmarc } = mail.authentication;
  checks.that(request.verified, "the webhook's signature does not verify");
  checks.that(/^evt_/.test(request.headers["webhook-id"] ?? ""), "the webhook has no webhook-id");
  checks.equal("SPF", spf.result, wanted.spf);
  checks.equal("DKIM", dkim.result, wanted.dkim);
  checks.equal("DMARC", dmarc.result, wanted.dmarc);
  checks.equal("the DMARC policy", dmarc.policy, wanted.policy);
  checks.equal("the verdict", mail.verdict, wanted.verdict);
  checks.equal("the client's address", mail.connection.client_address, wanted.clientAddress);
  checks.equal("TLS", /^TLSv1\.[23]$/.test(mail.connection.tls?.version ?? ""), wanted.isTls);
  checks.equal("the subject", mail.subject, wanted.subject);
  checks.equal("the text", mail.text?.trim(), wanted.text);
  checks.equal("raw_base64 instead of raw", mail.raw_base64 !== undefined, wanted.isBinary ?? false);
  checks.equal("the number of attachments", mail.attachments.length, wanted.attachment ? 1 : 0);
  const [file] = mail.attachments;
  if (!file || !wanted.attachment) return;
  const { filename, type, content } = wanted.attachment;
  checks.equal("the file's name", file.filename, filename);
  checks.equal("the file's type", file.content_type, type);
  checks.equal("the file's size", file.size, content.length);
  const isSame = file.content_base64 !== undefined &&
    equalBytes(Uint8Array.fromBase64(file.content_base64), content);
  checks.that(isSame, "the file's content is not what was sent");
}
