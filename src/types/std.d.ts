/**
 * Types for the parts of @std that GoMail uses. The registry that carries the typed packages is not always in
 * reach, so deno.json maps the @std names to a plain-JavaScript copy; these declarations are named by the
 * alias, so that moving back is an edit of deno.json alone (and deleting this file).
 */

declare module "@std/yaml" {
  export interface ParseOptions {
    schema?: "core" | "default" | "failsafe" | "json" | "extended";
    allowDuplicateKeys?: boolean;
    onWarning?: (error: Error) => void;
  }
  export interface StringifyOptions {
    indent?: number;
    lineWidth?: number;
    skipInvalid?: boolean;
    useAnchors?: boolean;
  }
  export function parse(content: string, options?: ParseOptions): unknown;
  export function stringify(data: unknown, options?: StringifyOptions): string;
}

declare module "@std/cli/parse-args" {
  export interface ParsedArgs {
    _: (string | number)[];
    [name: string]: unknown;
  }
  export interface ParseOptions {
    "--"?: boolean;
    alias?: Record<string, string | string[]>;
    boolean?: boolean | string | string[];
    collect?: string | string[];
    default?: Record<string, unknown>;
    negatable?: string | string[];
    stopEarly?: boolean;
    string?: string | string[];
    unknown?: (arg: string, key?: string, value?: unknown) => unknown;
  }
  export function parseArgs(args: readonly string[], options?: ParseOptions): ParsedArgs;
}

declare module "@std/ulid" {
  export function monotonicUlid(seedTimeMs?: number): string;
  export function ulid(seedTimeMs?: number): string;
  export function decodeTime(id: string): number;
}

declare module "@std/assert" {
  export function assert(condition: unknown, message?: string): asserts condition;
  export function assertEquals<T>(actual: T, expected: T, message?: string): void;
  export function assertNotEquals<T>(actual: T, expected: T, message?: string): void;
  export function assertStrictEquals<T>(actual: unknown, expected: T, message?: string): asserts actual is T;
  export function assertExists<T>(actual: T, message?: string): asserts actual is NonNullable<T>;
  export function assertMatch(actual: string, expected: RegExp, message?: string): void;
  export function assertNotMatch(actual: string, expected: RegExp, message?: string): void;
  export function assertStringIncludes(actual: string, expected: string, message?: string): void;
  export function assertGreater<T>(actual: T, expected: T, message?: string): void;
  export function assertGreaterOrEqual<T>(actual: T, expected: T, message?: string): void;
  export function assertLess<T>(actual: T, expected: T, message?: string): void;
  export function assertLessOrEqual<T>(actual: T, expected: T, message?: string): void;
  export function assertObjectMatch(actual: object, expected: object, message?: string): void;
  export function assertThrows(
    fn: () => unknown,
    errorClass?: new (...args: never[]) => Error,
    text?: string,
  ): Error;
  export function assertRejects(
    fn: () => PromiseLike<unknown>,
    errorClass?: new (...args: never[]) => Error,
    text?: string,
  ): Promise<Error>;
  export function fail(message?: string): never;
}
