# shellcheck shell=sh
# A script in place of postgresql_query, for it waits for the reload, and asks as the user postgres on the port on which the server runs.
# Usage: apply UNIT DATA CONFIGURATION. Makes the running database take what its files say, with a restart only where it must.
set -eu
unit=$1 data=$2 configuration=$3
version=${unit#postgresql@}
version=${version%%-*}
# A file that PostgreSQL cannot read must not stop the database that runs.
runuser -u postgres -- "/usr/lib/postgresql/$version/bin/postgres" -D "$data" -c "config_file=$configuration" -C shared_buffers >/dev/null
systemctl daemon-reload
if systemctl is-active --quiet "$unit"; then
  ask() { runuser -u postgres -- psql --no-psqlrc --tuples-only --no-align --port "$(sed -n 4p "$data/postmaster.pid")" --command "$1"; }
  before=$(ask "SELECT pg_conf_load_time()")
  systemctl reload "$unit"
  for _ in 1 2 3 4 5 6 7 8 9 10; do
    [ "$(ask "SELECT pg_conf_load_time()")" = "$before" ] || break
    sleep 0.2
  done
  [ "$(ask "SELECT count(*) FROM pg_settings WHERE pending_restart")" -gt 0 ] || exit 0
  systemctl restart "$unit"
else
  systemctl start "$unit"
fi
