# shellcheck shell=sh
# psql in place of postgresql_query, as the user postgres and on the port on which the server runs, which may differ from the one in the variables.
# Usage: state UNIT DATA CONFIGURATION FILE... Prints why the running database does not have what its files say; nothing when it does.
unit=$1 data=$2
shift 3
[ "$(systemctl show --property NeedDaemonReload --value "$unit")" = no ] || echo "its unit changed"
if ! systemctl is-active --quiet "$unit"; then
  echo "it does not run"
  exit
fi
ask() { runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align --port "$(sed -n 4p "$data/postmaster.pid")" --command "$1"; }
loaded=$(ask "SELECT extract(epoch FROM pg_conf_load_time())")
stat --format '%.9Y %n' "$@" | awk -v loaded="$loaded" '$1 > loaded {print $2 " is newer"}'
ask "SELECT name || ' waits for a restart' FROM pg_settings WHERE pending_restart"
