/**
 * The secrets that webhooks are signed with, and how one follows another without a webhook lost: first a second one
 * signs beside the first (receivers that know either are content, as the Standard Webhooks specification has it),
 * then, when all receivers have the new one, the first is retired. The second is made and kept by GoMail. Where the
 * first is in the configuration, only the operator can put the second in its place; retiring waits for that.
 */

import type { Config } from "../config/schema.ts";
import { newWebhookSecret } from "../base/secret.ts";
import type { Logger } from "../base/log.ts";
import { putSecret, readSecret, removeSecret, takeOverSecret } from "./secret_files.ts";

export type SecretConfig =
  & Pick<Config, "data_dir">
  & Partial<Pick<Config, "webhook_secret" | "webhook_secret_next">>;

/** What signs now: `next` beside `current`, while one follows the other. */
export interface WebhookSecretPair {
  current: string;
  next: string | null;
}

export type SecretChange =
  | { kind: "done"; secrets: WebhookSecretPair }
  /** It can't be done as things are; the text says why and what to do. */
  | { kind: "refused"; problem: string };

const FIRST = "webhook_secret";
const SECOND = "webhook_secret_next";

const CONFIGURED: SecretChange = {
  kind: "refused",
  problem:
    "webhook_secret is in the config: put the second secret there in its place, reload, and retire again",
};
const NEXT_CONFIGURED: SecretChange = {
  kind: "refused",
  problem: "webhook_secret_next is in the config: it signs beside the first already, and is changed there",
};
const NONE: SecretChange = { kind: "refused", problem: "there is no second secret: rotate first" };
const ONE_ALREADY: SecretChange = {
  kind: "refused",
  problem: "a second secret signs already: retire the first when all receivers have it, or cancel",
};

export class WebhookSecrets {
  #made: WebhookSecretPair;
  /** One change at a time: two at once would each see the other's files half done. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly config: () => SecretConfig,
    private readonly log: Logger,
    /** As read from the data directory. */
    made: WebhookSecretPair,
  ) {
    this.#made = made;
  }

  /** The config's word goes before ours. */
  get pair(): WebhookSecretPair {
    const { webhook_secret, webhook_secret_next } = this.config();
    const current = webhook_secret ?? this.#made.current;
    const next = webhook_secret_next ?? this.#made.next;
    return { current, next: next === current ? null : next };
  }

  /** Adds a second secret. On disk before it signs. Rejects when it can't be kept; then nothing has changed. */
  rotate(): Promise<SecretChange> {
    return this.#inTurn(async (dir) => {
      if (this.#made.next !== null) return ONE_ALREADY;
      const next = newWebhookSecret();
      await putSecret(`${dir}/${SECOND}`, next);
      return this.#now({ ...this.#made, next }, "Webhook secret added");
    });
  }

  /** The second one takes the first one's place. */
  retire(): Promise<SecretChange> {
    return this.#inTurn(async (dir) => {
      const { next } = this.#made;
      if (next === null) return NONE;
      const configured = this.config().webhook_secret;
      if (configured !== undefined && configured !== next) return CONFIGURED;
      // Its file may have been deleted by hand: it signs all the same, so receivers have it, and it is kept.
      if (await readSecret(`${dir}/${SECOND}`) === next) {
        await takeOverSecret(`${dir}/${SECOND}`, `${dir}/${FIRST}`);
      } else {
        await putSecret(`${dir}/${FIRST}`, next);
        await removeSecret(`${dir}/${SECOND}`);
      }
      return this.#now({ current: next, next: null }, "Webhook secret retired");
    });
  }

  /** Takes the second one back. */
  cancel(): Promise<SecretChange> {
    return this.#inTurn(async (dir) => {
      if (this.#made.next === null) return NONE;
      await removeSecret(`${dir}/${SECOND}`);
      return this.#now({ ...this.#made, next: null }, "Webhook secret taken back");
    });
  }

  #now(made: WebhookSecretPair, told: string): SecretChange {
    this.#made = made;
    this.log.info(told);
    return { kind: "done", secrets: this.pair };
  }

  #inTurn(change: (dir: string) => Promise<SecretChange>): Promise<SecretChange> {
    const step = this.#last.then(() => {
      const { webhook_secret_next, data_dir } = this.config();
      return webhook_secret_next === undefined ? change(data_dir) : NEXT_CONFIGURED;
    });
    this.#last = step.catch(() => {
      // Told to whoever asked for it; the next one begins anew.
    });
    return step;
  }
}

/** The configuration with the secrets as they are; asked for with every step of every job, so kept until it changes. */
export function withSecrets(config: () => Config, secrets: WebhookSecrets): () => Config {
  const make = (of: Config, { current, next }: WebhookSecretPair) => {
    return {
      of,
      current,
      next,
      is: { ...of, webhook_secret: current, webhook_secret_next: next ?? undefined },
    };
  };
  let kept = make(config(), secrets.pair);
  return () => {
    const { current, next } = secrets.pair;
    if (kept.of !== config() || kept.current !== current || kept.next !== next) {
      kept = make(config(), { current, next });
    }
    return kept.is;
  };
}
