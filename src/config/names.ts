/** What a config says about our own names: by which name we greet, and for which domains we take mail. */

import type { Config } from "./schema.ts";

/** The name in greeting and HELO: as set, else made from a domain, else what the host calls itself. */
export function mailHostnameOf(
  config: Pick<Config, "mail_hostname" | "infra_domain" | "primary_domain">,
  systemHostname: string,
): string {
  if (config.mail_hostname !== undefined) return config.mail_hostname;
  const domain = config.infra_domain ?? config.primary_domain;
  return domain === undefined ? systemHostname : `mail.${domain}`;
}

/** The configured domains that mail is accepted for, each once. */
export function domainsOf(config: Pick<Config, "primary_domain" | "additional_domains">): string[] {
  const primary = config.primary_domain === undefined ? [] : [config.primary_domain];
  return [...new Set([...primary, ...config.additional_domains])];
}
