"""The engine as scripts start it: TensorFlow is imported only now, and says nothing."""

from loading.startup import remark_on_dtype, started


def start_engine(*model, **more):
    """Load TensorFlow and a model to generate with, quietly; the arguments are Engine's."""

    def load():
        from fast import tune_process
        from generation.engine import Engine

        tune_process(large_products=False)
        return Engine(*model, **more)

    return started(load, remark_on_dtype)
