# Phase A: the executable itself, from installation to purge. Sourced by main.
#
# Not as packaged are: `mode: simple` with a high port, no TLS, and the sockets left shut, because the executable for
# packaging tests can do neither. The unit, its sandbox and the profile are. RestartSec is shorter, so that nobody
# has to wait.

phase="A, the executable"
door=2525
export MAIL_MODE=simple MAIL_TLS_ENABLED=false MAIL_SMTP_LISTEN=127.0.0.1:$door
mkdir -p /etc/systemd/system/gomail{.service,-smtp.socket,-control.socket}.d
printf '[Service]\nRestartSec=1s\nEnvironment=%s\n' "MAIL_MODE=$MAIL_MODE MAIL_TLS_ENABLED=false MAIL_SMTP_LISTEN=$MAIL_SMTP_LISTEN" \
  >/etc/systemd/system/gomail.service.d/test.conf
for socket in smtp control; do
  printf '[Unit]\nConditionPathExists=/nowhere\n' >/etc/systemd/system/gomail-$socket.socket.d/test.conf
done
start_surroundings
# For phase B, where it has port 25 before GoMail comes; emulated, half a minute passes until it has.
systemctl start --no-block postfix
began=$(cursor)

say "$(dpkg-deb -f "$in/new.deb" Package Version | paste -sd' '), upgraded from $(dpkg-deb -f "$in/old.deb" Version)"
check "the package installs" install "$in/old.deb"
check "the service is up and has said READY, with nothing configured" show_ready
check "service and sockets are enabled" systemctl is-enabled gomail.service gomail-smtp.socket gomail-control.socket
say "$(gomail version)"
check_confined "$began"
check_powerless
check_modes
check "what API and webhook need was made, and is not the example's" grep -Eqx '.{32,}' /etc/gomail/bearer_token

configure "${own_lines[@]}" "${direct_lines[@]}"
check "an edited config is taken by a restart" systemctl restart gomail
check "mail by SMTP reaches the receiver, with the true client address" sent_and_arrived a-smtp $door
check "mail by HTTP reaches the receiver" posted_and_arrived a-http
check "the API refuses who has no token" is 401 \
  "$(curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:3000/v1/messages)"
check "the commands reach the daemon through the control socket" gomail message list

keys() { (cd /var/lib/gomail/dkim && sha256sum app.test/*.pem); }
check "keys to sign with are made, and used" eval 'gomail dkim generate app.test && gomail dkim activate app.test --force'
check "they are the service's alone" is '600 gomail:gomail, 600 gomail:gomail, 700 gomail:gomail' \
  "$(stat -c '%a %U:%G' /var/lib/gomail/dkim/app.test/*.pem /var/lib/gomail/dkim/app.test | paste -sd, | sed 's/,/, /g')"
check "a mail goes out, to the server that DNS names, with two signatures" goes_out a-out 2
check "of one to nobody the app hears the bounce" comes_back a-bounce

. "$in/guest/backup.sh"

start_load a-kill $door
old=$(main_pid)
kill -KILL "$old"
check "after kill -9 systemd starts it again" is_new_life "$old"
check "and mail is taken again" end_load
check_nothing_lost "kill -9 under load"

old=$(main_pid) config=$(sha256sum /etc/gomail/gomail.yaml) mails=$(stored) token=$(token) pems=$(keys)
upgraded=$(cursor)
check "an upgrade installs over the lower version" install "$in/new.deb"
check "and leaves the service READY" show_ready
check "in a new process" is_new_life "$old"
check "started once" is 1 "$(times_since "$upgraded" 'Started gomail.service')"
check "the edited config is as it was" is "$config" "$(sha256sum /etc/gomail/gomail.yaml)"
check "token and mail are as they were" is "$token, $mails mails" "$(token), $(stored) mails"
check "mail goes on" sent_and_arrived a-upgraded $door
check "so do keys and mail that goes out" eval 'is "$pems" "$(keys)" && goes_out a-out-upgraded 2'
check "the daemon's log has no crash in it" no_crash "$began"
check_confined "$began"

check "the package can be removed" dpkg --remove gomail
check "service, sockets, timer and executable are gone" is 'inactive inactive inactive no' \
  "$(systemctl is-active gomail.service gomail-control.socket gomail-backup.timer | paste -sd' ') $([ -e /usr/bin/gomail ] && echo yes || echo no)"
check "mail, config and token are still there" is "$config, $token, $mails mails" \
  "$(sha256sum /etc/gomail/gomail.yaml), $(token), $(($(sqlite3 'file:/var/lib/gomail/gomail.db?immutable=1' \
    'select count(*) from messages') - 2)) mails"
check "so are the keys" is "$pems" "$(keys)"
. "$in/guest/purge.sh"
rm -r /etc/systemd/system/gomail*.d
unset MAIL_MODE MAIL_TLS_ENABLED MAIL_SMTP_LISTEN
systemctl daemon-reload
