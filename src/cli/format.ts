/**
 * How answers look to a person: aligned tables and indented fields. Everything shown may come from a
 * stranger's mail, so every cell goes through `printable`; scripts use --json, where JSON's own escapes do
 * that.
 */

import { printable } from "../base/printable.ts";

const CELL_CHARS_MAX = 120;

function cell(text: string): string {
  const safe = printable(text);
  return safe.length > CELL_CHARS_MAX ? safe.slice(0, CELL_CHARS_MAX - 3) + "..." : safe;
}

/** Rows of equal length with aligned columns, a line each; without rows nothing. */
export function table(rows: readonly (readonly string[])[]): string {
  const safe = rows.map((row) => row.map(cell));
  const widths: number[] = [];
  for (const row of safe) row.forEach((text, i) => widths[i] = Math.max(widths[i] ?? 0, text.length));
  return safe.map((row) => row.map((text, i) => text.padEnd(widths[i]!)).join("  ").trimEnd() + "\n").join(
    "",
  );
}

/** A value of a JSON answer in one cell. */
export function cellOf(value: unknown): string {
  if (value === null || value === undefined || value === "") return "-";
  if (Array.isArray(value)) return value.length === 0 ? "-" : value.map(String).join(", ");
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const DEPTH_MAX = 8;

/** A JSON object as indented `name: value` lines. */
export function fields(value: Record<string, unknown>, depth = 0): string {
  const indent = "  ".repeat(depth);
  let text = "";
  for (const [name, inner] of Object.entries(value)) {
    const label = `${indent}${printable(name)}:`;
    const isTree = typeof inner === "object" && inner !== null && depth < DEPTH_MAX;
    if (isTree && Array.isArray(inner) && inner.some((entry) => typeof entry === "object")) {
      text += `${label}\n`;
      for (const entry of inner) {
        const lines = typeof entry === "object" && entry !== null && !Array.isArray(entry)
          ? fields(entry as Record<string, unknown>, depth + 2)
          : `${indent}    ${printable(cellOf(entry))}\n`;
        text += lines.replace(/^ {4}/, "  - ");
      }
    } else if (isTree && !Array.isArray(inner)) {
      text += `${label}\n${fields(inner as Record<string, unknown>, depth + 1)}`;
    } else text += `${label} ${printable(cellOf(inner))}\n`;
  }
  return text;
}

/** JSON for scripts, C1 controls escaped as well since it may end up on a terminal. */
export function json(value: unknown): string {
  return JSON.stringify(value, null, 2).replace(
    /[\u007f-\u009f\u2028\u2029]/g,
    (char) => "\\u" + char.charCodeAt(0).toString(16).padStart(4, "0"),
  ) + "\n";
}
