# HTTP/1.1 from inside a container that has bash and nothing else: sent to `bash -s` there.
#
#   one  METHOD ADDRESS PORT PATH [BODY]   one request: "STATUS BODY"
#   ask  ADDRESS PORT PATH                 one for each line of standard input, over one connection
#   load new|open ADDRESS PORT PATH        one each 50 ms until standard input ends, over connections
#                                          that are new or over one that stays
#
# A connection that cannot be opened, or ends, or says nothing for 5 s, is status 0.
trap '' PIPE
LC_ALL=C

request() { # method, address, path, body
    local status= length=0 line body= part
    printf '%s %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s' \
        "$1" "$3" "$2" "${#4}" "$4" >&3 2>/dev/null || { echo '0 cannot send'; return 1; }
    IFS=' ' read -r -t 5 -u 3 _ status _ || { echo '0 no answer'; return 1; }
    while IFS= read -r -t 5 -u 3 line && line=${line%$'\r'} && [ -n "$line" ]; do
        case ${line,,} in
        content-length:*) length=${line#*: } ;;
        transfer-encoding:*chunked) length=chunked ;;
        esac
    done
    while [ "$length" != 0 ]; do
        # A chunk is its length, itself and a line's end; the last one is empty.
        if [ "$length" = chunked ]; then
            read -r -t 5 -u 3 line || { echo '0 half an answer'; return 1; }
            line=$((16#${line%$'\r'}))
        else
            line=$length length=0
        fi
        part=
        [ "$line" -eq 0 ] || read -r -t 5 -u 3 -N "$line" part || { echo '0 half an answer'; return 1; }
        body+=$part
        if [ "$length" = chunked ]; then
            read -r -t 5 -u 3 _
            [ "$line" -gt 0 ] || length=0
        fi
    done
    printf '%s %s\n' "$status" "${body//$'\n'/ }"
}

connect() { # address, port
    exec 3<>"/dev/tcp/$1/$2" || { echo '0 cannot connect'; return 1; }
} 2>/dev/null

mode=$1
shift
case $mode in
one) connect "$2" "$3" && request "$1" "$2" "$4" "${5:-}" ;;
ask)
    connect "$1" "$2"
    while read -r _; do request GET "$1" "$3" ''; done
    ;;
load)
    keep=$1 up=
    shift
    while :; do
        [ -n "$up" ] || { connect "$1" "$2" && up=1; }
        [ -z "$up" ] || request GET "$1" "$3" '' || up=
        if [ "$keep" = new ]; then exec 3>&- && up=; fi
        # Ends when standard input does; a timeout is above 128.
        read -r -t 0.05 _ || [ $? -gt 128 ] || break
    done
    ;;
esac
