"""The fields a Gemini request may have: Google refuses any other with 400.

Source: google-genai PyPI 3.4.0 `types.py` and its converters for the Gemini API. Names are accepted as JSON has
them (`inlineData`) and as protocol buffers have them (`inline_data`), as Google does; behind this module all are in
the first form.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from simulator.refusals import InvalidRequest

_FREE = ""
"""A scalar, or JSON whose content is the caller's own: schemas, arguments, results."""

_Fields = Mapping[str, str]


def _message(free: str, **typed: str) -> _Fields:
    return {**dict.fromkeys(free.split(), _FREE), **typed}


_MESSAGES: Mapping[str, _Fields] = {
    "GenerateContentRequest": _message(
        "model safetySettings cachedContent labels serviceTier store",
        contents="Content",
        systemInstruction="Content",
        tools="Tool",
        toolConfig="ToolConfig",
        generationConfig="GenerationConfig",
    ),
    "CountTokensRequest": _message(
        "model", contents="Content", generateContentRequest="GenerateContentRequest"
    ),
    "Content": _message("role", parts="Part"),
    "Part": _message(
        "text thought thoughtSignature videoMetadata mediaResolution executableCode codeExecutionResult "
        "partMetadata toolCall toolResponse",
        inlineData="Blob",
        fileData="FileData",
        functionCall="FunctionCall",
        functionResponse="FunctionResponse",
    ),
    "Blob": _message("mimeType data displayName"),
    "FileData": _message("mimeType fileUri displayName"),
    "FunctionCall": _message("id name args"),
    "FunctionResponse": _message("id name response parts scheduling willContinue"),
    "Tool": _message(
        "googleSearch googleSearchRetrieval googleMaps codeExecution urlContext fileSearch computerUse mcpServers",
        functionDeclarations="FunctionDeclaration",
    ),
    "FunctionDeclaration": _message(
        "name description parameters parametersJsonSchema response responseJsonSchema behavior"
    ),
    "ToolConfig": _message(
        "retrievalConfig includeServerSideToolInvocations", functionCallingConfig="FunctionCallingConfig"
    ),
    "FunctionCallingConfig": _message("mode allowedFunctionNames"),
    "GenerationConfig": _message(
        "temperature topP topK candidateCount maxOutputTokens stopSequences seed presencePenalty frequencyPenalty "
        "responseMimeType responseSchema responseJsonSchema responseModalities responseLogprobs logprobs "
        "mediaResolution speechConfig imageConfig enableEnhancedCivicAnswers",
        thinkingConfig="ThinkingConfig",
    ),
    "ThinkingConfig": _message("includeThoughts thinkingBudget thinkingLevel"),
}


def normalised(message: str, data: Any, path: str = "") -> Any:
    """The message with all names in JSON's form.

    Args:
        message: Its type: `GenerateContentRequest` or `CountTokensRequest`.
        path: Where it stands in the request.

    Raises:
        InvalidRequest: A field the message does not have, or something else than an object.
    """
    if isinstance(data, list) and path:
        return [normalised(message, item, f"{path}[{number}]") for number, item in enumerate(data)]
    if not isinstance(data, dict):
        raise InvalidRequest(f"Invalid value at '{path}': an object is wanted", path)
    fields = _MESSAGES[message]
    found = {}
    for name, value in data.items():
        known = _camel(name)
        if known not in fields:
            where = f" at '{path}'" if path else ""
            raise InvalidRequest(
                f'Invalid JSON payload received. Unknown name "{name}"{where}: Cannot find field.',
                path or None,
            )
        inner = f"{path}.{_snake(known)}" if path else _snake(known)
        kind = fields[known]
        found[known] = value if kind == _FREE or value is None else normalised(kind, value, inner)
    return found


def _camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(word[:1].upper() + word[1:] for word in others)


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)
