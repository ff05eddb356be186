/** What `--tls` may ask for (RFC 3207), what each means in a report, and what to do where it is not to be had. */

export const TLS_WISHES = ["auto", "require", "verify", "off"] as const;
export type TlsWish = (typeof TLS_WISHES)[number];

export const TLS_TEXTS: Record<TlsWish, string> = {
  auto: "auto: where it is offered, certificate not checked",
  require: "require: certificate not checked",
  verify: "verify: certificate valid for the host's name",
  off: "off",
};

export const WITHOUT_TLS: Record<Exclude<TlsWish, "off">, string> = {
  auto: "--tls off sends in the clear",
  require: "--tls auto takes it only where it is offered",
  verify: "--tls require takes any certificate",
};
