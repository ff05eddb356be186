/**
 * Door 1: SMTP, Postfix's before-queue filter, and LMTP. The conversation is our own, because the answers that
 * hostile input needs can't be had from a library; what is behind this file is nobody else's business.
 */

export { createSmtpDoor, type SmtpDoor, type SmtpDoorConfig, type SmtpDoorOptions } from "./door.ts";
export type { DoorKind } from "./dialogue.ts";
export type { ListenerInfo } from "./listener.ts";
export { SMTP_LIMITS, type SmtpLimits } from "./limits.ts";
export type { ResolveHostname } from "./names.ts";
