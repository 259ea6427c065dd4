#!/bin/sh
# chatd's acceptance over HTTP, in six points: what one of its users would try with curl.
#
#   tests/clients/chatd.sh http://127.0.0.1:3220
#
# Needs curl and python3, and a chatq whose local Ollama has the model qwen3.5 and no model unknown/m, with keys for
# Ollama Cloud and OpenRouter, and none for Kimi. Prints a line for each call; exit code 1 if one went wrong.
set -eu
base=${1:?usage: chatd.sh URL}
answer=$(mktemp)
trap 'rm -f "$answer"' EXIT
failed=0

# expect STATUS CONDITION WHAT -- CURL-ARGUMENTS: the condition is Python's, on the answer's JSON as `a`.
expect() {
    status=$1 condition=$2 what=$3
    shift 4
    got=$(curl --silent --show-error --max-time 60 --output "$answer" --write-out '%{http_code}' "$@")
    if [ "$got" = "$status" ] && python3 -c "
import json, sys
a = json.load(open(sys.argv[1]))
sys.exit(not ($condition))" "$answer"; then
        echo "ok     $what"
    else
        failed=1
        echo "FAILED $what: status $got, expected $status and $condition: $(head -c 500 "$answer")"
    fi
}

# chat STATUS CONDITION WHAT BODY
chat() {
    expect "$1" "$2" "$3" -- "$base/v1/chat" --header 'content-type: application/json' --data "$4"
}

messages='"messages": [{"role": "user", "content": "What is a queue?"}]'

# 1. Health, and exactly the providers that are registered.
expect 200 'a["status"] == "ok"' 'health' -- "$base/health"
expect 200 '{p["name"] for p in a["providers"] if p["available"]} >= {"ollama", "ollama_cloud", "openrouter"}' \
    'registered providers are listed and available' -- "$base/v1/chat/providers"
expect 200 '"kimi" not in {p["name"] for p in a["providers"]}' \
    'a provider without a key is not listed' -- "$base/v1/chat/providers"

# 2. A bare name goes to the default provider; content, token counts and latency come back.
chat 200 'a["provider"] == "ollama" and a["model"] == "qwen3.5" and a["content"]
    and a["usage"]["prompt_tokens"] > 0 and a["usage"]["completion_tokens"] > 0 and a["latency_ms"] >= 0' \
    'a bare name is answered by the default provider' "{\"model\": \"qwen3.5\", $messages}"

# 3. A prefix routes and goes; the suffix :cloud does, too.
chat 200 'a["provider"] == "ollama" and a["model"] == "qwen3.5"' \
    'prefix ollama/' "{\"model\": \"ollama/qwen3.5\", $messages}"
chat 200 'a["provider"] == "openrouter" and a["model"] == "openai/gpt-5"' \
    'only the first prefix is taken off' "{\"model\": \"openrouter/openai/gpt-5\", $messages}"
chat 200 'a["provider"] == "ollama_cloud" and a["model"] == "gpt-oss:120b"' \
    'prefix ollama_cloud/' "{\"model\": \"ollama_cloud/gpt-oss:120b\", $messages}"
chat 200 'a["provider"] == "ollama_cloud" and a["model"] == "kimi-k2.6"' \
    'suffix :cloud' "{\"model\": \"kimi-k2.6:cloud\", $messages}"

# 4. A provider that is not registered is refused: nothing falls through to another.
chat 404 '"kimi" in a["error"]["message"]' 'a provider without a key' "{\"model\": \"kimi/k3\", $messages}"

# 5. An unknown prefix is part of the name; the default provider's own error comes back.
chat 502 'a["error"]["message"]' 'an unknown model is the provider’s error' "{\"model\": \"unknown/m\", $messages}"

# 6. What is missing or no JSON is the caller's error.
chat 400 'a["error"]["param"] == "model"' 'no model' "{$messages}"
chat 400 'a["error"]["param"] == "messages"' 'no messages' '{"model": "qwen3.5"}'
chat 400 'a["error"]["param"] == "messages"' 'empty messages' '{"model": "qwen3.5", "messages": []}'
chat 400 'a["error"]["message"]' 'no JSON' '{'

exit $failed
