/**
 * IP addresses: the only door to ipaddr.js. Everything that compares, counts or refuses by address goes
 * through here, so that one spelling rule holds everywhere: dotted quads without leading zeros (an octal or
 * short form is another address to another program), and an IPv4-mapped IPv6 address (RFC 4291 2.5.5.2) is
 * the IPv4 address that it carries.
 */

import ipaddr from "ipaddr.js";

export interface Address {
  readonly family: 4 | 6;
  /** Canonical text: dotted quad, or RFC 5952. */
  readonly text: string;
  readonly bytes: readonly number[];
}

type Parsed = ipaddr.IPv4 | ipaddr.IPv6;

const DOTTED_QUAD = /^(?:0|[1-9]\d{0,2})(?:\.(?:0|[1-9]\d{0,2})){3}$/;
/** No text form of an address is longer (RFC 4291 2.2, form 3). */
const TEXT_MAX = 45;
/** The one name that may stand for ranges in configuration. */
const LOOPBACK_RANGES = ["127.0.0.0/8", "::1/128"] as const;

/**
 * Writes a dotted tail (`::ffff:192.0.2.1`) as two groups of hex. ipaddr.js would take an octal tail as well,
 * and reads the deprecated IPv4-compatible `::192.0.2.1` as if it were mapped.
 */
function hexTail(text: string): string | null {
  if (!text.includes(".")) return text;
  const start = text.lastIndexOf(":") + 1;
  const tail = text.slice(start);
  if (!DOTTED_QUAD.test(tail) || !ipaddr.IPv4.isValid(tail)) return null;
  const [a, b, c, d] = ipaddr.IPv4.parse(tail).octets as [number, number, number, number];
  return `${text.slice(0, start)}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
}

function parse(text: string): Parsed | null {
  if (text.length > TEXT_MAX || !/^[0-9a-f:.]+$/i.test(text)) return null;
  if (!text.includes(":")) {
    return DOTTED_QUAD.test(text) && ipaddr.IPv4.isValid(text) ? ipaddr.IPv4.parse(text) : null;
  }
  const plain = hexTail(text);
  if (plain === null || !ipaddr.IPv6.isValid(plain)) return null;
  const address = ipaddr.IPv6.parse(plain);
  return address.isIPv4MappedAddress() ? address.toIPv4Address() : address;
}

function toAddress(parsed: Parsed): Address {
  return {
    family: parsed.kind() === "ipv4" ? 4 : 6,
    text: parsed.kind() === "ipv4" ? parsed.toString() : (parsed as ipaddr.IPv6).toRFC5952String(),
    bytes: parsed.toByteArray(),
  };
}

/** The address, or null when the text is not exactly one: no zone, no octal, no short forms. */
export function parseAddress(text: string): Address | null {
  const parsed = parse(text);
  return parsed && toAddress(parsed);
}

/**
 * A socket's idea of an address in plain form: mapped IPv4 shortened, a link-local zone (`%eth0`) cut off.
 * Text that is no address comes back unchanged.
 */
export function plainAddress(text: string): string {
  return parseAddress(text.replace(/%.*$/s, ""))?.text ?? text;
}

/** One range as an address and a prefix length, or null when it is neither CIDR nor an address. */
function parseRange(range: string): [Parsed, number] | null {
  const slash = range.indexOf("/");
  const base = parse(slash < 0 ? range : range.slice(0, slash));
  if (!base) return null;
  const bitsMax = base.kind() === "ipv4" ? 32 : 128;
  if (slash < 0) return [base, bitsMax];
  const digits = range.slice(slash + 1);
  if (!/^\d{1,3}$/.test(digits)) return null;
  let bits = Number(digits);
  // ::ffff:10.0.0.0/104 was read as 10.0.0.0: the prefix shrinks with it.
  if (base.kind() === "ipv4" && range.includes(":")) bits -= 96;
  return bits >= 0 && bits <= bitsMax ? [base, bits] : null;
}

/** A range in its one spelling: host bits cleared, the length always there, mapped IPv4 as IPv4. */
export interface Network {
  readonly family: 4 | 6;
  readonly text: string;
  readonly bits: number;
}

/** An address or a CIDR as a network, or null when it is neither. */
export function parseNetwork(text: string): Network | null {
  const range = parseRange(text);
  if (!range) return null;
  const [base, bits] = range;
  const address = toAddress(base);
  return { family: address.family, bits, text: networkAround(address, bits) };
}

/** The network of that length which the address lies in, as parseNetwork() spells it. */
export function networkAround({ bytes }: Address, bits: number): string {
  const masked = bytes.map((byte, i) => byte & (0xff00 >> Math.min(8, Math.max(0, bits - i * 8))) & 0xff);
  return `${toAddress(ipaddr.fromByteArray(masked)).text}/${bits}`;
}

/** Of `ranges`, those that have an address in common with the network. */
export function overlapping(network: Network, ranges: readonly string[]): string[] {
  return ranges.filter((text) =>
    (text === "loopback" ? LOOPBACK_RANGES : [text]).some((range) => {
      const other = parseNetwork(range);
      if (other?.family !== network.family) return false;
      const [wide, narrow] = other.bits < network.bits ? [other, network] : [network, other];
      return inRanges(narrow.text.replace(/\/\d+$/, ""), [wide.text]);
    })
  );
}

/** True for what may stand in a list of ranges: an address, a CIDR, or the word "loopback". */
export function isRange(text: string): boolean {
  return text === "loopback" || parseRange(text) !== null;
}

/** True when the address lies in one of the ranges; text that is no address lies in none. */
export function inRanges(address: Address | string, ranges: readonly string[]): boolean {
  if (ranges.length === 0) return false;
  const parsed = parse(typeof address === "string" ? address : address.text);
  if (!parsed) return false;
  const inOne = (text: string) => {
    const range = parseRange(text);
    return range !== null && range[0].kind() === parsed.kind() && parsed.match(range);
  };
  return ranges.some((text) => text === "loopback" ? LOOPBACK_RANGES.some(inOne) : inOne(text));
}

/**
 * What counts as one party when clients are limited or banned: an IPv4 address, or an IPv6 /64, since any host
 * can pick among all addresses of its /64. Text that is no address is its own key.
 */
export function networkKey(address: Address | string): string {
  const parsed = typeof address === "string" ? parseAddress(address) : address;
  if (!parsed) return String(address);
  if (parsed.family === 4) return parsed.text;
  const bytes = parsed.bytes.map((byte, i) => i < 8 ? byte : 0);
  return `${toAddress(ipaddr.fromByteArray(bytes)).text}/64`;
}

/** The same party as a network, as parseNetwork() spells it. */
export function partyAround(address: Address): string {
  return networkAround(address, address.family === 4 ? 32 : 64);
}

/**
 * Azure's wire server, the one metadata service that is not in a special range: inside that cloud it is the host
 * below, anywhere else it is nobody.
 */
const WIRE_SERVER = "168.63.129.16";

function publicQuad(bytes: readonly number[]): boolean {
  const quad = ipaddr.fromByteArray([...bytes]);
  return quad.range() === "unicast" && quad.toString() !== WIRE_SERVER;
}

/**
 * True for an address that is somebody's on the open Internet: not private, loopback, link-local, unique-local,
 * CGNAT, multicast, reserved, documentation, benchmarking, unspecified or otherwise special (RFC 6890 and IANA's
 * registries), nor any cloud's metadata service, most of which are in there. Transition forms are as public as every IPv4 address inside them, because the packet ends there.
 */
export function isPublic(address: Address | string): boolean {
  const known = typeof address === "string" ? parseAddress(address) : address;
  if (!known) return false;
  const { bytes, family } = known;
  if (family === 4) return publicQuad(bytes);
  const range: string = ipaddr.fromByteArray([...bytes]).range();
  // NAT64 (RFC 6052); the local-use prefix 64:ff9b:1::/48 (RFC 8215) is never public.
  if (range === "rfc6052") return inRanges(known, ["64:ff9b::/96"]) && publicQuad(bytes.slice(12));
  if (range === "6to4") return publicQuad(bytes.slice(2, 6));
  // Teredo (RFC 4380 4): the server in the clear, the client with every bit flipped.
  if (range === "teredo") {
    return publicQuad(bytes.slice(4, 8)) && publicQuad(bytes.slice(12).map((byte) => byte ^ 0xff));
  }
  // ISATAP (RFC 5214 6.1) carries an IPv4 address after 00-00-5E-FE or 02-00-5E-FE.
  const isatap = (bytes[8] === 0 || bytes[8] === 2) && bytes[9] === 0 && bytes[10] === 0x5e &&
    bytes[11] === 0xfe;
  if (isatap && !publicQuad(bytes.slice(12))) return false;
  // Only 2000::/3 is global unicast (RFC 4291 2.4, IANA registry); IPv4-compatible ::/96 falls out here too.
  return range === "unicast" && (bytes[0]! & 0xe0) === 0x20;
}
