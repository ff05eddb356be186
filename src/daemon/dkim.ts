/** DKIM keys and the domain check, put together: what the doors and the flow out get of them. */

import { createResolver } from "../base/resolver.ts";
import { messageOf } from "../base/errors.ts";
import { createDkimFlow, type DkimService } from "../outbound/dkim.ts";
import { createDkimFiles } from "../outbound/dkim_files.ts";
import { createDomainCheck } from "../outbound/domain_check.ts";
import type { CheckDomain } from "../outbound/types.ts";
import type { Store } from "../store/types.ts";
import type { Context } from "./context.ts";

/** Of one DNS question; half of what a look of `domain check` has, so that it can say which question it was. */
const QUESTION_MS_MAX = 2500;

export interface DkimParts {
  dkim: DkimService;
  checkDomain: CheckDomain;
}

/** `hostname`: our name in greeting and HELO; `ownsDomain` gets A-labels in lower case. */
export function openDkim(
  { config, clock, log, endings }: Context,
  store: Store,
  { hostname, ownsDomain }: { hostname: () => string; ownsDomain: (domain: string) => boolean },
): DkimParts {
  // With a cache of its own, empty at first: who looks wants to know what is published now.
  const newResolver = () => {
    const { dns_servers: servers, dns_timeout: timeoutMs } = config();
    return createResolver({ servers, timeoutMs: Math.min(timeoutMs, QUESTION_MS_MAX), clock });
  };
  const files = createDkimFiles({ dataDir: config().data_dir, passphrase: () => config().dkim_passphrase });
  const dkim = createDkimFlow({ config, store, files, newResolver, ownsDomain, clock, log });
  const checkDomain = createDomainCheck({ config, hostname, newResolver, dkim, clock });
  // Beside the start: thousands of encrypted keys take their time.
  const stopping = new AbortController();
  const inspected = dkim.inspect(stopping.signal).catch((error) => {
    log.warn("Cannot look at DKIM keys", { error: messageOf(error) });
  });
  endings.push(() => {
    stopping.abort();
    return inspected;
  });
  return { dkim, checkDomain };
}
