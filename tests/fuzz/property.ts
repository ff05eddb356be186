/**
 * What a fuzz target is: a handful of named properties, each a generator of inputs and a check that throws when
 * the input shows a fault. "Does not throw" alone is never the whole property: there is an oracle, an invariant
 * or a second way to the same result.
 */

import fc from "fast-check";

export interface FuzzProperty {
  /** A few words with hyphens: it is typed to repeat a failure. */
  name: string;
  inputs: fc.Arbitrary<unknown>;
  check: (input: unknown) => void | Promise<void>;
  /** Its inputs are large: a short run makes do with few of them. */
  large?: boolean;
}

export interface FuzzTarget {
  properties: readonly FuzzProperty[];
  /** Lets go of what the checks share, such as a socket. */
  close?: () => Promise<void>;
}

export function property<T>(
  name: string,
  inputs: fc.Arbitrary<T>,
  check: (input: T) => void | Promise<void>,
): FuzzProperty {
  return { name, inputs, check: (input) => check(input as T) };
}

/** The same, for inputs that are made to take long: the check is as much that it ends. */
export function largeProperty<T>(
  name: string,
  inputs: fc.Arbitrary<T>,
  check: (input: T) => void | Promise<void>,
): FuzzProperty {
  return { ...property(name, inputs, check), large: true };
}
