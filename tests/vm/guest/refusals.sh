# What the service could not do if a mail got hold of it: a probe that tries, without any limit of its own, in the
# unit's sandbox and under the profile. Sourced by phase B; DENIED lines in the journal are wanted from here on.

# The same unit by another name, with another program in it.
cp "$(property FragmentPath)" /etc/systemd/system/gomail-probe.service
mkdir -p /etc/systemd/system/gomail-probe.service.d
cat >/etc/systemd/system/gomail-probe.service.d/test.conf <<END
[Service]
Type=oneshot
Restart=no
WatchdogSec=0
Environment=DENO_DIR=/tmp/deno
ExecStart=
ExecStart=$own/deno run --allow-all --no-config --no-lock --no-code-cache $own/probe.js
ExecReload=
END
systemctl daemon-reload
rm -f "$GUEST_OUT"/refusals.*
probed=$(cursor)
check "a probe runs in the unit's sandbox" systemctl start gomail-probe.service
# Not into a file at once, here and below: the profile holds for files that were opened before, too.
log_since "$probed" -u gomail-probe | grep -E '^(allowed|refused) ' >"$GUEST_OUT/refusals.unit"
# Root with all its powers: here nothing but the profile refuses.
if has_apparmor; then
  check "a probe runs as root under the profile alone" \
    eval 'DENO_DIR=/tmp/deno aa-exec -p gomail -- $own/deno run --allow-all --no-config --no-lock --no-code-cache \
      $own/probe.js | cat >"$GUEST_OUT/refusals.profile"'
else
  skip "the profile alone" "no AppArmor in this kernel"
fi

# refuses WHERE WHAT NAME...: the probe says "refused NAME why" or "allowed NAME" of each try.
refuses() {
  local file=$GUEST_OUT/refusals.$1 name
  for name in "${@:2}"; do
    grep -q "^refused $name " "$file" || { echo "$name was not refused:"; cat "$file"; return 1; }
  done
}
check "the probe works: it can write into the data directory" grep -qx 'allowed write:/var/lib/gomail/probe' "$GUEST_OUT/refusals.unit"
check "the unit: /etc/shadow can't be read" refuses unit read:/etc/shadow
check "the unit: homes and other processes can't be seen" refuses unit read:/root/.bashrc read:/proc/1/environ
check "the unit: nothing outside the data can be written" refuses unit write:/etc/gomail/probe write:/etc/cron.d/probe \
  write:/usr/bin/probe write:/var/lib/probe write:/var/log/probe write:/root/probe write:/run/probe
check "the unit: no other port below 1024 can be had" refuses unit bind:26 bind:443
if has_apparmor; then
  check "the unit: no shell can be started, nor a program of its own making" refuses unit exec:/bin/sh exec:/var/lib/gomail/probe
  check "the profile: /etc/shadow can't be read, by root neither" refuses profile read:/etc/shadow
  check "the profile: nor anything written outside" refuses profile write:/etc/gomail/probe write:/etc/cron.d/probe \
    write:/usr/bin/probe write:/var/lib/probe write:/root/probe
  check "the profile: nor a port below 1024 be had" refuses profile bind:26 bind:443
  check "the profile: nor anything started" refuses profile exec:/bin/sh
  check "and the journal has it" eval 'journalctl -k --no-pager -o cat | grep -E "DENIED.*profile=\"gomail\".*(/etc/shadow|dash)"'
fi
rm -r /etc/systemd/system/gomail-probe.service*
systemctl daemon-reload
