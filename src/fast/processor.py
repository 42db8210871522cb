"""Whether a dtype is fast here. No TensorFlow, except where int8 is asked for."""

FILE = '/proc/cpuinfo'  # of Linux; elsewhere a processor's instructions are unknown
BFLOAT16 = {'avx512_bf16', 'amx_bf16', 'bf16'}  # the last one is Arm's


def why_slow(dtype, on_gpu):
    """What to tell the user of a dtype that is slower here than float32, or None."""
    if dtype == 'int8':
        from fast.int8 import has_int8_kernel

        if not has_int8_kernel():
            where = 'on a GPU' if on_gpu else 'on this processor'
            return f'{where} int8 saves memory, but takes longer than float32'
    if dtype == 'bfloat16' and not on_gpu:
        known = instructions()
        if known and not known & BFLOAT16:
            return (
                'this processor has no instructions for bfloat16: several texts at a time and long '
                'prompts take longer than in float32'
            )
    return None


def instructions():
    """The names of a processor's sets of instructions as Linux has them; none where unknown."""
    try:
        with open(FILE, encoding='utf-8') as file:
            for line in file:
                key, _, value = line.partition(':')
                if key.strip() in ('flags', 'Features'):
                    return set(value.split())
    except OSError:
        pass
    return set()
