/**
 * Schema version 5: the triggers that keep lanes, again. Version 2 asked for the earliest due time with min() behind
 * a condition, for which SQLite reads a lane's whole index: each attempt of a lane with 16,000 pending jobs took
 * 0.9 ms, and a receiver's backlog was the slower to drain the longer it was. The first of an order is one step.
 */

/** Brings one lane's row up to date with its jobs. `row` is the trigger's name for the changed job. */
function refreshLane(row: "old" | "new"): string {
  return `
  INSERT INTO lanes SELECT ${row}.carrier, ${row}.lane, due_at FROM (SELECT due_at FROM jobs
      WHERE carrier = ${row}.carrier AND state = 'pending' AND lane = ${row}.lane ORDER BY due_at LIMIT 1) WHERE true
    ON CONFLICT (carrier, lane) DO UPDATE SET due_at = excluded.due_at WHERE due_at <> excluded.due_at;
  DELETE FROM lanes WHERE carrier = ${row}.carrier AND lane = ${row}.lane AND NOT EXISTS (SELECT 1 FROM jobs
      WHERE carrier = ${row}.carrier AND state = 'pending' AND lane = ${row}.lane);`;
}

export const v005Lanes = `
DROP TRIGGER jobs_laned_over;
DROP TRIGGER jobs_laned_away;
DROP TRIGGER jobs_laned_out;
CREATE TRIGGER jobs_laned_over AFTER UPDATE OF state, due_at, lane ON jobs
    WHEN old.state = 'pending' OR new.state = 'pending' BEGIN${refreshLane("new")}
END;
CREATE TRIGGER jobs_laned_away AFTER UPDATE OF lane ON jobs
    WHEN old.state = 'pending' AND old.lane <> new.lane BEGIN${refreshLane("old")}
END;
CREATE TRIGGER jobs_laned_out AFTER DELETE ON jobs WHEN old.state = 'pending' BEGIN${refreshLane("old")}
END;
`;
