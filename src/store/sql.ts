/** The two ways rows come out of a prepared statement, typed by the caller, who wrote its column list. */

import type { StatementSync } from "node:sqlite";

export type SqlValue = null | number | string | Uint8Array<ArrayBuffer>;

export function all<T>(statement: StatementSync, ...values: SqlValue[]): T[] {
  return statement.all(...values) as T[];
}

export function first<T>(statement: StatementSync, ...values: SqlValue[]): T | null {
  return (statement.get(...values) as T | undefined) ?? null;
}

/** The number of rows changed. */
export function run(statement: StatementSync, ...values: SqlValue[]): number {
  return Number(statement.run(...values).changes);
}
