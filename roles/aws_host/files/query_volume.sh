# shellcheck shell=sh
# Usage: query NAMES DIRECTORY, where NAMES are those that the device may have, in one argument. Prints name=value lines; exit code 3: no such device.
set -eu
directory=$2 device=
for _ in $(seq 60); do
  for name in $1; do
    if [ -b "$name" ]; then device=$(readlink -f "$name"); break 2; fi
  done
  sleep 1
done
[ -n "$device" ] || exit 3
echo "device=$device"
# By themselves: in a pipe or another command, a failure would look like an empty volume.
found=$(wipefs --no-act --noheadings --output TYPE "$device")
uuid=$(blkid --probe --match-tag UUID --output value "$device" || [ $? -eq 2 ])
signatures=$(echo "$found" | sort -u | paste -sd' ' -)
echo "signatures=$signatures"
echo "uuid=$uuid"
echo "mounted=$(findmnt --noheadings --output SOURCE --mountpoint "$directory" | tail -n 1)"
echo "elsewhere=$(findmnt --noheadings --output TARGET --source "$device" | grep -vxF "$directory" | head -n 1)"
echo "files=$(if mountpoint -q "$directory"; then :; else find "$directory" -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort | head -n 5 | paste -sd' ' -; fi)"
if [ "$signatures" = xfs ]; then program=xfs_growfs; else program=mkfs.ext4; fi
if [ -x "/usr/sbin/$program" ]; then echo programs=installed; else echo programs=missing; fi
