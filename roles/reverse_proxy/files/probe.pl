# Says what the reverse proxy's preflight must know of a server, one fact a line, and changes nothing:
#   ipv6                 the kernel speaks IPv6
#   ours                 nginx runs on the reverse proxy's configuration
#   conf                 there is some nginx.conf
#   site NAME            a site other than the distribution's default is enabled
#   installed            every package in the second argument (comma separated) is installed
#   running              nginx runs and starts at boot
#   port NUMBER PROGRAM  one of the ports in the argument (comma separated) is listened on by PROGRAM
use strict;
use warnings;

sub slurp { open(my $file, '<', $_[0]) or return ''; local $/; my $text = <$file>; return defined $text ? $text : '' }

print "ipv6\n" if -e '/proc/net/if_inet6';
my $conf = slurp('/etc/nginx/nginx.conf');
print "conf\n" if $conf ne '';
print "ours\n" if $conf =~ /^# lightbox\.pacs reverse proxy$/m;
for my $site (glob('/etc/nginx/sites-enabled/* /etc/nginx/conf.d/*.conf')) {
    (my $name = $site) =~ s{.*/}{};
    print "site $name\n" if $name ne 'default';
}

my @packages = split /,/, $ARGV[1];
my $installed = grep { $_ eq 'installed' } split /\n/, qx(dpkg-query --show --showformat '\${db:Status-Status}\\n' @packages 2>/dev/null);
print "installed\n" if $installed == @packages;
my $running = qx(systemctl is-active nginx.service 2>/dev/null; systemctl is-enabled nginx.service 2>/dev/null);
print "running\n" if $running eq "active\nenabled\n";

my %wanted = map { $_ => 1 } split /,/, $ARGV[0];
my %port_of;
for my $line (split /\n/, slurp('/proc/net/tcp') . slurp('/proc/net/tcp6')) {
    my @field = split ' ', $line;
    next unless @field > 9 and $field[3] eq '0A';    # 0A: listening
    my $port = hex((split /:/, $field[1])[1]);
    $port_of{$field[9]} = $port if $wanted{$port};
}
exit unless %port_of;

my %seen;
for my $fd (glob('/proc/[0-9]*/fd/*')) {
    my $target = readlink($fd) or next;
    next unless $target =~ /^socket:\[(\d+)\]$/ and exists $port_of{$1};
    my ($port, $pid) = ($port_of{$1}, (split m{/}, $fd)[2]);
    chomp(my $program = slurp("/proc/$pid/comm"));
    $seen{"$port $program"} = 1;
    delete $wanted{$port};
}
$seen{"$_ unknown"} = 1 for grep { $wanted{$_} } values %port_of;
print "port $_\n" for sort keys %seen;
