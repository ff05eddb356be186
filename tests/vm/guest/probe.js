// Tries what a mail that got hold of the service would try, and says of each try whether it was refused. Run with
// --allow-all, so that what refuses is the unit, the kernel and the profile, and not Deno.

async function attempt(name, work) {
  try {
    await work();
    console.log(`allowed ${name}`);
  } catch (error) {
    console.log(`refused ${name} ${String(error.message).replaceAll("\n", " ")}`);
  }
}

for (const path of ["/etc/shadow", "/root/.bashrc", "/proc/1/environ"]) {
  await attempt(`read:${path}`, () => Deno.readFile(path));
}
for (
  const path of [
    "/var/lib/gomail/probe",
    "/etc/gomail/probe",
    "/etc/cron.d/probe",
    "/usr/bin/probe",
    "/var/lib/probe",
    "/var/log/probe",
    "/root/probe",
    "/run/probe",
  ]
) {
  await attempt(`write:${path}`, async () => {
    await Deno.writeTextFile(path, "#!/bin/sh\n", { mode: 0o755 });
    // Outside, what should not have been possible shall at least not stay.
    if (path !== "/var/lib/gomail/probe") await Deno.remove(path);
  });
}
for (const path of ["/bin/sh", "/var/lib/gomail/probe"]) {
  await attempt(`exec:${path}`, () => new Deno.Command(path, { args: ["-c", "exit 0"] }).output());
}
for (const port of [26, 443]) {
  await attempt(`bind:${port}`, () => Deno.listen({ hostname: "127.0.0.1", port }).close());
}
await Deno.remove("/var/lib/gomail/probe").catch(() => {
  // The try to write it was refused, which has been said.
});
