# What the guest's scripts share: checks that report themselves, waiting, mail, and looking at what the receiver got.
# Sourced by main. Lines of the report are "ok|FAIL|skip <tab> phase <tab> what [<tab> why]"; main.ts counts them.

in=/exchange/in
report=$GUEST_OUT/report
hooks=$GUEST_OUT/hooks
# What the mail server of customer.test got.
outside=$GUEST_OUT/outside
mkdir -p "$hooks" "$outside"
phase=setup
# Emulated, everything takes 10 to 50 times as long; patience is all that is scaled, nothing is judged by time.
case $GUEST_KIND in
  qemu) slowness=30 senders=2 some=3 ;;
  *) slowness=4 senders=8 some=50 ;;
esac
# A stranger's address (RFC 5737): on the loopback interface, so that connections can come from it.
stranger=198.51.100.7
ip link set lo up
ip address add $stranger/32 dev lo 2>/dev/null

say() { printf '%5d s  %s\n' $SECONDS "$*"; }

# The end of a check's own output is shown when it fails, and with that what the daemon logged last.
tell() { # ok|FAIL|skip WHAT [WHY]
  printf '%s\t%s\t%s\t%s\n' "$1" "$phase" "$2" "${3:-}" >>"$report"
  say "$1  $phase: $2${3:+ ($3)}"
}
check() { # WHAT COMMAND...
  local what=$1
  shift
  if "$@" >"$GUEST_OUT/last" 2>&1; then
    tell ok "$what"
  else
    tell FAIL "$what" "$*"
    tail -n 25 "$GUEST_OUT/last" | sed 's/^/          | /'
    journalctl -u gomail --no-pager -o cat -n 12 | cut -c1-300 | sed 's/^/          gomail| /'
    return 1
  fi
}
skip() { tell skip "$1" "$2"; }
is() { # SHOULD IS
  [ "$1" = "$2" ] || { printf 'should be: %s\nis:        %s\n' "$1" "$2"; return 1; }
}

# until_true SECONDS COMMAND...: seconds as outside of the emulation.
until_true() {
  local end=$((SECONDS + $1 * slowness))
  shift
  until "$@"; do
    [ $SECONDS -lt $end ] || { echo "waited in vain for: $*"; return 1; }
    sleep 0.2
  done
}

property() { systemctl show -P "$1" "${2:-gomail.service}"; }
main_pid() { property MainPID; }
# READY=1 came with this text: `Type=notify` and not only a process that is there. With OLD_PID, from another process.
is_ready() { # [OLD_PID]
  local ActiveState MainPID StatusText
  # In one question: between two the service may have ended.
  eval "$(systemctl show -p ActiveState,MainPID,StatusText gomail.service | sed "s/=\(.*\)/='\1'/")"
  [ "$ActiveState $StatusText" = "active Taking mail" ] && [ "$MainPID" != "${1:-}" ]
}
is_new_life() { until_true 15 is_ready "$1"; }
show_ready() {
  until_true 15 is_ready || { systemctl status gomail --no-pager -l; return 1; }
  is notify "$(property Type)"
}
cursor() { journalctl -n 0 --show-cursor --no-pager | sed -n 's/^-- cursor: //p'; }
# Of this boot as a whole, when the cursor is empty.
log_since() { journalctl "$([ -n "$1" ] && echo "--after-cursor=$1" || echo --boot=0)" --no-pager -o cat "${@:2}"; }
times_since() { # CURSOR TEXT
  log_since "$1" | grep -c -F -- "$2"
}

# --- AppArmor: what only the emulated guest's kernel has -----------------------------------------------------------
has_apparmor() { [ -d /sys/kernel/security/apparmor ]; }
confinement() { tr -d '\0' <"/proc/$(main_pid)/attr/current"; }
enforced() { is 'gomail (enforce)' "$(confinement)"; }
nothing_denied() { # CURSOR: neither by the profile nor by the filter of system calls
  local lines
  lines=$(log_since "$1" | grep -E 'apparmor="DENIED".*profile="gomail"|type=1326.*comm="(gomail|deno)"')
  [ -z "$lines" ] || { echo "$lines"; return 1; }
}
backup_denied_nothing() { # CURSOR
  local lines
  lines=$(log_since "$1" | grep -E 'apparmor="DENIED".*profile="gomail-backup"|type=1326.*comm="(gomail|deno)"')
  [ -z "$lines" ] || { echo "$lines"; return 1; }
}
check_confined() { # CURSOR
  if has_apparmor; then
    check "the main process is confined by the profile, in enforce mode" enforced
    check "nothing that it did was denied" nothing_denied "$1"
  fi
}

# --- Mail --------------------------------------------------------------------------------------------------------
# send SUBJECT [PORT [SWAKS-ARGUMENT...]]: from the stranger, for app.test.
send() {
  local subject=$1 port=${2:-25}
  swaks --silent 2 --timeout $((20 * slowness)) --server 127.0.0.1 --port "$port" --local-interface $stranger \
    --helo mx.sender.test --from alice@sender.test --to app@app.test --header "Subject: $subject" \
    --header "Message-Id: <$subject@sender.test>" --body "For $subject" "${@:3}" </dev/null
}
# The receiver keeps each webhook's body in a file, and names it by what came.
hook_of() { grep -l -F "\"subject\":\"$1\"" "$hooks"/*.json 2>/dev/null | head -n 1; }
has_hook() { [ -n "$(hook_of "$1")" ]; }
field() { # SUBJECT PATH, as connection.client_address
  perl -MJSON::PP -e '
    local $/; my $value = decode_json(<STDIN>);
    $value = ref $value eq "HASH" ? $value->{$_} : undef for split /\./, $ARGV[0];
    print $value // "null"' "$2" <"$(hook_of "$1")"
}
arrived() { # SUBJECT: with a good signature, and with who really sent it
  until_true 20 has_hook "$1" || { ls "$hooks"; return 1; }
  is $stranger "$(field "$1" connection.client_address)"
}
sent_and_arrived() { send "$@" && arrived "$1"; }

token() { cat /etc/gomail/bearer_token; }
post() { # SUBJECT: the API's way in
  printf 'From: alice@sender.test\r\nTo: app@app.test\r\nSubject: %s\r\n\r\nHello\r\n' "$1" |
    curl -sS --fail-with-body http://127.0.0.1:3000/mail/inbound -H "Authorization: Bearer $(token)" \
      -H 'Content-Type: message/rfc822' -H 'X-Original-Sender: alice@sender.test' \
      -H 'X-Original-Recipient: app@app.test' -H "X-Original-Client-Address: $stranger" --data-binary @-
}
posted_and_arrived() { post "$1" && arrived "$1"; }
# The API's own count would be of one page; the store's is of all.
stored() { sqlite3 -readonly "$(ls /var/lib/gomail/*.db | head -n 1)" 'select count(*) from messages'; }

# --- Mail that goes out ------------------------------------------------------------------------------------------
# submit TO SUBJECT: gives the mail's id.
submit() {
  curl -sS --fail-with-body http://127.0.0.1:3000/mail/send -H "Authorization: Bearer $(token)" \
    -H 'Content-Type: application/json' \
    -d "{\"from\":\"App <app@app.test>\",\"to\":\"$1\",\"subject\":\"$2\",\"text\":\"Hello.\"}" |
    sed -n 's/.*"id":"\([0-9A-Z]*\)".*/\1/p'
}
has_event() { # EVENT ID
  local files
  files=$(grep -l -F "\"event\":\"$1\"" "$hooks"/*.json 2>/dev/null) && grep -q -F "\"id\":\"$2\"" $files
}
heard() { # EVENT ID
  until_true 20 has_event "$@" || { gomail queue list; cat /var/log/mail.log 2>/dev/null | tail -n 5; return 1; }
}
has_left() { grep -q -x -F $'Subject: '"$1"$'\r' "$outside"/*.eml 2>/dev/null; }
signatures() { # SUBJECT
  grep -c -i '^dkim-signature:' "$(grep -l -x -F $'Subject: '"$1"$'\r' "$outside"/*.eml | head -n 1)"
}
# goes_out SUBJECT SIGNATURES: it is there, signed, and the app has heard of it.
goes_out() {
  local id
  id=$(submit ann@customer.test "$1") && [ -n "$id" ] || return
  heard mail.delivered "$id" && until_true 20 has_left "$1" && is "$2" "$(signatures "$1")"
}
comes_back() { # SUBJECT: nobody has this address; another one each time, because GoMail tries none twice
  local id
  id=$(submit "nobody-$1@customer.test" "$1") && [ -n "$id" ] && heard mail.bounced "$id"
}

# --- Load: senders that open a connection for each mail, and come back with what was not acknowledged ---------------
load_pid=
start_load() { # PREFIX PORT
  load=$GUEST_OUT/load-$1
  rm -f "$load".*
  : >"$load.log"
  perl "$in/guest/load.pl" 127.0.0.1 "$2" "$1" $senders "$load" &
  load_pid=$!
  until_true 20 has_acknowledged $some
}
acknowledged() { grep -c '^acknowledged' "$load.log"; }
has_acknowledged() { [ "$(acknowledged)" -ge "$1" ]; }
end_load() { # after some more mails: those of the new process
  until_true 20 has_acknowledged $(($(acknowledged) + some))
  : >"$load.stop"
  wait $load_pid
}
refused() { grep -c '^refused' "$load.log"; }
all_have_arrived() {
  local missing
  missing=$(comm -23 <(sed -n 's/^acknowledged //p' "$load.log" | sort) \
    <(cat "$hooks"/*.json | grep -o '"subject":"[^"]*"' | cut -d'"' -f4 | sort))
  [ -z "$missing" ] || { head -n 5 <<<"$missing"; return 1; }
}
check_nothing_lost() { # WHAT
  check "$1: each of $(acknowledged) acknowledged mails reached the receiver" until_true 30 all_have_arrived
}
# What the log of a daemon's ordinary life must not have.
no_crash() { # CURSOR
  ! log_since "$1" -u gomail | grep -E '"level":"(fatal|panic)"|Uncaught|Unhandled rejection|panicked'
}

install() { # DEB: as an administrator's dpkg does who has no time for questions
  dpkg --install "$1" </dev/null
}
mode_of() { stat -c '%a %U:%G' "$1"; }
check_modes() {
  check "the data directory is the service's alone" is '700 gomail:gomail' "$(mode_of /var/lib/gomail)"
  check "nothing in it is open to anybody else" is '' "$(find /var/lib/gomail ! -type l -perm /077)"
  check "config, token and secret can be read by root and group gomail" is \
    '640 root:gomail, 640 root:gomail, 640 root:gomail' \
    "$(mode_of /etc/gomail/gomail.yaml), $(mode_of /etc/gomail/bearer_token), $(mode_of /etc/gomail/webhook_secret)"
  check "the control socket is for group gomail" is '750 gomail:gomail, 660 gomail:gomail' \
    "$(mode_of /run/gomail), $(mode_of /run/gomail/gomail.sock)"
  check "backups are the service's alone" is '700 gomail:gomail' "$(mode_of /var/backups/gomail)"
}
# The rights of the process itself, as the kernel has them.
check_powerless() {
  check "the process has no capability, can gain none, and its system calls are filtered" is '0000000000000000 1 2' \
    "$(sed -n 's/^\(CapBnd\|NoNewPrivs\|Seccomp\):\t//p' "/proc/$(main_pid)/status" | paste -sd' ')"
  check "it runs as gomail" is gomail "$(stat -c %U "/proc/$(main_pid)")"
}

# What an administrator writes into the config after the installation.
configure() { # LINE...
  printf '%s\n' '' "$@" >>/etc/gomail/gomail.yaml
}
own_lines=('primary_domain: app.test' 'webhook_url: http://127.0.0.1:8080/' 'webhook_allow_private: true')

# Straight to other people's servers: that of customer.test, here.
direct_lines=('outbound_transport: direct' 'outbound_port: 2526' 'outbound_allow_private: true')

# What is around GoMail: an app, a name server and somebody's mail server.
start_surroundings() {
  perl "$in/guest/receiver.pl" 8080 "$hooks" /etc/gomail/webhook_secret &
  receiver_pid=$!
  perl "$in/guest/dns.pl" &
  dns_pid=$!
  perl "$in/guest/mx.pl" 2526 "$outside" &
  mx_pid=$!
}
