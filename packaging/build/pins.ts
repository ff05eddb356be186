/**
 * What the executable is built with, each version in this one place. The Deno version itself stands in
 * `src/base/runtime.ts`, because the program has to know it too; `tests/packaging/build_test.ts` holds README and
 * `.ci/run` to it.
 */

export { DENO_VERSION } from "../../src/base/runtime.ts";

/**
 * Where Deno's download host is out of reach, the only matching pair of compiler and runtime that comes from npm:
 * Deno 2.7.11, and an executable that was compiled by it, of which the first bytes are the bare runtime. It can't
 * serve TLS, and is good for proving the executable's form, nothing else.
 */
export const FALLBACK = {
  deno: "2.7.11",
  target: "x86_64-unknown-linux-gnu",
  package: "@stdy/cli-linux-x64@0.22.2",
  integrity:
    "sha512-kp5QdG26EC8gEzVXI0YgzmiiFHz7DFCNRLNfAWa2rDPHr/jUBnfkP8AlbTPmv0YNQpnKn1wzSWHFw88fn/OTog==",
  member: "package/bin/steady",
  runtimeBytes: 97_076_048,
} as const;

/** Rust's name of each platform we build for, and Debian's. */
export const TARGETS: Readonly<Record<string, string>> = {
  "x86_64-unknown-linux-gnu": "amd64",
  "aarch64-unknown-linux-gnu": "arm64",
};
