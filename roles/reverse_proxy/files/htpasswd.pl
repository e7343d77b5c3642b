# Prints the login file: one "name:bcrypt hash" a line. Standard input has one "name:password" a line; the argument is the present
# file. A hash that still fits its password is kept, so the same passwords give the same file; a new one gets a random salt.
use strict;
use warnings;

my %present;
if (open(my $file, '<', $ARGV[0])) {
    while (my $line = <$file>) {
        chomp $line;
        my ($name, $hash) = split /:/, $line, 2;
        $present{$name} = $hash if defined $hash;
    }
}
while (my $line = <STDIN>) {
    chomp $line;
    my ($name, $password) = split /:/, $line, 2;
    next unless defined $password;
    my $hash = $present{$name};
    if (!defined $hash or $hash !~ /^\$2y\$10\$/ or crypt($password, $hash) ne $hash) {
        open(my $random, '<:raw', '/dev/urandom') or die "/dev/urandom: $!";
        read($random, my $bytes, 22) == 22 or die '/dev/urandom ended';
        my @letters = ('.', '/', 'A' .. 'Z', 'a' .. 'z', '0' .. '9');
        # The last letter of a bcrypt salt carries two bits only.
        my $salt = join('', map { $letters[ord($_) & 63] } split(//, substr($bytes, 0, 21))) . $letters[(ord(substr($bytes, 21)) & 3) << 4];
        $hash = crypt($password, "\$2y\$10\$$salt");
        die "crypt() has no bcrypt on this server\n" unless defined $hash and length($hash) == 60;
    }
    print "$name:$hash\n";
}
