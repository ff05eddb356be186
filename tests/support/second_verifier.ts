/** Debian's python3-dkim (with python3-nacl for Ed25519): DKIM as people understood it who never saw our code. */

/** The one that Debian's packages are for; others in the path know nothing of them. */
const PYTHON = "/usr/bin/python3";

/** Each signature of each mail as `algorithm pass`, or what is wrong with it. */
const SCRIPT = `
import base64, json, sys
import dkim

asked = json.load(sys.stdin)

def dns(name, timeout=5):
    value = asked["records"].get(name.decode().rstrip("."))
    return value and value.encode()

def results(message):
    count = sum(1 for name, _ in dkim.DKIM(message).headers if name.lower() == b"dkim-signature")
    for index in range(count):
        verifier = dkim.DKIM(message)
        try:
            verdict = "pass" if verifier.verify(idx=index, dnsfunc=dns) else "fail"
        except dkim.DKIMException as error:
            verdict = str(error)
        yield verifier.signature_fields.get(b"a", b"?").decode() + " " + verdict

json.dump([list(results(base64.b64decode(mail))) for mail in asked["mails"]], sys.stdout)
`;

export function hasSecondVerifier(): boolean {
  try {
    const args = ["-c", "import dkim, nacl.signing"];
    return new Deno.Command(PYTHON, { args, stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    // No such program.
    return false;
  }
}

/** What it finds of each mail's signatures, from the topmost on. `records`: TXT by name. */
export async function verifyAgain(
  mails: Uint8Array[],
  records: Record<string, string>,
): Promise<string[][]> {
  const child = new Deno.Command(PYTHON, {
    args: ["-c", SCRIPT],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  const asked = JSON.stringify({ mails: mails.map((mail) => mail.toBase64()), records });
  const [output] = await Promise.all([
    child.output(),
    writer.write(new TextEncoder().encode(asked)).then(() => writer.close()),
  ]);
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  if (!output.success) throw new Error(`Cannot verify with python3-dkim: ${text(output.stderr)}`);
  return JSON.parse(text(output.stdout));
}
