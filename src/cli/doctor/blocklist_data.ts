/**
 * The DNS blocklists that `doctor` asks about our own addresses: few, used by many receivers, with a page where one
 * sees why and gets out. One more is one more line; each is tested before it is believed (blocklists.ts).
 */

export interface Blocklist {
  zone: string;
  /** Lists IPv6 addresses as well (RFC 5782 2.4). */
  hasIpv6: boolean;
  /** Where a listing is explained and ended. */
  page: string;
  /** What answers mean, where they mean different things. */
  codes?: Readonly<Record<string, string>>;
}

export const BLOCKLISTS: readonly Blocklist[] = [
  {
    zone: "zen.spamhaus.org",
    hasIpv6: true,
    page: "https://check.spamhaus.org/",
    codes: {
      "127.0.0.2": "SBL, seen sending spam",
      "127.0.0.3": "CSS, seen sending spam",
      "127.0.0.4": "XBL, seems to be broken into",
      "127.0.0.9": "DROP, the network is hijacked",
      "127.0.0.10": "PBL, no address that should send by itself, says its provider",
      "127.0.0.11": "PBL, no address that should send by itself",
    },
  },
  { zone: "bl.spamcop.net", hasIpv6: false, page: "https://www.spamcop.net/bl.shtml" },
  { zone: "psbl.surriel.com", hasIpv6: false, page: "https://psbl.org/" },
  { zone: "bl.mailspike.net", hasIpv6: false, page: "https://mailspike.io/ip_verify" },
];
