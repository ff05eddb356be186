/** The engine's verbs for the porter: bans, and the API's tokens. See engine.ts for the rules. */

import { EngineCore } from "./engine_core.ts";
import type { BanRow, TokenRow, TokenUseRow } from "./rows.ts";
import type { PorterVerbs } from "./verbs.ts";

export class PorterEngine extends EngineCore implements PorterVerbs {
  async listBans(): Promise<BanRow[]> {
    return this.read("list bans", ({ bans }) => bans.list());
  }

  putBan(row: BanRow): Promise<void> {
    return this.commits.write({ what: "store a ban", run: ({ bans }) => bans.put(row) });
  }

  removeBan(range: string): Promise<boolean> {
    return this.commits.write({ what: "remove a ban", run: ({ bans }) => bans.remove(range) });
  }

  forgetBans(now: number): Promise<number> {
    return this.commits.write({ what: "forget old bans", run: ({ bans }) => bans.forget(now) });
  }

  async listTokens(): Promise<TokenRow[]> {
    return this.read("list tokens", ({ tokens }) => tokens.list());
  }

  addToken(row: TokenRow): Promise<boolean> {
    return this.commits.write({ what: "add a token", run: ({ tokens }) => tokens.add(row) });
  }

  removeToken(id: string): Promise<boolean> {
    return this.commits.write({ what: "remove a token", run: ({ tokens }) => tokens.remove(id) });
  }

  usedTokens(rows: TokenUseRow[]): Promise<void> {
    return this.commits.write({ what: "note the use of tokens", run: ({ tokens }) => tokens.used(rows) });
  }
}
