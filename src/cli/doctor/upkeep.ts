/**
 * What to type to start, stop, look after and look into: on a host of systemd's, where the Debian package has its units,
 * and anywhere else, which is mostly a container or a pod. The one place where the two differ; the checks take it from
 * their subject. Each text is a clause that others can be put behind.
 */

export interface Upkeep {
  hasSystemd: boolean;
  start: string;
  restart: string;
  reload: string;
  /** Its last words, as the subject of a sentence. */
  log: string;
  /** A look with more rights. */
  lookAsOwner: string;
  /** What a mail server in front is looked at by. */
  postfix: string;
  /** Behind what frees a port: a socket unit does not start while its service runs. Empty where there are none. */
  thenSocket: string;
  /** The clock as it is, and how it is kept right. */
  clock: string;
  keepClock: string;
  noBackup: string;
  oldBackup: string;
  renew: string;
  /** How a first certificate is come by, in brackets behind "get one". */
  certify(name: string): string;
  /** For a data directory that belongs to somebody else, or is not there. */
  own(dir: string): string;
  make(dir: string): string;
}

/** The file that we read them from, the same everywhere. Not resolvectl, which a Debian has only with systemd-resolved. */
export const NAME_SERVERS = "`cat /etc/resolv.conf` shows the name servers";

const SYSTEMD: Upkeep = {
  hasSystemd: true,
  start: "`systemctl start gomail`",
  restart: "`systemctl restart gomail`",
  reload: "`systemctl reload gomail`",
  log: "`journalctl -u gomail -n 50`",
  lookAsOwner: "`sudo gomail doctor`",
  postfix: "`systemctl status postfix`",
  thenSocket: "; then `systemctl stop gomail && systemctl start gomail-smtp.socket gomail`",
  clock: "`timedatectl` shows it",
  keepClock:
    "`timedatectl set-ntp true` keeps it right; `timedatectl timesync-status` shows how far it is off",
  noBackup: "`systemctl status gomail-backup.timer` shows whether one is made each night; " +
    "`sudo -u gomail gomail backup create` makes one now",
  oldBackup: "`systemctl status gomail-backup.timer gomail-backup.service` and " +
    "`journalctl -u gomail-backup` show why; `sudo systemctl start gomail-backup` makes one now",
  renew: "renew it (`certbot renew`)",
  certify: (name) => `\`certbot certonly -d ${name}\``,
  own: (dir) =>
    `\`sudo gomail doctor\`; for a daemon that runs as this user: \`sudo chown -R "$(id -un)" ${dir}\``,
  make: (dir) =>
    `\`sudo install -d -m 0700 -o gomail -g gomail ${dir}\`, or start the server, which makes it`,
};

const OTHER: Upkeep = {
  hasSystemd: false,
  start: "start its container, pod or process",
  restart: "restart its container, pod or process",
  reload: "send it SIGHUP (`kill -HUP 1` in its container)",
  log: "its log (`kubectl logs`, `podman logs`, or where its stderr goes)",
  lookAsOwner: "`gomail doctor` as the daemon's user",
  postfix: "its own log says how it is",
  thenSocket: "",
  clock: "`date` shows it",
  keepClock: "it is the clock of the machine that this runs on: keep it right there, by NTP",
  noBackup: "`gomail backup create --output - > FILE` makes one: have that done each day",
  oldBackup:
    "see why whatever makes them has stopped; `gomail backup create --output - > FILE` makes one now",
  renew: "renew it where it comes from",
  certify: () => "by ACME; in a cluster by cert-manager",
  own: (dir) => `\`ls -ld ${dir}\`: it has to belong to the user that the daemon runs as (in a pod: fsGroup)`,
  make: (dir) => `start the server, which makes it, or mount a volume at ${dir} or above it`,
};

export const upkeepOf = (hasSystemd: boolean): Upkeep => hasSystemd ? SYSTEMD : OTHER;
