# The nightly backup, by its unit and under its profile: timer, full and increment, failure, restore. Sourced by phase A
# while its daemon runs, with mail in the store.

backups=/var/backups/gomail
made() { ls $backups | grep -c -E "^gomail-.*\.$1\.tar(\.age)?$"; }
newest() { # full|incremental
  ls -t $backups/*."$1".tar* | grep -v manifest | head -n 1
}
backup_property() { property "$1" gomail-backup.service; }
# Until the unit's own output is in the journal.
said() { # CURSOR TEXT
  until_true 5 eval "log_since \"$1\" -u gomail-backup | grep -F -- \"$2\""
}
backed_up=$(cursor)
check "the backup's timer is enabled and waits" is 'enabled active' \
  "$(systemctl is-enabled gomail-backup.timer) $(systemctl is-active gomail-backup.timer)"
check "its next run is at night, and not at a full minute of all hosts" eval \
  'systemctl show -P NextElapseUSecRealtime gomail-backup.timer | grep -E " 0[345]:[0-9]{2}:[0-9]{2} "'
check "the installation itself has made none" is 0 "$(ls $backups | wc -l)"
check "the backup is made" systemctl start gomail-backup.service
check "it is a full one, of the daemon's user alone" is '1 600 gomail:gomail' "$(made full) $(mode_of "$(newest full)")"
check "the journal has what was made" said "$backed_up" "full backup, "
check "it is sound" gomail backup verify "$(newest full)"
check "the daemon has seen it" until_true 15 eval \
  'curl -sS http://127.0.0.1:9090/metrics | grep -E "^gomail_last_backup_timestamp_seconds 1[0-9.e+]+$"'
# Large enough for a body in a file, which the next one has to link.
head -c 300000 /dev/urandom >"$GUEST_OUT/large"
check "a large mail comes, too large for a row" eval \
  'sent_and_arrived a-large $door --attach "@$GUEST_OUT/large" && find /var/lib/gomail/blobs -type f | grep -q .'
check "the next one is made" systemctl start gomail-backup.service
check "it is an increment" is '1 1' "$(made full) $(made incremental)"
check "it is sound, with what it stands on" gomail backup verify "$(newest incremental)"
check "it holds the mail that came between" is "$(stored)" "$(gomail backup list --json |
  perl -MJSON::PP -e 'local $/; print decode_json(<STDIN>)->{items}[0]{summary}{messages}')"
check "and its body" eval 'tar tf "$(newest incremental)" | grep ^blobs/'
check "no work is left in the store or beside the backups" is '' "$(find /var/lib/gomail $backups -name '.gomail-backup-*')"
check "it restores into an empty directory" setpriv --reuid=gomail --regid=gomail --init-groups \
  gomail restore "$(newest incremental)" --data-dir /tmp/restored-mail
check "with the mail in it" is "$(stored)" "$(sqlite3 /tmp/restored-mail/gomail.db 'select count(*) from messages')"
check "and bodies and keys" eval 'diff -r /var/lib/gomail/blobs /tmp/restored-mail/blobs && diff -r /var/lib/gomail/dkim /tmp/restored-mail/dkim'
rm -r /tmp/restored-mail
check "root restores as well" gomail restore "$(newest incremental)" --data-dir /tmp/restored-mail
check "for the daemon's user" is '700 gomail:gomail 600 gomail:gomail' \
  "$(mode_of /tmp/restored-mail) $(mode_of /tmp/restored-mail/gomail.db)"
rm -r /tmp/restored-mail

check "nothing that it did was denied" backup_denied_nothing "$backed_up"
# That says something only where something could have been.
runs_confined() { # while it works: emulated, it takes seconds
  local pid
  systemctl start --no-block gomail-backup.service
  until_true 5 eval 'pid=$(backup_property MainPID) && [ "$pid" != 0 ] && grep -qsxF "gomail-backup (enforce)" /proc/$pid/attr/current' || return
  until_true 20 eval '! systemctl is-active --quiet gomail-backup.service && [ "$(backup_property MainPID)" = 0 ]'
}
if has_apparmor; then
  check "it runs confined by a profile of its own, in enforce mode" runs_confined
  check "which keeps it from another place, also one that is its user's" eval '! setpriv --reuid=gomail --regid=gomail \
    --init-groups aa-exec -p gomail-backup -- gomail backup create --dir /tmp/elsewhere'
  # Without a match of journalctl's own: with one it leaves out the first line after a cursor that does not match.
  refusal='^audit: type=1400 .*DENIED.*profile="gomail-backup" name="/tmp/elsewhere'
  check "and the journal has it" until_true 5 eval 'log_since "$backed_up" | grep -E "$refusal"'
  backed_up=$(cursor)
fi

# Encrypted, as a drop-in asks for it; and one that can't be made.
mkdir -p /etc/systemd/system/gomail-backup.service.d
options() { # OPTION...
  printf '[Service]\nEnvironment="BACKUP_OPTIONS=%s"\n' "$*" >/etc/systemd/system/gomail-backup.service.d/test.conf
  printf 'Environment=%s\n' "MAIL_MODE=$MAIL_MODE MAIL_TLS_ENABLED=false" >>/etc/systemd/system/gomail-backup.service.d/test.conf
  systemctl daemon-reload
}
options --incremental --keep 7d --recipient age1zvkyg2lqzraa2lnjvqej32nkuu0ues2s82hzrye869xeexvn73equnujwj
check "with a recipient in a drop-in it is encrypted" eval \
  'systemctl start gomail-backup && head -c 21 "$(newest incremental)" | grep -qx age-encryption.org/v1'
check "nor was anything of that denied" backup_denied_nothing "$backed_up"
failed=$(cursor)
options --disk-reserve 1000000GB
check "one that can't be made fails" eval '! systemctl start gomail-backup'
check "which the unit's state says" is 'failed exit-code 1' \
  "$(systemctl is-failed gomail-backup) $(backup_property Result) $(backup_property ExecMainStatus)"
check "and the journal why" said "$failed" "Cannot make a backup in $backups: "
rm -r /etc/systemd/system/gomail-backup.service.d
systemctl daemon-reload
systemctl reset-failed gomail-backup
# Root sees the empty folder that lies over them; the daemon's user not even that.
check "the daemon can't see the backups" is '' "$(nsenter --target "$(main_pid)" --mount ls -A $backups)"
