# shellcheck shell=sh
# Usage: prove HOST ADDRESS PORT DATABASE USER SSLMODE CA QUESTION. The password comes on stdin. Asks the database as the archive will.
export PGHOST="$1" PGPORT="$3" PGDATABASE="$4" PGUSER="$5" PGSSLMODE="$6" PGSSLROOTCERT="$7" PGCONNECT_TIMEOUT=10 PGAPPNAME=lightbox-prove
[ -z "$2" ] || export PGHOSTADDR="$2"
unset PGPASSFILE PGSERVICE PGOPTIONS
export HOME=/nonexistent
IFS= read -r PGPASSWORD
export PGPASSWORD
exec psql --no-psqlrc --no-password --tuples-only --no-align --set ON_ERROR_STOP=1 --command "$8"
