/**
 * `/etc/gomail/gomail.yaml` of the package: the commented example that the schema makes, with the few keys set that
 * the package has an answer for. It is committed as `packaging/deb/gomail.yaml`, so that a reviewer sees what a
 * change of the schema does to the file on people's hosts; a test holds the two equal.
 */

import { exampleYaml } from "../../src/config/example.ts";

/** No secret among them: token and secret are made on the host, into these files. */
export const PACKAGED_SETTINGS: Readonly<Record<string, string>> = {
  mode: "socket",
  bearer_token_file: "/etc/gomail/bearer_token",
  webhook_secret_file: "/etc/gomail/webhook_secret",
};

const INTRO = `# What to do first: set primary_domain to the domain that mail is for, and webhook_url to the
# application that gets it. Then \`systemctl reload gomail\`, and \`gomail doctor\` says what is left to do.
#
`;

/** The whole file. Throws where the example lost one of the keys. */
export function packagedConfig(): string {
  let text = exampleYaml();
  for (const [key, value] of Object.entries(PACKAGED_SETTINGS)) {
    const commented = new RegExp(`^#${key}: .*$`, "m");
    if (!commented.test(text)) throw new Error(`Cannot set ${key}: the example does not have it`);
    text = text.replace(commented, `${key}: ${value}`);
  }
  return INTRO + text;
}
