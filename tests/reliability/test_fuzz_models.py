"""Model folders with broken, odd or hostile weights, configs, tokenizers or templates."""

from __future__ import annotations

import json
import shutil
import struct
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hostile import damaged, numbers, rewritten, texts, values
from hypothesis import given, settings
from hypothesis import strategies as st

from representations.arms import comprehension, generation
from representations.corpus.corpus import Corpus, load_corpus
from representations.models.chat_templates import render
from representations.models.loading import LoadedModel, load
from representations.models.size import expected_parameters
from study import HOME, Generation, Pooling, Study
from study.registry import ModelSpec

STUDY = Study(
    "fuzz",
    generation=Generation(neutral_per_topic=1, max_new_tokens=3, min_new_tokens=2),
    pooling=Pooling(skip=1),
)
PICKLE = b"cos\nsystem\n(S'touch ran'\ntR."  # loading it would make a file
CODE = b"open('ran', 'w')\nclass A:\n    pass\n"
REMOTE = {"AutoConfig": "evil.A", "AutoModelForCausalLM": "evil.A", "AutoTokenizer": ["evil.A"] * 2}
#: Values that configs may have beyond those of a small Llama.
KEYS = (
    "auto_map",
    "model_type",
    "architectures",
    "_attn_implementation",
    "attn_implementation",
    "_experts_implementation",
    "quantization_config",
    "rope_scaling",
    "rope_parameters",
    "dtype",
    "torch_dtype",
    "text_config",
    "vision_config",
    "layer_types",
    "sliding_window",
    "num_labels",
    "tie_word_embeddings",
    "is_encoder_decoder",
    "pruned_heads",
    "id2label",
    "hidden_act",
    "attribute_map",
    "_name_or_path",
    "transformers_version",
    "base_model_tp_plan",
    "use_cache",
    "output_hidden_states",
    "return_dict",
    "chunk_size_feed_forward",
    "__class__",
)
TYPES = ["gpt2", "qwen2", "gemma3", "bert", "t5", "mamba", "bloom", "evil", "auto"]
QUANTISED = st.fixed_dictionaries(
    {"quant_method": st.sampled_from(["fp8", "gptq", "awq", "bitsandbytes", "mxfp4", "x/y", ""])},
    optional={"load_in_4bit": values, "bits": values, "modules_to_not_convert": values},
)
settings_ = (
    values
    | numbers
    | st.sampled_from([REMOTE, "evil.A", "x/y:z", *TYPES, [*TYPES], {"rope_type": "yarn"}])
    | QUANTISED
)


@pytest.fixture(scope="module")
def corpus() -> Corpus:
    return load_corpus(HOME / "data" / "corpus").restricted(("happy", "afraid"), 1)


@pytest.fixture(scope="module")
def limited() -> Iterator[None]:
    """Limit memory to a gigabyte, for models that would use all of it."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + 2 * 2**30, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


class Folders:
    """Good model folders, and the place where copies get damaged."""

    def __init__(self, home: Path, small: Path, gguf: Path, guard: Any, corpus: Corpus) -> None:
        self.home, self.guard, self.corpus = home, guard, corpus
        self.folder, self.ran = home / "m", home / "ran"
        self.whole = {p.name: p.read_bytes() for p in small.iterdir()}
        self.gguf = gguf.read_bytes()

    def write(self, files: dict[str, bytes]) -> None:
        """Copy into a new place: a file still mapped into memory must not change."""
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self.home / "cache", ignore_errors=True)
        for name, content in files.items():
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).write_bytes(content)

    def json(self, name: str) -> Any:
        return json.loads(self.whole[name])

    def used(self, seed: int | None = None, instruct: bool = False) -> LoadedModel:
        """Do what a run does with a model: read passages and write stories."""
        spec = ModelSpec("m", "", str(self.folder), instruct)
        assert expected_parameters(spec) >= 0  # asked before any model is loaded, it refuses none
        loaded = load(spec, untrained_seed=seed, device="cpu")
        comprehension(loaded, self.corpus, STUDY.pooling)
        generation(loaded, self.corpus, STUDY.generation, STUDY.pooling, STUDY.seed)
        return loaded

    def run(self, target: str, changes: dict[str, bytes], **how: Any) -> tuple[Any, str]:
        """Damage the good folder and use it under guard."""
        self.write({**self.whole, **changes})
        return self.watched(target, lambda: self.used(**how))

    def watched(self, target: str, call: Callable[[], Any]) -> tuple[Any, str]:
        """Call under guard; no code from the folder may run."""
        found = self.guard(target, call, outputs=self.home)
        assert not self.ran.exists()
        return found


@pytest.fixture(scope="module")
def folders(
    tmp_path_factory: pytest.TempPathFactory,
    small_model: Path,
    small_gguf: Callable[..., None],
    guard: Any,
    corpus: Corpus,
    limited: None,
) -> Iterator[Folders]:
    home = tmp_path_factory.mktemp("broken")
    small_gguf(home / "m.gguf")
    one = Folders(home, small_model, home / "m.gguf", guard, corpus)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        patch.chdir(home)
        patch.setenv("XDG_CACHE_HOME", str(home / "cache"))
        # Do first what libraries do once on first use, so it is not blamed on an input.
        for files in (one.whole, {"m.gguf": one.gguf}):
            one.write(files)
            one.used()
            one.used(seed=0)
        yield one


def test_the_folders_that_are_broken_below_are_whole(folders: Folders) -> None:
    loaded, _ = folders.run("models, config.json", {})
    assert loaded.n_layers == 3
    folders.write({"m.gguf": folders.gguf})
    loaded, _ = folders.watched("models, GGUF", folders.used)
    assert loaded.n_layers == 2


# -- weights ----------------------------------------------------------------------------------


def safetensors(header: Any, rest: bytes) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(raw)) + raw + rest


@given(data=st.data())
@settings(max_examples=2 * settings.default.max_examples)
def test_safetensors_bytes(folders: Folders, data: st.DataObject) -> None:
    content = data.draw(damaged(folders.whole["model.safetensors"]))
    folders.run("models, safetensors, bytes", {"model.safetensors": content})


@given(data=st.data())
@settings(max_examples=2 * settings.default.max_examples)
def test_safetensors_headers(folders: Folders, data: st.DataObject) -> None:
    """Other shapes, types, offsets and names; NaN and infinite numbers."""
    whole = folders.whole["model.safetensors"]
    size = struct.unpack("<Q", whole[:8])[0]
    odd = values | st.sampled_from(
        [
            "F16",
            "BF16",
            "F8_E4M3",
            "I64",
            "BOOL",
            "F4",
            [32],
            [2**62, 4],
            [0, 4096],
            [4096, 0],
            [-1, 5],
            [96, 32],
        ]
    )
    header = data.draw(rewritten(json.loads(whole[8 : 8 + size]), odd=odd))
    content = safetensors(header, whole[8 + size :])
    folders.run("models, safetensors, header", {"model.safetensors": content})


@pytest.fixture(scope="module")
def spots(folders: Folders) -> tuple[int, ...]:
    """Return where a GGUF header keeps its counts, lengths, types, numbers and offsets."""
    from gguf import GGUFReader

    (folders.home / "spots.gguf").write_bytes(folders.gguf)
    reader = GGUFReader(folders.home / "spots.gguf")
    found = [4, 8, 16]  # version, tensors, keys
    for field in [*reader.fields.values(), *(t.field for t in reader.tensors)]:
        at = field.offset
        for part in field.parts[:12]:
            if at >= 24:
                found.append(at)
            at += part.nbytes
    return tuple(found)


@given(data=st.data())
@settings(max_examples=2 * settings.default.max_examples)
def test_gguf(folders: Folders, spots: tuple[int, ...], data: st.DataObject) -> None:
    folders.write({"m.gguf": data.draw(damaged(folders.gguf, spots))})
    folders.watched("models, GGUF", folders.used)


@given(data=st.data())
@settings(max_examples=settings.default.max_examples)
def test_indices(folders: Folders, data: st.DataObject) -> None:
    """An index file names the files of weights that are split over several."""
    size = struct.unpack("<Q", folders.whole["model.safetensors"][:8])[0]
    named = json.loads(folders.whole["model.safetensors"][8 : 8 + size])
    index = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(named, "a.safetensors")}
    index["weight_map"].pop("__metadata__", None)
    odd = values | st.sampled_from(["m.bin", "../m.safetensors", "/dev/zero", "b.safetensors"])
    files = {name: raw for name, raw in folders.whole.items() if name != "model.safetensors"} | {
        "a.safetensors": folders.whole["model.safetensors"],
        "m.bin": PICKLE,
        "model.safetensors.index.json": json.dumps(data.draw(rewritten(index, odd=odd))).encode(),
    }
    folders.write(files)
    folders.watched("models, index", folders.used)


# -- files beside the weights -----------------------------------------------------------------


@given(data=st.data(), seed=st.sampled_from([None, None, 0]))
@settings(max_examples=4 * settings.default.max_examples)
def test_configs(folders: Folders, data: st.DataObject, seed: int | None) -> None:
    config = data.draw(rewritten(folders.json("config.json"), KEYS, settings_))
    changes = {"config.json": json.dumps(config).encode(), "evil.py": CODE}
    folders.run("models, config.json", changes, seed=seed)


@given(kind=st.sampled_from(TYPES), data=st.data(), seed=st.sampled_from([None, 0]))
@settings(max_examples=settings.default.max_examples)
def test_configs_of_other_architectures(
    folders: Folders, kind: str, data: st.DataObject, seed: int | None
) -> None:
    config = folders.json("config.json") | {"model_type": kind}
    if data.draw(st.booleans()):
        config = {"model_type": kind, "text_config": config, "vision_config": data.draw(settings_)}
    config |= data.draw(st.dictionaries(st.sampled_from(KEYS), settings_, max_size=2))
    changes = {"config.json": json.dumps(config).encode(), "evil.py": CODE}
    folders.run("models, other architectures", changes, seed=seed)


@given(data=st.data(), instruct=st.booleans())
@settings(max_examples=3 * settings.default.max_examples)
def test_tokenizers(folders: Folders, data: st.DataObject, instruct: bool) -> None:
    keys = (
        "tokenizer_class",
        "auto_map",
        "chat_template",
        "pad_token",
        "eos_token",
        "bos_token",
        "added_tokens_decoder",
        "model_max_length",
        "extra_special_tokens",
        "padding_side",
        "processor_class",
        "vocab_file",
        "tokenizer_file",
        "add_prefix_space",
        "unk_token",
        "model_input_names",
        "is_local",
        "model_specific_special_tokens",
    )
    odd = settings_ | st.sampled_from(
        [
            "{{ messages }}",
            {"default": "{{ x.y.z }}"},
            [{"name": "a", "template": "b"}],
            "LlamaTokenizer",
            "GPT2Tokenizer",
            "TokenizersBackend",
            "evil.A",
            "<pad>",
            "</s>",
            {"0": {"content": "<pad>", "special": True}},
            {"content": "x", "__type": "AddedToken"},
        ]
    )
    name = data.draw(st.sampled_from(["tokenizer_config.json", "tokenizer.json"]))
    content = data.draw(rewritten(folders.json(name), keys, odd))
    changes = {name: json.dumps(content).encode(), "evil.py": CODE}
    folders.run("models, tokenizers", changes, instruct=instruct)


@given(data=st.data())
@settings(max_examples=settings.default.max_examples)
def test_bytes_of_the_small_files(folders: Folders, data: st.DataObject) -> None:
    names = sorted(n for n in folders.whole if n.endswith(".json"))
    name = data.draw(st.sampled_from(names))
    deep = st.sampled_from([b"[" * 10**5, b'{"a":' * 10**5, b'{"a": ' + b"9" * 10**4 + b"}"])
    content = data.draw(damaged(folders.whole[name]) | st.binary(max_size=50) | deep)
    folders.run("models, small files, bytes", {name: content})


BESIDE = (
    "pytorch_model.bin",
    "model.pt",
    "model.pkl",
    "training_args.bin",
    "optimizer.pt",
    "evil.py",
    "modeling_llama.py",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "generation_config.json",
    "adapter_config.json",
    "custom_generate/generate.py",
    "chat_template.jinja",
    "chat_templates/a.jinja",
    "processor_config.json",
    "preprocessor_config.json",
    "consolidated.safetensors",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
    "sitecustomize.py",
    "adapter_model.bin",
    "b.gguf",
)


@given(
    files=st.dictionaries(
        st.sampled_from(BESIDE),
        st.sampled_from([PICKLE, CODE, b"{}", b""]) | values.map(lambda v: json.dumps(v).encode()),
        min_size=1,
        max_size=4,
    ),
    without=st.sampled_from(["", "", "model.safetensors", "tokenizer.json", "config.json"]),
)
@settings(max_examples=3 * settings.default.max_examples)
def test_files_beside(folders: Folders, files: dict[str, bytes], without: str) -> None:
    kept = {name: raw for name, raw in folders.whole.items() if name != without}
    folders.write(kept | files)
    folders.watched("models, files beside", lambda: folders.used(instruct=True))


# -- chat templates ---------------------------------------------------------------------------

PIECES = (
    "{{ messages[0]['content'] }}",
    "{% for m in messages %}{{ m }}{% endfor %}",
    "{% if",
    "{#",
    "{{ raise_exception('no\nno') }}",
    "{{ ''.__class__.__mro__[1].__subclasses__() }}",
    "{{ cycler.__init__.__globals__.os.popen('touch ran').read() }}",
    "{% include 'ran' %}",
    "{{ lipsum.__globals__['os'].system('touch ran') }}",
    "{% import 'os' as os %}",
    "{{ self._TemplateReference__context }}",
    "{{ namespace().__init__.__globals__ }}",
    "{{ ('a' * 10000000000) | length }}",
    "{{ 'x' * 200000 }}",
    "{{ 10 ** 10 ** 8 }}",
    "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
    "{% set x = x %}",
    "{{ strftime_now('%') }}",
    "{{ x | attr('__class__') }}",
    "{{ '%s' | format(x) }}",
    "{{ '{0.__class__}'.format(1) }}",
    "{{ messages.append(1) }}",
    "{{ messages | map('attr', 'a') | list }}",
    "{{ 1 / 0 }}",
    "{% generation %}a{% endgeneration %}",
    "{{ messages | tojson(indent=10000000) }}",
    "{{ '%99999999s' % 1 }}",
    "{% break %}",
    "{% do x.y() %}",
    "{{ range(99999) | list }}",
)
ENDLESS = "{% for i in range(90000) %}{% for j in range(90000) %}{% endfor %}{% endfor %}"


@given(
    parts=st.lists(st.sampled_from(PIECES) | texts, min_size=1, max_size=3),
    endless=st.integers(0, 39).map(lambda n: n == 39),
    where=st.sampled_from(["tokenizer_config.json", "chat_template.jinja"]),
)
@settings(max_examples=2 * settings.default.max_examples)
def test_chat_templates(folders: Folders, parts: list[str], endless: bool, where: str) -> None:
    template = "".join(parts) + (ENDLESS if endless else "")
    content = template.encode(errors="replace")
    if where.endswith(".json"):
        whole = folders.json(where) | {"chat_template": template}
        content = json.dumps(whole).encode()
    folders.write({**folders.whole, where: content})

    def written() -> list[str]:
        spec = ModelSpec("m", "", str(folders.folder), instruct=True)
        loaded = load(spec, device="cpu", untrained_seed=0)
        return render("m", loaded.tokenizer, ["Tell of a train."], seconds=0.5)

    folders.watched("models, chat templates", written)
