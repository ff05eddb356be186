# load.pl HOST PORT PREFIX SENDERS FILE: so many at once send mail after mail, a connection each, until FILE.stop is
# there. FILE.log gets a line for each try:
#
#   acknowledged SUBJECT   250 after the data: this mail must never be lost
#   deferred SUBJECT WHY   the other side ended the session or went away; the same mail is tried again
#   refused SUBJECT        nobody listened: what socket activation is there to prevent
use strict;
use warnings;
use IO::Handle;
use IO::Socket::INET;

my ($host, $port, $prefix, $senders, $file) = @ARGV;
$SIG{PIPE} = "IGNORE";
open my $log, ">>", "$file.log" or die $!;
$log->autoflush(1);

sub answer {
  my ($socket) = @_;
  while (defined(my $line = <$socket>)) {
    return $1 if $line =~ /^(\d{3}) /;
    return 0 unless $line =~ /^\d{3}-/;
  }
  return 0;
}

# 250 or another last answer; 0 when the session was cut.
sub deliver {
  my ($socket, $subject) = @_;
  my $code = answer($socket);
  return $code if $code != 220;
  for my $command ("EHLO load.test", "MAIL FROM:<load\@sender.test>", "RCPT TO:<app\@app.test>") {
    print $socket "$command\r\n";
    $code = answer($socket);
    return $code if $code != 250;
  }
  print $socket "DATA\r\n";
  $code = answer($socket);
  return $code if $code != 354;
  print $socket "From: load\@sender.test\r\nTo: app\@app.test\r\nSubject: $subject\r\n\r\nLoad\r\n.\r\n";
  $code = answer($socket);
  # The 250 holds from here on, whatever becomes of the session.
  print $socket "QUIT\r\n" if $code == 250;
  return $code;
}

my $name = 1;
for my $next (2 .. $senders) {
  # Each child is one sender; the parent is the first, and waits for the others.
  if (!(fork // die $!)) {
    $name = $next;
    last;
  }
}
my $count = 0;
while (!-e "$file.stop") {
  my $subject = "$prefix-$name-$count";
  my $socket = IO::Socket::INET->new(PeerAddr => $host, PeerPort => $port, Timeout => 300);
  if (!$socket) {
    print $log $!{ECONNREFUSED} ? "refused $subject\n" : "deferred $subject $!\n";
    select undef, undef, undef, 0.2;
    next;
  }
  $socket->autoflush(1);
  my $code = deliver($socket, $subject);
  close $socket;
  if ($code == 250) {
    print $log "acknowledged $subject\n";
    $count++;
  } else {
    print $log "deferred $subject $code\n";
    select undef, undef, undef, 0.2;
  }
}
1 while wait != -1;
