# Phase B: sockets from systemd, TLS, Postfix in front, restarts under load, and the refusals. Sourced by main.
#
# Where the executable has not the right runtime, the bundle it was made from is run by Deno itself, with the
# executable's own list of permissions: a drop-in replaces ExecStart, and the profile's local file lets it read the
# two. Both also serve the probe of the refusals. RestartSec and WatchdogSec are shorter, so that nobody has to wait.

phase="B, the executable"
own=/opt/gomail-test
mkdir -p $own /etc/systemd/system/gomail.service.d /etc/apparmor.d/local
cp -r "$in/deno" "$in/bundle" "$in/guest/probe.js" $own/
cat >/etc/apparmor.d/local/usr.bin.gomail <<END
$own/deno mr,
$own/{bundle/**,probe.js} r,
$own/ r,
$own/bundle/ r,
END
unit=/etc/systemd/system/gomail.service.d/test.conf
printf '[Service]\nRestartSec=1s\nWatchdogSec=%s\n' "$([ "$GUEST_KIND" = qemu ] && echo 12s || echo 3s)" >$unit
if [ "$PHASE_B_BY" = deno ]; then
  phase="B, the bundle in Deno"
  run="$own/deno run $(cat "$in/deno_args") $own/bundle/main.js"
  printf 'ExecStart=\nExecStart=%s server --config /etc/gomail/gomail.yaml\nEnvironment=DENO_DIR=/tmp/deno\n' "$run" >>$unit
  # The commands too: the executable at hand refuses a config that it can't serve.
  gomail() { (cd / && DENO_DIR=/tmp/deno DENO_NO_UPDATE_CHECK=1 $run "$@"); }
fi
systemctl daemon-reload

# --- Port 25 belongs to Postfix when GoMail comes ---------------------------------------------------------------
greets() { nc -w 20 127.0.0.1 25 </dev/null | grep -q "$1"; }
postfix_as_found() { postconf -n && postconf -M; }
# Where it delivers what is not for this host.
postconf -e 'default_transport = smtp:[127.0.0.1]:2526'
postfix_as_found >"$GUEST_OUT/postfix.before"
check "Postfix has port 25" until_true 10 greets 'ESMTP Postfix'
began=$(cursor)
check "the package installs, with port 25 taken" install "$in/new.deb"
check "the service is up and has said READY all the same" show_ready
check_confined "$began"
check_powerless
check_modes
check "only the socket of port 25 is not" is 'active failed' \
  "$(systemctl is-active gomail-control.socket gomail-smtp.socket | paste -sd' ')"
check "it is ready to take mail at its other doors" curl -sS --fail http://127.0.0.1:3000/health/ready
check "its log says what to type" until_true 5 eval 'log_since "$began" -u gomail | grep -F "gomail postfix"'
gomail doctor >"$GUEST_OUT/doctor.txt" 2>&1
check "doctor says who has the port, and what to type" grep -E 'Postfix.*gomail postfix' <(paste -sd' ' "$GUEST_OUT/doctor.txt")
check "who is not of the group can't use the control socket" \
  eval '! setpriv --reuid=nobody --regid=nogroup --clear-groups curl -sS --unix-socket /run/gomail/gomail.sock http://x/health'
check "who is of the group can" setpriv --reuid=nobody --regid=gomail --clear-groups \
  curl -sS --fail --unix-socket /run/gomail/gomail.sock http://x/health/live

# --- Postfix in front, set up and taken back by what the command prints -------------------------------------------
# A key that somebody has already, for root and group gomail as the other secrets.
openssl genrsa -out /etc/gomail/dkim.pem 2048 2>/dev/null
chgrp gomail /etc/gomail/dkim.pem && chmod 640 /etc/gomail/dkim.pem
configure "${own_lines[@]}" 'dkim_private_key_path: /etc/gomail/dkim.pem'
wanted() { # [--lmtp]: the script, with what it says that gomail.yaml needs put there
  gomail postfix "$@" >"$GUEST_OUT/postfix$1.sh" || return
  sed -n 's/^#   \([a-z]*_listen: \)/\1/p' "$GUEST_OUT/postfix$1.sh" >>/etc/gomail/gomail.yaml
}
agrees() { postfix_as_found | gomail postfix --check "$@"; }
check "gomail postfix prints how, and what gomail.yaml needs" wanted
check "gomail postfix --lmtp too" wanted --lmtp
systemctl disable --quiet gomail-smtp.socket
check "GoMail restarts with the doors for both ways" systemctl restart gomail
check "Postfix is set up as a before-queue filter" sh -e "$GUEST_OUT/postfix.sh"
check "gomail postfix --check agrees" agrees
check "mail through the filter reaches the receiver, with the true client address" sent_and_arrived b-filter 25
check "and with STARTTLS to Postfix" sent_and_arrived b-filter-tls 25 --tls
check "mail goes out through Postfix, signed" goes_out b-out 1
check "Postfix's bounce of one to nobody comes home" comes_back b-bounce
check "Postfix is set up for after the queue" sh -e "$GUEST_OUT/postfix--lmtp.sh"
check "gomail postfix --lmtp --check agrees" agrees --lmtp
check "mail through the queue reaches the receiver, with the true client address" sent_and_arrived b-queue 25
check "gomail postfix --undo takes it back" eval 'gomail postfix --undo | sh -e'
check "Postfix is configured as it was before" eval 'postfix_as_found | diff "$GUEST_OUT/postfix.before" -'

# --- Port 25 for GoMail itself, by systemd --------------------------------------------------------------------------
systemctl stop postfix
sed -i '/^[a-z]*_listen: /d' /etc/gomail/gomail.yaml
configure "${direct_lines[@]}"
systemctl enable --quiet gomail-smtp.socket
check "without Postfix a restart gets port 25 from systemd" systemctl restart gomail
check "the service is up and has said READY" show_ready
check "its sockets are active" systemctl is-active gomail-smtp.socket gomail-control.socket
check "it is systemd that opened port 25" eval "ss -ltnpH 'sport = :25' | grep -F '\"systemd\"'"
check "GoMail greets there" greets 'ESMTP GoMail'
check "mail by SMTP reaches the receiver, with the true client address" sent_and_arrived b-smtp 25
check "and by STARTTLS" sent_and_arrived b-starttls 25 --tls
check "which the webhook says" is TLSv1.3 "$(field b-starttls connection.tls.version)"
check "mail by HTTP reaches the receiver" posted_and_arrived b-http
check "mail goes out to the server that DNS names, signed" goes_out b-direct 1
check "of one to nobody the app hears the bounce" comes_back b-direct-bounce
old=$(main_pid)
check "a reload is done in the same process, and says so" eval 'systemctl reload gomail && until_true 5 is_ready && is $old "$(main_pid)"'

# --- Ends under load: systemd keeps the door while nobody is behind it ------------------------------------------------
# ends NAME WHAT COMMAND...
ends() {
  local what=$2 old
  start_load "b-$1" 25
  shift 2
  old=$(main_pid)
  check "$what" "$@"
  check "$what: a new process is READY" is_new_life "$old"
  check "$what: mail is taken again" end_load
  check "$what: no connection was refused" is 0 "$(refused)"
  check_nothing_lost "$what"
}
ends restart "a restart under load" systemctl restart gomail
ends kill "kill -9 under load" eval 'kill -KILL $(main_pid)'
hung=$(cursor)
ends hang "a process that hangs under load" eval 'kill -STOP $(main_pid)'
check "it was the watchdog that ended it" eval 'log_since "$hung" | grep -F "Watchdog timeout"'
check "the daemon's log has no crash in it" no_crash "$began"
check_confined "$began"
if [ "$GUEST_KIND" = qemu ]; then
  check "the slice limits memory" eval '[ "$(cat /sys/fs/cgroup/gomail.slice/memory.max)" -lt $((2560 << 20)) ]'
fi

. "$in/guest/refusals.sh"
stored >"$GUEST_OUT/stored.before"
