"""Trains the Unigram tokenizer in XLM-R's id layout: <s>=0, <pad>=1, </s>=2, <unk>=3, `<s> text </s>`."""

from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from training.recipe import MAX_TOKENS, VOCABULARY
from training.sources.concepts import Concept
from training.sources.texts import tokenizer_corpus

SPECIAL_TOKENS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]


def build_tokenizer(concepts: tuple[Concept, ...]) -> Tokenizer:
    """A Unigram model over NFKC-normalised, Metaspace-split text.

    A corpus gives the same pieces each time, but not quite the same scores: the trainer adds in the order of
    a hash map, which is another in each process. Some texts are then cut otherwise, so a model that is
    trained again has the recalls of the first one, but neither its weights nor each of its answers.
    """
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.NFKC(), normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=VOCABULARY,
        special_tokens=SPECIAL_TOKENS,
        unk_token="<unk>",
        show_progress=False,
    )
    tokenizer.train_from_iterator(tokenizer_corpus(concepts), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    return tokenizer


def save_tokenizer(concepts: tuple[Concept, ...], folder: Path) -> None:
    """Writes tokenizer.json and tokenizer_config.json as the real checkpoints have them."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=build_tokenizer(concepts),
        model_max_length=MAX_TOKENS,
        padding_side="right",
        bos_token="<s>",
        eos_token="</s>",
        cls_token="<s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
    )
    fast.save_pretrained(folder)
