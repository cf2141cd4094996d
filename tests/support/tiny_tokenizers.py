"""Small tokenizers as publishers ship them: tokenizer.json, or the same vocabulary inside a GGUF file."""

import json
from pathlib import Path
from typing import Any

import gguf
from support.tiny_gguf import CHAT_TEMPLATE, MERGES, vocabulary
from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers

WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ("<unk>", "<s>", "</s>")
INFILL = ("▁<PRE>", "▁<MID>", "▁<SUF>", "▁<EOT>")


def corpus() -> list[str]:
    """Python sources of this repository, without SentencePiece's letter for a space."""
    sources = sorted(Path(__file__).parents[2].glob("engine/text/*.py"))
    return [path.read_text().replace("▁", "_") for path in sources]


def write_files(folder: Path, tokenizer: Tokenizer, *, vocab_size: int, **config: Any) -> Path:
    """tokenizer.json and the two files beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"))
    (folder / "config.json").write_text(json.dumps({"vocab_size": vocab_size}))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def byte_level_folder(folder: Path, *, ignore_merges: bool = False) -> Path:
    """The vocabulary of tiny_gguf in the way of the Qwen family, with unused rows at the end."""
    tokens, _ = vocabulary()
    plain = tokens[: tokens.index("<|endoftext|>")]
    merges = [(left, right) for left, _, right in (merge.partition(" ") for merge in MERGES)]
    tokenizer = Tokenizer(
        models.BPE(vocab={token: n for n, token in enumerate(plain)}, merges=merges, ignore_merges=ignore_merges)
    )
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(WORDS), behavior="isolated"), pre_tokenizers.ByteLevel(False, use_regex=False)]
    )
    tokenizer.add_special_tokens(list(tokens[len(plain) : len(plain) + 3]))
    tokenizer.add_tokens([AddedToken("<tool_call>", special=False, normalized=False)])
    return write_files(
        folder,
        tokenizer,
        vocab_size=len(tokenizer.get_vocab()) + 5,
        chat_template=CHAT_TEMPLATE,
        eos_token="<|im_end|>",
        bos_token={"content": "<|endoftext|>", "lstrip": False},
    )


def sentence_piece(*, extra: tuple[str, ...] = ()) -> Tokenizer:
    """SentencePiece BPE in the way of Llama 2 and Code Llama, trained on a few sources."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=[*SPECIAL, *(f"<0x{n:02X}>" for n in range(256))], max_token_length=16
    )
    tokenizer.train_from_iterator(corpus(), trainer)
    # Only true control tokens are added tokens: bytes are pieces like others.
    data = json.loads(tokenizer.to_str())
    data["added_tokens"] = [entry for entry in data["added_tokens"] if entry["content"] in SPECIAL]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.add_special_tokens(list(extra))
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer


def write_sentence_piece_gguf(path: Path, tokenizer: Tokenizer, *, infill_kind: gguf.TokenType) -> Path:
    """The same vocabulary by scores, without merges; `infill_kind`: what the file calls the tokens for infilling."""
    data = json.loads(tokenizer.to_str())
    rank = {"".join(merge): n for n, merge in enumerate(data["model"]["merges"])}
    by_id = {index: token for token, index in tokenizer.get_vocab(with_added_tokens=True).items()}
    tokens = [by_id[index] for index in range(len(by_id))]
    kinds: list[int] = []
    for token in tokens:
        match token:
            case "<unk>":
                kinds.append(gguf.TokenType.UNKNOWN)
            case "<s>" | "</s>":
                kinds.append(gguf.TokenType.CONTROL)
            case _ if token in INFILL:
                kinds.append(infill_kind)
            case _ if token.startswith("<0x"):
                kinds.append(gguf.TokenType.BYTE)
            case _:
                kinds.append(gguf.TokenType.NORMAL)
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_string("tokenizer.ggml.model", "llama")
    writer.add_uint32("tokenizer.ggml.bos_token_id", 1)
    writer.add_uint32("tokenizer.ggml.eos_token_id", 2)
    writer.add_token_list(tokens)
    writer.add_token_scores([-float(rank[token]) if token in rank else -1e4 for token in tokens])
    writer.add_token_types([int(kind) for kind in kinds])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
