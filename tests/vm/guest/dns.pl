# dns.pl: a name server that knows nothing: NXDOMAIN to every question. There is no network in the guest, and without
# an answer each mail would wait for its sender's SPF and DMARC until time is up.
use strict;
use warnings;
use IO::Socket::INET;

my $socket = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 53, Proto => "udp")
  or die "dns: cannot listen: $!";
while (1) {
  my $from = $socket->recv(my $question, 4096) // next;
  next if length $question < 17;
  # The name, with its type and class, is all that is given back of the question (RFC 1035 section 4.1).
  my ($name) = substr($question, 12) =~ /^((?:[\x01-\x3f].*?)*?\x00.{4})/s or next;
  $socket->send(pack("a2 n5", substr($question, 0, 2), 0x8583, 1, 0, 0, 0) . $name, 0, $from);
}
