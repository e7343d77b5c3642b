# shellcheck shell=sh
# CONTAINER DIRECTORY FILE NETWORK: removes the first three, which a migration or a load that was cut off leaves, and the networks of
# the archive's project other than NETWORK. Prints a line for each. A network that a container is in stays, and so does that of a stopped one,
# which Docker would remove: the container could not start again.
container=$1 directory=$2 file=$3 network=$4
if command -v docker >/dev/null && docker info >/dev/null 2>&1; then
    if docker container inspect "$container" >/dev/null 2>&1; then
        docker rm --force "$container"
    fi
    for old in $(docker network ls --filter label=com.docker.compose.project=lightbox-orthanc --format '{{.Name}}'); do
        # One that somebody joined just now stays for the next run.
        [ "$old" = "$network" ] || [ -n "$(docker ps -aq --filter "network=$old")" ] || docker network rm "$old" || true
    done
fi
for left in "$directory" "$file"; do
    [ ! -e "$left" ] || { rm -rf -- "$left" && echo "$left"; }
done
