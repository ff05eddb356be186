/** The vault's verbs for the porter: bans, and the API's tokens; with the records that they take and give. */

import type { BanRow, TokenRow } from "./rows.ts";
import type { BanRecord, Store, TokenRecord, TokenUse } from "./types.ts";
import { VaultCore } from "./vault_core.ts";
import type { PorterVerbs } from "./verbs.ts";

export class PorterVault extends VaultCore implements Pick<Store, keyof PorterVerbs> {
  async listBans(): Promise<BanRecord[]> {
    return (await this.call("listBans")).map(banRecord);
  }

  putBan(ban: BanRecord): Promise<void> {
    return this.call("putBan", banRow(ban));
  }

  removeBan(range: string): Promise<boolean> {
    return this.call("removeBan", range);
  }

  forgetBans(now: number): Promise<number> {
    return this.call("forgetBans", now);
  }

  async listTokens(): Promise<TokenRecord[]> {
    return (await this.call("listTokens")).map(tokenRecord);
  }

  addToken(token: TokenRecord): Promise<boolean> {
    return this.call("addToken", tokenRow(token));
  }

  removeToken(id: string): Promise<boolean> {
    return this.call("removeToken", id);
  }

  async usedTokens(uses: TokenUse[]): Promise<void> {
    if (uses.length > 0) await this.call("usedTokens", uses);
  }
}

function banRow({ evidence, createdAt, expiresAt, forgetAt, ...same }: BanRecord): BanRow {
  return {
    ...same,
    evidence: JSON.stringify(evidence),
    created_at: createdAt,
    expires_at: expiresAt,
    forget_at: forgetAt,
  };
}

function banRecord({ evidence, created_at, expires_at, forget_at, ...same }: BanRow): BanRecord {
  return {
    ...same,
    evidence: JSON.parse(evidence),
    createdAt: created_at,
    expiresAt: expires_at,
    forgetAt: forget_at,
  };
}

function tokenRow({ scopes, rateLimit, createdAt, expiresAt, lastUsedAt, ...same }: TokenRecord): TokenRow {
  return {
    ...same,
    scopes: JSON.stringify(scopes),
    rate_limit: rateLimit && JSON.stringify(rateLimit),
    created_at: createdAt,
    expires_at: expiresAt,
    last_used_at: lastUsedAt,
  };
}

function tokenRecord(
  { scopes, rate_limit, created_at, expires_at, last_used_at, ...same }: TokenRow,
): TokenRecord {
  return {
    ...same,
    scopes: JSON.parse(scopes),
    rateLimit: rate_limit === null ? null : JSON.parse(rate_limit),
    createdAt: created_at,
    expiresAt: expires_at,
    lastUsedAt: last_used_at,
  };
}
