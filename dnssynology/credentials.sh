#!/bin/sh
# Writes what Synology's DDNS service knows this NAS by into a file, for
# credentials_file of caddy-nas-registry. Run it on the NAS, as root.
#
# There are secrets of the NAS's Synology account in that file. They are never
# printed, nor given to another program as an argument.
set -eu
umask 077
LC_ALL=C
export LC_ALL
PATH=$PATH:/usr/syno/bin:/usr/syno/sbin

# Where the kernel lists network interfaces; the test has its own.
net=${SYS_CLASS_NET:-/sys/class/net}

usage() {
	cat <<'USAGE'
Usage: sh credentials.sh [-m MAC] [FILE]

Collects myds_id, auth_key, api_key, serial and mac of this NAS and writes them
into FILE, as JSON that only root can read. Run it as root, for example with sudo;
run it again after the NAS was signed in to another Synology account.

  FILE     default: synology.json
  -m MAC   the MAC address of the NAS's first network interface,
           such as 00:11:32:aa:bb:cc; default: that of eth0
  -h       this help
USAGE
}

fail() {
	printf 'credentials.sh: %s\n' "$1" >&2
	exit 1
}

mac=
while getopts hm: option; do
	case $option in
	h)
		usage
		exit 0
		;;
	m) mac=$OPTARG ;;
	*)
		usage >&2
		exit 2
		;;
	esac
done
shift $((OPTIND - 1))
if [ $# -gt 1 ]; then
	usage >&2
	exit 2
fi
file=${1:-synology.json}

[ "$(id -u)" = 0 ] || fail 'it must run as root: put sudo before it'
for command in synocloudserviceauth synowebapi; do
	command -v "$command" >/dev/null 2>&1 || fail "there is no command $command: run this on the Synology NAS itself (DSM 7), not in a container"
done
directory=$(dirname -- "$file")
[ -d "$directory" ] || fail "there is no directory $directory"
[ ! -d "$file" ] || fail "$file is a directory: name a file"

# member NAME: the string or number of that name in the JSON on stdin, escaped as
# it is there. A name within a string would have a backslash before its quote.
member() {
	tr '\r\n\t' '   ' |
		sed -n 's/.*"'"$1"'" *: *\("\(\([^"\\]\|\\.\)*\)"\|\([0-9][0-9]*\)\).*/\2\4/p'
}

# synowebapi talks on stderr, and on some versions on stdout too, in lines that
# begin with [Line. It succeeds even where the call failed.
reply=$(synowebapi --exec api=SYNO.Core.Package.MyDS method=get 2>/dev/null </dev/null | sed '/^ *\[Line /d') || reply=
try='try it by hand: synowebapi --exec api=SYNO.Core.Package.MyDS method=get'
case $reply in
*'{'*) ;;
*) fail "synowebapi answered no JSON; $try" ;;
esac
if printf '%s' "$reply" | tr -d ' \r\n\t' | grep -q '"success":false'; then
	code=$(printf '%s' "$reply" | member code)
	fail "synowebapi failed (code ${code:-unknown}): sign in to a Synology account in Control Panel > Synology Account first; $try"
fi
myds_id=$(printf '%s' "$reply" | member myds_id)
auth_key=$(printf '%s' "$reply" | member auth_key)
serial=$(printf '%s' "$reply" | member serial)
for name in myds_id auth_key serial; do
	eval "value=\$$name"
	# shellcheck disable=SC2154 # eval sets it
	[ -n "$value" ] || fail "synowebapi gave no $name: this NAS is not registered; sign in to a Synology account in Control Panel > Synology Account first"
done

# The key alone, or in a line with its name, or as a member of JSON.
reply=$(synocloudserviceauth -a get 2>/dev/null </dev/null) || reply=
case $reply in
*'{'*)
	api_key=$(printf '%s' "$reply" | member api_key)
	;;
*)
	api_key=$(printf '%s\n' "$reply" | tr -d '\r' |
		sed -n 's/^ *[Aa][Pp][Ii][ _-]\{0,1\}[Kk][Ee][Yy] *[:=] *//; s/^[ 	]*//; s/[ 	]*$//; /./p' | tail -n 1)
	;;
esac
case $api_key in
'' | *[!A-Za-z0-9._~+/=:-]*)
	fail 'synocloudserviceauth gave no api_key: create a hostname of the provider Synology in Control Panel > External Access > DDNS first; try it by hand: synocloudserviceauth -a get'
	;;
esac

if [ -z "$mac" ]; then
	for interface in "$net"/eth0 "$net"/ovs_eth0 "$net"/eth* "$net"/en*; do
		[ -r "$interface/address" ] || continue
		mac=$(cat "$interface/address")
		break
	done
fi
printf '%s\n' "$mac" | grep -Eqi '^([0-9a-f]{2}:){5}[0-9a-f]{2}$' ||
	fail 'the MAC address of the first network interface is not known: give it with -m, as 00:11:32:aa:bb:cc'

temporary=$(mktemp "$directory/.synology.XXXXXX") || fail "can't write in $directory"
trap 'rm -f "$temporary"' EXIT
trap 'exit 1' HUP INT TERM
printf '{\n  "myds_id": "%s",\n  "auth_key": "%s",\n  "api_key": "%s",\n  "serial": "%s",\n  "mac": "%s"\n}\n' \
	"$myds_id" "$auth_key" "$api_key" "$serial" "$mac" >"$temporary" || fail "can't write $temporary"
chmod 600 "$temporary"
mv -f "$temporary" "$file" || fail "can't write $file"
printf 'Wrote %s. Only root can read it: keep it so, set credentials_file to it, and restart Caddy.\n' "$file"
