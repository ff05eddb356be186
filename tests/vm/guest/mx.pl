# mx.pl PORT FOLDER: the mail server of customer.test in small. Each mail that it takes becomes a file in FOLDER, its
# envelope on top; nobody-whatever@ is not known there.
use strict;
use warnings;
use IO::Socket::INET;

my ($port, $folder) = @ARGV;
my $listener = IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => $port, Listen => 16, ReuseAddr => 1)
  or die "mx: cannot listen: $!";
$SIG{CHLD} = "IGNORE";
$SIG{PIPE} = "IGNORE";

while (1) {
  my $client = $listener->accept or next;
  # A client keeps its connection for the next mail: each has a process of its own.
  next if fork;
  my ($from, @to) = ("");
  my $mails = 0;
  $client->autoflush(1);
  print $client "220 mx.customer.test ESMTP\r\n";
  while (defined(my $line = <$client>)) {
    my $said = "250 2.0.0 Ok";
    if ($line =~ /^EHLO/i) { $said = "250-mx.customer.test\r\n250-8BITMIME\r\n250 SMTPUTF8" }
    elsif ($line =~ /^MAIL FROM:\s*<(.*?)>/i) { ($from, @to) = ($1) }
    elsif ($line =~ /^RCPT TO:\s*<(nobody[^@>]*@.*?)>/i) { $said = "550 5.1.1 No such user here" }
    elsif ($line =~ /^RCPT TO:\s*<(.*?)>/i) { push @to, $1 }
    elsif ($line =~ /^DATA/i && !@to) { $said = "503 5.5.1 No valid recipients" }
    elsif ($line =~ /^DATA/i) {
      print $client "354 Go on\r\n";
      my $mail = "";
      while (defined(my $text = <$client>)) {
        last if $text eq ".\r\n";
        $mail .= $text =~ s/^\.//r;
      }
      # Whole or not at all: others look into this folder meanwhile.
      my $name = "$$-" . ++$mails;
      open my $file, ">", "$folder/.$name" or die $!;
      print $file "$from -> @to\n$mail";
      close $file;
      rename "$folder/.$name", "$folder/$name.eml";
      ($from, @to) = ("");
    }
    elsif ($line =~ /^QUIT/i) {
      print $client "221 2.0.0 Bye\r\n";
      last;
    }
    print $client "$said\r\n";
  }
  exit 0;
}
