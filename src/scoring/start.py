"""The scorer as scripts start it: TensorFlow is imported only now, and says nothing."""

from loading.startup import remark_on_dtype, started


def start_scorer(*model, **more):
    """Load TensorFlow and a model to score with, quietly; the arguments are Scorer's."""

    def load():
        from fast import tune_process
        from scoring.scorer import Scorer

        tune_process(large_products=True)
        return Scorer(*model, **more)

    return started(load, remark_on_dtype)
