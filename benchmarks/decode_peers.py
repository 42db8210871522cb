"""The engines that benchmarks/decode.py compares with, with random weights of a checkpoint's shape.

Each function loads one and returns what continues prompts: (prompts, n) -> (rows, tokens each),
sampled from the whole distribution. What the weights are does not change speeds, if all differ.
"""

import functools
import importlib.util
import json
import os

import numpy as np
from side_by_side import torch_device

WITH_FILES = 'ctranslate2', 'llama.cpp'  # engines that read a model which they write first
RANDOM = np.random.default_rng(0)


def read_sizes(models_dir, model_name):
    path = os.path.join(models_dir, model_name, 'hparams.json')
    with open(path, encoding='utf-8') as f:
        return json.load(f)


def transformers(models_dir, model_name, dtype, scratch):
    os.environ['HF_HUB_OFFLINE'] = '1'
    import torch
    from transformers import GPT2Config, GPT2LMHeadModel
    from transformers.utils import logging

    logging.set_verbosity_error()
    sizes = read_sizes(models_dir, model_name)
    device = torch_device()
    network = GPT2LMHeadModel(GPT2Config(vocab_size=sizes.pop('n_vocab'), **sizes)).eval()
    network = network.to(device, getattr(torch, dtype))

    def generate(prompts, n):
        with torch.inference_mode():
            out = network.generate(
                torch.tensor(prompts, device=device),
                attention_mask=torch.ones(len(prompts), len(prompts[0]), device=device),
                do_sample=True,
                top_k=0,
                min_new_tokens=n,
                max_new_tokens=n,
                pad_token_id=0,
            )
        return len(prompts), out.shape[1] - len(prompts[0])

    return generate


def random_weights(*shape):
    """Different ones at each call: CTranslate2 stores equal matrices once and reads fewer bytes."""
    return RANDOM.normal(0, 0.02, shape).astype(np.float32)


def once(write):
    """A function that returns what `write(path, …)` has written, in another process or here.

    It takes the arguments of a loading function; the last is the folder that the file goes to.
    """

    @functools.wraps(write)
    def path_of(models_dir, model_name, dtype, scratch):
        path = os.path.join(scratch, f'{write.__name__}-{dtype}')
        if not os.path.exists(path):
            write(path, read_sizes(models_dir, model_name), dtype)
        return path

    return path_of


@once
def ctranslate2_model(path, sizes, dtype):
    from ctranslate2.specs import TransformerDecoderModelSpec, common_spec

    n_embd, n_vocab = sizes['n_embd'], sizes['n_vocab']
    spec = TransformerDecoderModelSpec.from_config(
        sizes['n_layer'],
        sizes['n_head'],
        pre_norm=True,
        activation=common_spec.Activation.GELUTanh,
    )

    def linear(layer, n_inputs, n_outputs):
        layer.weight = random_weights(n_outputs, n_inputs)
        layer.bias = np.zeros(n_outputs, np.float32)

    def norm(layer):
        layer.gamma, layer.beta = np.ones(n_embd, np.float32), np.zeros(n_embd, np.float32)

    decoder = spec.decoder
    decoder.scale_embeddings = False
    decoder.embeddings.weight = decoder.projection.weight = random_weights(n_vocab, n_embd)
    decoder.position_encodings.encodings = random_weights(sizes['n_ctx'], n_embd)
    norm(decoder.layer_norm)
    for layer in decoder.layer:
        norm(layer.self_attention.layer_norm)
        linear(layer.self_attention.linear[0], n_embd, 3 * n_embd)
        linear(layer.self_attention.linear[1], n_embd, n_embd)
        norm(layer.ffn.layer_norm)
        linear(layer.ffn.linear_0, n_embd, 4 * n_embd)
        linear(layer.ffn.linear_1, 4 * n_embd, n_embd)
    spec.register_vocabulary(['<unk>', '<s>', '</s>', *(f't{i}' for i in range(3, n_vocab))])
    spec.validate()
    spec.optimize(quantization=None if dtype == 'float32' else dtype)
    os.mkdir(path)
    spec.save(path)


def ctranslate2(*model):
    import ctranslate2

    generator = ctranslate2.Generator(
        ctranslate2_model(*model),
        device='cpu',
        compute_type=model[2],
        intra_threads=os.cpu_count(),
    )

    def generate(prompts, n):
        results = generator.generate_batch(
            [[f't{token}' for token in prompt] for prompt in prompts],
            max_length=n,
            min_length=n,
            sampling_topk=0,
            include_prompt_in_result=False,
            end_token=[],
        )
        return len(results), len(results[0].sequences_ids[0])

    return generate


@once
def llama_cpp_model(path, sizes, dtype):
    """int8 is what llama.cpp calls q8_0: a scale for each 32 weights."""
    import gguf

    types = {'float32': gguf.GGMLQuantizationType.F32, 'int8': gguf.GGMLQuantizationType.Q8_0}
    n_embd, n_layer = sizes['n_embd'], sizes['n_layer']
    writer = gguf.GGUFWriter(path, 'gpt2')
    writer.add_block_count(n_layer)
    writer.add_context_length(sizes['n_ctx'])
    writer.add_embedding_length(n_embd)
    writer.add_feed_forward_length(4 * n_embd)
    writer.add_head_count(sizes['n_head'])
    writer.add_layer_norm_eps(1e-5)
    writer.add_tokenizer_model('none')
    writer.add_vocab_size(sizes['n_vocab'])

    def matrix(name, *shape):
        values = gguf.quants.quantize(random_weights(*shape), types[dtype])
        writer.add_tensor(f'{name}.weight', values, raw_dtype=types[dtype])

    def vectors(name, n, weight=None):
        if weight is not None:
            writer.add_tensor(f'{name}.weight', np.full(n, weight, np.float32))
        writer.add_tensor(f'{name}.bias', np.zeros(n, np.float32))

    matrix('token_embd', sizes['n_vocab'], n_embd)
    writer.add_tensor('position_embd.weight', random_weights(sizes['n_ctx'], n_embd))
    vectors('output_norm', n_embd, weight=1)
    for i in range(n_layer):
        for name, n_outputs, n_inputs in (
            ('attn_qkv', 3 * n_embd, n_embd),
            ('attn_output', n_embd, n_embd),
            ('ffn_up', 4 * n_embd, n_embd),
            ('ffn_down', n_embd, 4 * n_embd),
        ):
            matrix(f'blk.{i}.{name}', n_outputs, n_inputs)
            vectors(f'blk.{i}.{name}', n_outputs)
        vectors(f'blk.{i}.attn_norm', n_embd, weight=1)
        vectors(f'blk.{i}.ffn_norm', n_embd, weight=1)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def llama_cpp(*model):
    from llama_cpp import Llama

    network = Llama(
        llama_cpp_model(*model), n_ctx=0, n_threads=os.cpu_count(), verbose=False, n_batch=512
    )

    def generate(prompts, n):
        (prompt,) = prompts  # its Python interface continues one text at a time
        network.reset()  # else it would know the prompt already
        tokens = network.generate(prompt, top_k=0, top_p=1.0, min_p=0.0, temp=1.0)
        return 1, sum(1 for _ in zip(range(n), tokens, strict=False))

    return generate


def has_llama_cpp():
    """Whether its packages are there: pip compiles them for ten minutes, so they are optional."""
    return all(map(importlib.util.find_spec, ('llama_cpp', 'gguf')))
