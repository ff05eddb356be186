# Phase B after a reboot: all comes back by itself, and goes for good with a purge. Sourced by main.

phase="B, after a reboot"
start_surroundings
began=
check "the service is up and has said READY" show_ready
check "its sockets are active" systemctl is-active gomail-smtp.socket gomail-control.socket
check "mail is as it was" is "$(cat "$GUEST_OUT/stored.before")" "$(stored)"
check "mail by SMTP reaches the receiver, with the true client address" sent_and_arrived b-rebooted 25
check "mail goes out, signed" goes_out b-out-rebooted 1
check_modes
check_confined ""
check "the daemon's log has no crash in it" no_crash ""
check "the package can be removed" dpkg --remove gomail
check "nobody listens on port 25" eval '! nc -z -w 5 127.0.0.1 25'
check "mail and config are still there" ls /var/lib/gomail/gomail.db /etc/gomail/gomail.yaml
# An administrator's own file, which no purge takes away.
rm /etc/gomail/dkim.pem
. "$in/guest/purge.sh"
