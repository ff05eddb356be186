# dns.pl: a name server that knows customer.test, whose mail server is on this host, and nothing else: NXDOMAIN. There
# is no network in the guest, and without an answer each mail would wait for its sender's SPF and DMARC until time is
# up.
use strict;
use warnings;
use IO::Socket::INET;

my $socket = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 53, Proto => "udp")
  or die "dns: cannot listen: $!";

# Names, with the type after them, as they stand in a question (RFC 1035 section 4.1.2).
sub wire { return join("", map { pack("C/a*", $_) } split /\./, shift) . "\0" }
my $mx = wire("mx.customer.test");
my %answers = (
  wire("customer.test") . pack("n", 15) => pack("n", 10) . $mx,
  $mx . pack("n", 1) => pack("C4", 127, 0, 0, 1),
);
my %known = map { $_ => 1 } wire("customer.test"), $mx;

while (1) {
  my $from = $socket->recv(my $question, 4096) // next;
  next if length $question < 17;
  # The name, with its type and class, is all that is given back of the question.
  my ($asked) = substr($question, 12) =~ /^((?:[\x01-\x3f].*?)*?\x00.{4})/s or next;
  my $name = lc substr($asked, 0, -4);
  my $data = $answers{$name . substr($asked, -4, 2)};
  # The answer's own name is a pointer to the question's.
  my $answer = defined $data ? pack("n", 0xc00c) . substr($asked, -4) . pack("N n/a*", 60, $data) : "";
  my $flags = $known{$name} ? 0x8580 : 0x8583;
  $socket->send(pack("a2 n5", substr($question, 0, 2), $flags, 1, $answer eq "" ? 0 : 1, 0, 0) . $asked . $answer,
    0, $from);
}
