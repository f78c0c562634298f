"""OpenAI's routes, described."""

from __future__ import annotations

from service.frontend.http.openapi.operations import Described, Operation
from service.frontend.http.openapi.schemas import (
    CAT,
    INDEX,
    NUMBERS,
    PRIORITY,
    anything,
    array,
    body,
    boolean,
    choice,
    integer,
    number,
    one_of,
    record,
    ref,
    string,
)
from service.frontend.http.rows import ENCODINGS

__all__ = ["ERROR", "OPENAI", "OPTIONS"]

ERROR = ref("Error")

_DETAIL = record(
    message=string(),
    type=choice(
        [
            "invalid_request_error",
            "authentication_error",
            "permission_error",
            "not_found_error",
            "rate_limit_error",
            "server_error",
        ]
    ),
    param=one_of(string(), {"type": "null"}, about="Path of the field at fault, such as input[3].image_url."),
    code=string("The reason, such as queue_full or undecodable_image."),
)

OPTIONS = {
    "model": string("Name or alias of a model; the server's first one if absent."),
    "encoding_format": choice(["float", "base64"], "float if absent."),
    "embed_dtype": choice([*ENCODINGS], "Type of the numbers; float32 if absent."),
    "embedding_type": choice([*ENCODINGS], "The same as embed_dtype."),
    "dimensions": integer("The model's own width; no other is offered."),
    "priority": PRIORITY,
    "truncation": one_of(
        choice(["truncate", "reject"]), boolean(), about="What becomes of a text that is too long; truncate."
    ),
    "truncate_prompt_tokens": integer("-1 or the model's own length."),
    "normalize": boolean("Whether embeddings have length 1; true if absent."),
    "normalized": boolean("The same as normalize."),
    "orientation": choice(
        ["as_stored", "upright"], "upright turns photographs as their EXIF data says; as_stored if absent."
    ),
    "error_policy": choice(
        ["fail", "per_item"], "per_item answers 200 with an error in place of each bad item; fail if absent."
    ),
    "timeout": number("Seconds, as the header x-request-timeout-ms.", exclusiveMinimum=0),
}
"""Of every route that answers as `/v1/embeddings` does."""

_MODEL = record(id=string(), object=choice(["model"]), created=integer("Unix time."), owned_by=string())
_ROW = one_of(
    NUMBERS,
    string("Base64 of the little-endian numbers, with encoding_format base64."),
    about="With embed_dtype binary: bytes, one bit for each component, the most significant first.",
)

COMPONENTS = {
    "ErrorDetail": _DETAIL,
    "Error": record(error=ref("ErrorDetail"), detail=string("The message again.")),
    "EmbeddingsRequest": body(
        (),
        **{
            "input": one_of(
                ref("Item"), array(ref("Item"), minItems=1), about="One item or a list; or send messages."
            ),
            "messages": array(
                one_of(ref("Message"), array(ref("Message"), minItems=1)),
                "A conversation, or a list of them. What its users say becomes one vector.",
                minItems=1,
            ),
            "modality": choice(["text", "image"], "What a bare string is."),
            **OPTIONS,
            "user": anything("Ignored."),
            "input_type": anything("Ignored."),
            "task": anything("Ignored."),
        },
    ),
    "Message": body(["role"], role=string(), content=ref("Content")),
    "Embeddings": record(
        object=choice(["list"]),
        data=array(one_of(ref("Embedding"), ref("ItemError"))),
        model=string("The model's own name."),
        usage=record(
            prompt_tokens=integer("The model's own count, special tokens included."),
            total_tokens=integer(),
            image_count=integer(),
        ),
        truncated=array(integer(), "Indices of items of which a text was cut."),
        revision=string("Of the weights; vectors of different revisions cannot be compared."),
    ),
    "Embedding": record(
        ["scale"],
        object=choice(["embedding"]),
        index=INDEX,
        embedding=_ROW,
        scale=number("With embed_dtype int8: a component is its number times this."),
    ),
    "ItemError": record(
        object=choice(["error"]), index=INDEX, embedding=array({}, maxItems=0), error=ref("ErrorDetail")
    ),
    "Model": _MODEL,
}

_EMBED = Operation(
    "Embed texts and images",
    ref("Embeddings"),
    ref("EmbeddingsRequest"),
    {"input": ["a photo of a cat", {"image": CAT}, {"text": "a red one", "image": CAT}]},
    about="Send token ids never: they are another model's. The official SDKs read base64 as float32; ask for "
    'encoding_format="float" together with another embed_dtype.',
)

OPENAI = Described(
    "OpenAI",
    ERROR,
    {
        "POST /v1/embeddings": _EMBED,
        "POST /embeddings": _EMBED,
        "GET /v1/models": Operation(
            "List the models", record(object=choice(["list"]), data=array(ref("Model"))), model=False
        ),
        "GET /v1/models/{id}": Operation("One model", ref("Model"), about="Its name may contain slashes."),
    },
    COMPONENTS,
)
