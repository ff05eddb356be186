/** What a backup holds of a store that changes while it is copied. */

import { assert, assertEquals } from "@std/assert";
import { DatabaseSync } from "node:sqlite";
import { createBackup, restoreBackup } from "../../../src/store/backup/mod.ts";
import { test } from "../../support/test.ts";
import { openTestStore, T0 } from "../support.ts";
import { addBig, hasBig, options, withPlace } from "./support.ts";

/** Over what is copied in one go, so that there is a while in between. */
const DATABASE_BYTES = 20_000_000;

/** Lengthens the one body that is in the database. */
function grow(path: string): void {
  const db = new DatabaseSync(path);
  try {
    db.exec(`UPDATE contents SET body = zeroblob(${DATABASE_BYTES}) WHERE seq = 1;
      UPDATE messages SET size_bytes = (SELECT length(head) + length(body) FROM contents WHERE seq = 1) WHERE seq = 1`);
  } finally {
    db.close();
  }
}

/** All at once what retention does: the rows first, then the bodies of those. */
function deleteBig(dataDir: string): void {
  const db = new DatabaseSync(`${dataDir}/gomail.db`);
  try {
    const bodies = db.prepare(
      "SELECT c.blob_path AS path FROM contents c JOIN messages m USING (seq) WHERE m.id LIKE 'big-%'",
    ).all();
    db.exec("PRAGMA foreign_keys = ON; DELETE FROM messages WHERE id LIKE 'big-%'");
    for (const { path } of bodies) Deno.removeSync(`${dataDir}/${path}`);
  } finally {
    db.close();
  }
}

test("What retention deletes while the database is copied is in the backup, row and body", () =>
  withPlace(async ({ dir, dataDir, out }) => {
    grow(`${dataDir}/gomail.db`);
    // Open all the while, as the daemon has it.
    const live = await openTestStore(dataDir);
    try {
      const full = await createBackup(options(dataDir, out));
      await addBig(live, "big-2");
      let isDeleted = false;
      const { path, summary } = await createBackup(options(dataDir, out, {
        incremental: true,
        now: T0 + 1000,
        progress(what, part) {
          if (what !== "copying" || part === 1 || isDeleted) return;
          deleteBig(dataDir);
          isDeleted = true;
        },
      }));
      assert(isDeleted, "the copy was made in one go");
      assertEquals(await live.getMessage("big-2"), null);
      assertEquals([full.summary.messages, summary.messages, summary.missing_blobs], [3, 4, []]);
      const source = { kind: "file" as const, path: path! };
      await restoreBackup(`${dir}/again`, {
        source,
        openWith: { identities: [] },
        progress: () => {},
        now: T0,
        places: [],
      });
      const again = await openTestStore(`${dir}/again`);
      try {
        // The first is in the full backup alone, the other in the increment.
        for (const id of ["big-1", "big-2"]) assert(await hasBig(again, id), id);
      } finally {
        await again.close();
      }
    } finally {
      await live.close();
    }
  }));
