# receiver.pl PORT FOLDER SECRET_FILE: an app's endpoint in small. Each webhook with a good signature (Standard
# Webhooks) becomes FOLDER/<webhook-id>.json and is answered with 204; any other becomes FOLDER/<n>.bad and 401.
# Perl, because it is in the guest anyhow and starts fast, emulated too.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256_base64);
use IO::Socket::INET;
use MIME::Base64 qw(decode_base64);

my ($port, $folder, $secret_file) = @ARGV;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $port, Listen => 64, ReuseAddr => 1)
  or die "receiver: cannot listen: $!";
my $bad = 0;

# Read for each webhook: a package that is purged and installed again has another one.
sub key {
  open my $file, "<", $secret_file or return "";
  my $secret = <$file> // "";
  $secret =~ s/^whsec_|\s+//g;
  return decode_base64($secret);
}

sub is_signed {
  my ($headers, $body) = @_;
  my $mac = hmac_sha256_base64("$headers->{'webhook-id'}.$headers->{'webhook-timestamp'}.$body", key());
  $mac .= "=" while length($mac) % 4;
  return grep { $_ eq "v1,$mac" } split / /, $headers->{"webhook-signature"} // "";
}

while (1) {
  my $client = $listener->accept or next;
  # A client that hangs must not keep the others out.
  eval {
    local $SIG{ALRM} = sub { die "late\n" };
    alarm 60;
    my (%headers, $body);
    <$client>;
    while (defined(my $line = <$client>)) {
      last if $line =~ /^\r?\n/;
      $headers{lc $1} = $2 if $line =~ /^([^:]+):\s*(.*?)\r?\n/;
    }
    read $client, $body, $headers{"content-length"} // 0;
    my $good = defined $headers{"webhook-id"} && is_signed(\%headers, $body);
    my $name = $good ? $headers{"webhook-id"} =~ s/[^A-Za-z0-9_.-]/_/gr . ".json" : ++$bad . ".bad";
    # Whole or not at all: others look into this folder meanwhile.
    open my $file, ">", "$folder/.new" or die $!;
    print $file $body;
    close $file;
    rename "$folder/.new", "$folder/$name";
    print $client "HTTP/1.1 " . ($good ? "204 No Content" : "401 Unauthorized") . "\r\nConnection: close\r\n"
      . ($good ? "" : "Content-Length: 0\r\n") . "\r\n";
    alarm 0;
  };
  alarm 0;
  close $client;
}
