/**
 * Where DKIM private keys are: `<data_dir>/dkim/<domain>/<selector>.pem`, 0600 in directories of 0700, PKCS#8,
 * encrypted when there is a passphrase. Written under a temporary name, synced, renamed, and the directory
 * synced, so that a crash leaves no file or a whole one. Names are checked here once more, right before they
 * become a path: a domain of A-labels and a selector of one label have no dot-dot and no slash.
 */

import type { KeyObject } from "node:crypto";
import { join } from "node:path";
import { messageOf } from "../base/errors.ts";
import { normalizeDomain } from "../mail/address.ts";
import { durableDir, removeFile, syncDir } from "../store/disk.ts";
import { diskError } from "../store/errors.ts";
import { isEncryptedPem, isSelector, readPem, writePem } from "./dkim_keys.ts";

export type KeyFile = { key: KeyObject; isEncrypted: boolean } | { problem: string };

export interface DkimFiles {
  /** Durable when it resolves. Rejects with StoreError; a file that is there is never written over. */
  create(domain: string, selector: string, key: KeyObject): Promise<void>;
  /** The same key again, by today's passphrase. */
  rewrite(domain: string, selector: string, key: KeyObject): Promise<void>;
  /** `problem` says which file, what is wrong with it and what to do. Rejects only for names that are none. */
  read(domain: string, selector: string): Promise<KeyFile>;
  /** Selectors that have a file. */
  list(domain: string): Promise<string[]>;
  /** Gone already is fine. */
  remove(domain: string, selector: string): Promise<void>;
}

export interface DkimFilesOptions {
  dataDir: string;
  /** Asked each time, so that a reload holds. */
  passphrase: () => string | undefined;
}

/** An RSA key of 16,384 bits, encrypted, has 13 KB. */
const PEM_BYTES_MAX = 64 * 1024;

/** A text file of at most so many bytes, or why not, as it fits behind its name. */
export async function readPemFile(path: string): Promise<string | { problem: string }> {
  try {
    // Before it is opened: that would wait for a writer, if it is a pipe.
    if (!(await Deno.stat(path)).isFile) return { problem: "is no file" };
    using file = await Deno.open(path, { read: true });
    const { size } = await file.stat();
    if (size > PEM_BYTES_MAX) return { problem: "is too large for a key" };
    const bytes = new Uint8Array(PEM_BYTES_MAX);
    let length = 0;
    for (let n; length < bytes.length && (n = await file.read(bytes.subarray(length))); length += n);
    return new TextDecoder().decode(bytes.subarray(0, length));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return { problem: "is missing" };
    return { problem: `can't be read: ${messageOf(error)}` };
  }
}

async function exists(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return false;
    throw error;
  }
}

class Files implements DkimFiles {
  constructor(private readonly options: DkimFilesOptions) {}

  #dir(domain: string): string {
    if (normalizeDomain(domain) !== domain) throw new Error("Cannot keep a DKIM key: its domain is none");
    return join(this.options.dataDir, "dkim", domain);
  }

  #path(domain: string, selector: string): string {
    if (!isSelector(selector)) throw new Error("Cannot keep a DKIM key: its selector is none");
    return join(this.#dir(domain), `${selector}.pem`);
  }

  async create(domain: string, selector: string, key: KeyObject): Promise<void> {
    await this.#write(domain, selector, key, false);
  }

  async rewrite(domain: string, selector: string, key: KeyObject): Promise<void> {
    await this.#write(domain, selector, key, true);
  }

  async #write(domain: string, selector: string, key: KeyObject, isOver: boolean): Promise<void> {
    const dir = this.#dir(domain);
    const path = this.#path(domain, selector);
    const temporary = `${path}.${crypto.randomUUID().slice(0, 8)}.tmp`;
    try {
      await durableDir(dir);
      try {
        {
          using file = await Deno.open(temporary, { write: true, createNew: true, mode: 0o600 });
          let rest: Uint8Array = new TextEncoder().encode(writePem(key, this.options.passphrase()));
          while (rest.length > 0) rest = rest.subarray(await file.write(rest));
          await file.sync();
        }
        // A look first, since a rename takes any file's place; nobody else writes here (the directory is locked).
        if (!isOver && await exists(path)) throw new Error("there is a key of that name");
        await Deno.rename(temporary, path);
      } finally {
        await removeFile(temporary);
      }
      await syncDir(dir);
    } catch (error) {
      throw diskError("keep a DKIM key", error);
    }
  }

  async read(domain: string, selector: string): Promise<KeyFile> {
    const path = this.#path(domain, selector);
    const pem = await readPemFile(path);
    if (typeof pem !== "string") {
      const remedy = pem.problem === "is missing"
        ? `: restore it, or retire the key with \`gomail dkim retire ${domain} ${selector} --force\``
        : "";
      return { problem: `${path} ${pem.problem}${remedy}` };
    }
    const key = readPem(pem, this.options.passphrase());
    return "problem" in key
      ? { problem: `${path} ${key.problem}` }
      : { key, isEncrypted: isEncryptedPem(pem) };
  }

  async list(domain: string): Promise<string[]> {
    const found: string[] = [];
    try {
      for await (const { name } of Deno.readDir(this.#dir(domain))) {
        if (name.endsWith(".pem")) found.push(name.slice(0, -4));
      }
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw diskError("list DKIM keys", error);
    }
    return found;
  }

  async remove(domain: string, selector: string): Promise<void> {
    const path = this.#path(domain, selector);
    try {
      await removeFile(path);
      await syncDir(this.#dir(domain));
    } catch (error) {
      // Without its directory the file is gone as well.
      if (!(error instanceof Deno.errors.NotFound)) throw diskError("remove a DKIM key", error);
    }
  }
}

export function createDkimFiles(options: DkimFilesOptions): DkimFiles {
  return new Files(options);
}
