/**
 * Whether systemd manages this host, as sd_booted(3) tells: its directory is there. In a container it is not, and what is
 * to be typed is another thing. Where that can't be seen it is taken to be there, as on the hosts that the package is for.
 */

const BOOTED = "/run/systemd/system";

export function hasSystemd(path = BOOTED): boolean {
  try {
    return Deno.lstatSync(path).isDirectory;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound);
  }
}
