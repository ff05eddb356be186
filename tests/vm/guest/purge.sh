# Purges the package and looks for what it leaves behind. Sourced where a phase ends. In its queue directory Postfix
# keeps the sockets of services that are gone from master.cf.
kept=$(ls /var/backups/gomail)
check "the package can be purged" dpkg --purge gomail
if [ -n "$kept" ]; then
  check "backups are left, for their owner alone" is "$kept, 700 gomail:gomail" \
    "$(ls /var/backups/gomail), $(mode_of /var/backups/gomail)"
  rm -r /var/backups/gomail
fi
check "nothing of it is left" is '' "$(find / -xdev \( -path /exchange -o -path /proc -o -path /var/log -o -path /var/spool/postfix -o \
  -path /etc/systemd/system/'gomail*.d' -o -path /opt/gomail-test -o -path /var/lib/dpkg \) -prune -o \
  -name '*gomail*' ! -name '*before-gomail*' -print)"
