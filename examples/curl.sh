#!/usr/bin/env bash
# Ask AI Gateway with curl and bash (4.2 or newer).
#
#     ./curl.sh                        a short tour
#     ./curl.sh query "Why is the sky blue?"
#     ./curl.sh stream "Why is the sky blue?"
#     ./curl.sh rag FILE "What does it say about refunds?"
#     ./curl.sh health
#
# AI_GATEWAY_URL says where the gateway is (http://127.0.0.1:8000), AI_GATEWAY_TOKEN is its token, if it wants one.
# The answer goes to standard output; who gave it, and what went wrong, to standard error.
# Exit code: 0 answered, 2 wrong usage, 3 no answer or one that was cut.
#
# Bash has no JSON reader. The few lines here read what the gateway writes: compact, each object's keys in one order,
# UTF-8. For anything more, pipe curl into jq.
set -u

usage="usage: client [query PROMPT | stream PROMPT | rag FILE QUESTION | health]"
url=${AI_GATEWAY_URL:-http://127.0.0.1:8000}
while [[ $url == */ ]]; do url=${url%/}; done
deadline=240 # seconds the gateway may take, all tiers together: a cold local model needs minutes
options="\"details\":true,\"deadline_s\":$deadline"
nl=$'\n'

query() {
  ask /ai/query "{\"prompt\":$(quoted "$1"),$options}" || return
  text response "$reply"
  printf '%s\n' "$text"
  answered_by "$reply"
}

rag() { # DOCUMENT (a JSON object) QUESTION
  ask /ai/query/rag "{\"prompt\":$(quoted "$2"),\"documents\":[$1],$options}" || return
  text response "$reply"
  printf '%s\n' "$text"
  local source rest=${reply#*\"sources\":}
  while [[ $rest == *'{"n":'* ]]; do
    rest=${rest#*'{"n":'} # 1,"document":"policy.txt","start":0,"end":57,"text":"...","cited":true,"place":null}, ...
    source=${rest%%'{"n":'*}
    text document "$source"
    if [[ $source == *'"cited":true'* && $source =~ ^([0-9]+),.*\"start\":([0-9]+),\"end\":([0-9]+), ]]; then
      printf '[%s] %s, characters %s to %s\n' "${BASH_REMATCH[1]}" "$text" "${BASH_REMATCH[@]:2}"
    fi
  done
  answered_by "$reply"
}

health() {
  ask /health || return
  local fields=${reply//[\{\}\"]/}
  fields=${fields//:/: }
  printf '%s\n' "${fields//,/$nl}"
}

# Show the answer as it grows. Only `done` makes it whole: a stream that just ends was cut.
stream() {
  local line name="" data="" writer="" broke_off
  while IFS= read -r line; do
    case $line in # an empty line ends an event; a line that begins with ":" is a comment
      event:*) name=${line#event: } ;;
      data:*) data=${line#data: } ;;
      "{"*) data=$line ;; # a problem: there is no stream
      "!200 text/event-stream"*) break ;;
      "!"*) refused "$line" "$data"; return ;;
      "")
        case $name in
          meta) text backend "$data"; writer=$text ;;
          delta) text text "$data"; printf '%s' "$text" ;;
          segment)
            text reason "$data"
            broke_off="${nl}[$writer broke off ($text): "
            text backend "$data"
            writer=$text
            # After a restart what was shown is void, and standard output has to say so.
            if [[ $data == *'"action":"restart"'* ]]; then
              printf '%s\n' "${broke_off}discard the text above, $writer starts anew]"
            else
              note "$broke_off$writer goes on]"
            fi
            ;;
          error) note ""; explain "$data"; return 3 ;;
          done) echo; answered_by "$data"; return 0 ;;
        esac
        name="" data=""
        ;;
    esac
  done < <(send /ai/query "{\"prompt\":$(quoted "$1"),\"stream\":true,$options}")
  note "${nl}The answer was cut: the stream ended without its end mark.${nl}Cure: ask again; the text above is not whole"
  return 3
}

# Put the reply to a request into `reply`.
ask() { # PATH [BODY]
  reply=$(send "$@")
  local end=${reply##*"$nl"}
  reply=${reply%"$nl"*}
  [[ $end == "!200 application/json"*" 0" ]] || refused "$end" "$reply"
}

# What the gateway sends, then a line of our own: "!", status, media type, curl's exit code.
send() { # PATH [BODY]
  local arguments=(--silent --no-buffer --connect-timeout 10 --max-time $((deadline + 15)))
  arguments+=(--noproxy "127.0.0.1,localhost,::1,${no_proxy:-${NO_PROXY:-}}") # no proxy leads to this machine
  [[ $# == 2 ]] && arguments+=(--header "Content-Type: application/json" --data-binary @-)
  # By way of a file, because everybody can read the arguments of a program that runs.
  printf '%s' "${2-}" |
    curl "${arguments[@]}" --header @<(token) --write-out '\n!%{http_code} %{content_type} ' -- "$url$1"
  echo "$?"
}

token() {
  [[ -z ${AI_GATEWAY_TOKEN:-} ]] || printf 'Authorization: Bearer %s\n' "$AI_GATEWAY_TOKEN"
}

refused() { # END-LINE BODY
  case $1 in
    *" application/problem+json 0") explain "$2" ;;
    *" 0") note "What answers at $url is not AI Gateway. Set AI_GATEWAY_URL to where it runs." ;;
    *) note "No answer from $url. Is the gateway running? Start it with \"ai-gateway serve\", or set AI_GATEWAY_URL." ;;
  esac
  return 3
}

# An application/problem+json in words: what happened, at which tier, and what helps.
explain() {
  local title rest=${1#*\"attempts\":} tier='"backend":"([a-z]+)","outcome":"([a-z]+)","reason":"?([a-z0-9_]+)'
  text title "$1"
  title=$text
  text code "$1"
  note "$title ($text)"
  text detail "$1"
  note "$text"
  while [[ $rest =~ $tier ]]; do
    note "  ${BASH_REMATCH[1]} ${BASH_REMATCH[2]}: ${BASH_REMATCH[3]/#null/-}"
    rest=${rest#*"${BASH_REMATCH[0]}"}
  done
  text cure "\"cure\":${1##*],\"cure\":}"
  [[ -z $text ]] || note "Cure: $text"
}

answered_by() {
  local writers="" finish rest=${1#*\"segments\":[}
  rest=${rest%%]*}
  while [[ $rest == *'"backend":'* ]]; do
    text backend "$rest"
    writers+=${writers:+, then }$text
    rest=${rest#*'"backend":'}
  done
  text finish_reason "$1" # "length" and "content_filter" are answers cut short
  finish=$text
  text state "$1"
  note "[answered by $writers; finish: $finish; Copilot's circuit: $text]"
}

# Put the string of the first such key into `text`.
text() { # KEY JSON
  local raw=${2#*"\"$1\":\""}
  raw=${raw//\\\\/$'\1'} # JSON holds no control characters, so these two are free
  raw=${raw//\\\"/$'\2'}
  raw=${raw%%\"*}
  raw=${raw//$'\2'/\"}
  printf -v text '%b' "${raw//$'\1'/\\\\}"
}

# A text as a JSON string.
quoted() {
  local text=$1 code char
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  for code in {1..31}; do
    printf -v code '%02x' "$code"
    printf -v char '%b' "\\x$code"
    text=${text//"$char"/\\u00$code}
  done
  printf '"%s"' "$text"
}

note() {
  printf '%s\n' "$1" >&2
}

tour() {
  local policy='{"name":"policy.txt","text":"Customers may return items within 30 days. Later there are no refunds."}'
  printf '== health ==\n'
  health || return
  printf '\n== query ==\n'
  query "Why is the sky blue? Answer in one sentence." || return
  printf '\n== rag ==\n'
  rag "$policy" "How long may customers return items?" || return
  printf '\n== stream ==\n'
  stream "Tell me about lighthouses in two sentences."
}

wrong() {
  note "$1"
  exit 2
}

[[ $url == http://* || $url == https://* ]] || wrong "AI_GATEWAY_URL has to begin with http:// or https://"
case "$# ${1-}" in
  "0 ") tour ;;
  "1 health") health ;;
  "2 query") query "$2" ;;
  "2 stream") stream "$2" ;;
  "3 rag")
    # Any file: the gateway reads text, PDF, Word, HTML and others by their name and bytes.
    content=$(base64 2>/dev/null <"$2" | tr -d '\n') && [[ -f $2 && -r $2 ]] || wrong "Cannot read $2"
    rag "{\"name\":$(quoted "${2##*/}"),\"content_base64\":\"$content\"}" "$3"
    ;;
  *) wrong "$usage" ;;
esac
