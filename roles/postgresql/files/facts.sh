# shellcheck shell=sh
# What the preflight asks of a server. Arguments: names of packages. Prints one word and its value per line.
dpkg-query --show --showformat '${db:Status-Status} ${Package}\n' "$@" 2>/dev/null | sed -n 's/^installed /has /p'
[ ! -e /etc/postgresql-common/createcluster.d/lightbox.conf ] || echo ours
for file in /etc/postgresql/*/*/postgresql.conf; do
  [ ! -e "$file" ] || echo "cluster $(basename "$(dirname "$(dirname "$file")")")/$(basename "$(dirname "$file")")"
done
awk '/^MemTotal:/ {print "memory " int($2 / 1024)}' /proc/meminfo
ip -4 -o address show dev docker0 2>/dev/null | awk '{split($4, part, "/"); print "address " part[1]}'
