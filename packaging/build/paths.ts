/** Where the build finds the sources, and where it puts what it makes. */

export const ROOT = new URL("../../", import.meta.url).pathname.replace(/\/$/, "");
export const DIST = `${ROOT}/dist`;
